"""One command sets the version everywhere, and nothing else."""

import re
import shutil
from pathlib import Path

import pytest

from sweepctl_pod.errors import SweepctlError, UsageError
from tools.version import PLACES, ROOT, current_version, main, set_version

NEW = "77.88.99"
NOT_COPIED = (".git", ".venv", ".cache", "__pycache__", "*.pyc", "dist", "build", "*.egg-info")
OF_OTHERS = (
    "tests/golden/manifests/",  # rendered anew by `make golden`
    "tests/testbed/go/",
    "requirements.lock",
    "examples/toy_legs/",  # a project of its own
    "tests/contract/test_agent_isaaclab.py",  # a user's project
    "CHANGELOG.md",  # what earlier versions did
)
"""Where the same digits are another program's version."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Give a copy of this repository."""
    ignore = shutil.ignore_patterns(*NOT_COPIED, ".mypy_cache", ".ruff_cache", ".pytest_cache")
    return Path(shutil.copytree(ROOT, tmp_path / "tree", ignore=ignore, symlinks=True))


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Give a copy of those files of it that have the version."""
    for name in {*PLACES, "README.md"}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def texts(root: Path) -> dict[str, str]:
    found = {}
    for file in root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            try:
                found[str(file.relative_to(root))] = file.read_text("utf-8")
            except UnicodeDecodeError:
                continue
    return found


def test_no_old_version_is_left_and_nothing_else_has_changed(tree: Path) -> None:
    old, before = current_version(tree), texts(tree)
    changed = set_version(NEW, tree)
    after = texts(tree)
    assert {name for name in after if after[name] != before[name]} == set(changed)
    assert set(PLACES) <= set(changed)
    for name in set(changed) - {"CHANGELOG.md"}:
        assert after[name].replace(NEW, old) == before[name], f"{name}: more than the version"
    left = re.compile(rf"(?<![\d.]){re.escape(old)}(?!\.?\d)")
    assert [
        name for name, text in after.items() if left.search(text) and not name.startswith(OF_OTHERS)
    ] == []


def test_a_second_version_takes_every_place_of_the_first(tree: Path) -> None:
    changed = set_version(NEW, tree)
    assert set_version("77.88.100", tree) == changed
    assert [name for name, text in texts(tree).items() if NEW in text] == [
        name for name in ("tests/unit/test_version.py",) if (tree / name).exists()
    ]


def test_the_same_version_again_changes_nothing(few: Path) -> None:
    assert set_version(current_version(few), few) == []


@pytest.mark.parametrize(
    ("heading", "expected"),
    [("## OLD (unreleased)", "## NEW (unreleased)"),
     ("## OLD (2030-01-01)", "## NEW (unreleased)\n\n## OLD (2030-01-01)")],
    ids=["not released yet", "released"],
)  # fmt: skip
def test_the_changelog_has_one_part_for_a_version(few: Path, heading: str, expected: str) -> None:
    old = current_version(few)
    text = "# Changelog\n\n{}\n\n- In OLD x does y.\n\n## 0.0.9 (2029-01-01)\n"
    (few / "CHANGELOG.md").write_text(text.format(heading).replace("OLD", old))
    set_version(NEW, few)
    told = text.format(expected).replace("OLD", old).replace("NEW", NEW)
    assert (few / "CHANGELOG.md").read_text() == told


@pytest.mark.parametrize("bad", ["", "1", "0.2", "v0.2.0", "0.2.0rc1", "00.2.0", "0.2.0 ", "0.2.x"])
def test_a_bad_version_is_a_clear_error_and_changes_nothing(few: Path, bad: str) -> None:
    before = texts(few)
    with pytest.raises(UsageError, match="expected three whole numbers") as refused:
        set_version(bad, few)
    assert refused.value.hint == "try make version VERSION=0.2.0"
    assert texts(few) == before


def test_an_older_version_is_refused(few: Path) -> None:
    with pytest.raises(UsageError, match=r"0\.0\.1 is older than"):
        set_version("0.0.1", few)


def test_a_place_that_is_gone_is_an_error_and_changes_nothing(few: Path) -> None:
    dockerfile = few / "images" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text().replace("ARG VERSION=", "ARG WHICH="))
    before = texts(few)
    with pytest.raises(SweepctlError, match="images/Dockerfile has no version"):
        set_version(NEW, few)
    assert texts(few) == before


def test_pages_name_the_new_version_and_keep_those_of_others(few: Path) -> None:
    old = current_version(few)
    text = "sweepctl-{0}-py3-none-any.whl, sweepctl=={0}, sweepctl {0}, isaac-sweep-{0}.tgz\n"
    text += 'repository: a.example.org/sweepctl-server\n    tag: "{0}"\n'
    (few / "docs").mkdir()
    page = few / "docs" / "install.md"
    others = f"isaaclab=={old}, sweepctl-{old}.1, 1{old}, {old}\n"
    page.write_text(text.format(old) + others)
    set_version(NEW, few)
    assert page.read_text() == text.format(NEW) + others


def test_the_command_says_what_is_wrong_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["0.2"]) == 2
    wanted = "error: version '0.2': expected three whole numbers (try make version VERSION=0.2.0)\n"
    assert capsys.readouterr() == ("", wanted)
