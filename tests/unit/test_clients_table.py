"""The docs' table of W&B's clients is the one that `make test-clients` tries."""

from pathlib import Path

from tests import clients

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
BEGIN, END = "<!-- clients -->\n", "<!-- end clients -->\n"


def test_the_docs_have_the_table_that_is_tried() -> None:
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    now, _, after = rest.partition(END)
    wanted = clients.table(clients.promised)
    hint = f"put this into {PAGE.name}:\n{wanted}"
    assert before, hint
    assert after, hint
    assert now == wanted, hint


def test_every_version_has_its_lock_and_every_lack_is_of_a_feature() -> None:
    locks = {path.stem for path in PAGE.parents[1].glob("tests/contract/wandb-*.lock")}
    assert locks == {f"wandb-{version}" for version in clients.OLDER}
    assert clients.LACKS.keys() <= set(clients.FEATURES)
    for lacking in clients.LACKS.values():
        assert lacking.keys() < set(clients.VERSIONS)


def test_what_tests_tell_is_read_back_as_cells() -> None:
    told: list[tuple[str, object]] = [("other", 1)]
    cells = clients.Cells(lambda name, is_ok: told.append((name, is_ok)))
    with cells.of("0.1", "files", "media", "resume") as note:
        assert note({"media": False}) == ["media"]
    try:
        with cells.of("0.2", "files", "media") as note:
            assert note({"media": True}) == []
            raise OSError
    except OSError:
        pass
    assert clients.cells_in(told) == {
        ("files", "0.1"): True,
        ("media", "0.1"): False,
        ("resume", "0.1"): True,
        ("files", "0.2"): False,
        ("media", "0.2"): True,
    }
