"""Settings: where they come from, which one wins, and that a complaint points to the right one."""

from pathlib import Path

import pytest

from sweepctl.values.settings import chart, image_settings, load_values
from sweepctl_pod.errors import SpecError, UsageError


def write(folder: Path, text: str, name: str = "values.yaml") -> str:
    file = folder / name
    file.write_text(text)
    return str(file)


def test_the_chart_alone_is_valid() -> None:
    assert load_values().tree == chart().defaults


def test_files_then_set_then_flags_win_in_that_order(tmp_path: Path) -> None:
    first = write(tmp_path, "agents: 2\ngpus: 2\nthreads: 2\ngraceSeconds: 20\n", "a.yaml")
    second = write(tmp_path, "gpus: 3\nthreads: 3\ngraceSeconds: 30\n", "b.yaml")
    values = load_values(
        [first, second], ["threads=4", "graceSeconds=40"], overrides={"graceSeconds": 50}
    )
    assert [values.at(key) for key in ("agents", "gpus", "threads", "graceSeconds")] == [
        2,
        3,
        4,
        50,
    ]


def test_maps_are_merged_and_lists_replaced(tmp_path: Path) -> None:
    file = write(tmp_path, "image: {tag: 2.3.2}\ncache: {paths: [/only]}\nnodeSelector: {a: b}\n")
    values = load_values([file], [r"nodeSelector.c\.d=e"])
    assert values.at("image.repository") == chart().defaults["image"]["repository"]
    assert values.at("cache.paths") == ["/only"]
    assert values.at("nodeSelector") == {"a": "b", "c.d": "e"}


def test_null_takes_a_default_out_of_a_map(tmp_path: Path) -> None:
    file = write(tmp_path, "resources: {limits: {memory: null}}\n")
    assert load_values([file]).at("resources.limits") == {}
    assert load_values([], ["resources.requests.cpu=null"]).at("resources.requests") == {
        "memory": "16Gi"
    }


def test_whole_floats_are_whole_numbers_as_they_are_to_helm(tmp_path: Path) -> None:
    agents = load_values([write(tmp_path, "agents: 4.0\n")]).at("agents")
    assert (agents, type(agents)) == (4, int)


@pytest.mark.parametrize("text", ["", "\n\n", "# agents: 8\n", "---\n# nothing\n"])
def test_a_file_of_comments_changes_nothing(tmp_path: Path, text: str) -> None:
    assert load_values([write(tmp_path, text)]) == load_values()


def test_off_without_quotes_switches_the_gpu_preflight_off(tmp_path: Path) -> None:
    # YAML 1.1 reads a bare off as false, in PyYAML and in Helm.
    assert load_values([write(tmp_path, "preflight: {gpu: off}\n")]).at("preflight.gpu") is False


def test_every_problem_of_every_source_is_reported_with_its_place(tmp_path: Path) -> None:
    first = write(tmp_path, "gpus: many\nimage:\n  tga: '3'\n", "a.yaml")
    second = write(tmp_path, "nodeSelector: {zone: y}\n", "b.yaml")
    with pytest.raises(SpecError) as refusal:
        load_values([first, second], ["threads=-1"], overrides={"agents": 0})
    assert {problem.text() for problem in refusal.value.problems} == {
        f"{first}:1:7: gpus: expected a whole number, found the string 'many'\n"
        "  1 | gpus: many\n"
        "    |       ^",
        f"{first}:3:3: image.tga: there is no such setting\n"
        "  3 |   tga: '3'\n"
        "    |   ^ did you mean tag?",
        f"{second}:1:22: nodeSelector.zone: Helm and YAML 1.1 read y in two ways\n"
        "  1 | nodeSelector: {zone: y}\n"
        '    |                      ^ write "y" in quotes, or the number in full',
        "--set:1:9: threads: expected a number from 0 to 1024, found the number -1\n"
        "  1 | threads=-1\n"
        "    |         ^ write 0 or what lies between",
        "--agents:1:1: agents: expected a number from 1 to 5000, found the number 0\n"
        "  1 | 0\n"
        "    | ^ write 1 or what lies between",
    }


def test_a_complaint_points_to_the_source_that_won(tmp_path: Path) -> None:
    first = write(tmp_path, "agents: 0\n", "a.yaml")
    second = write(tmp_path, "\nagents: -1\n", "b.yaml")
    with pytest.raises(SpecError) as refusal:
        load_values([first, second])
    assert [(p.file, p.line) for p in refusal.value.problems] == [(second, 2)]


def test_a_text_that_yaml_took_for_a_number_is_quoted_as_it_stands(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refusal:
        load_values([write(tmp_path, "image: {tag: 3.10}\n")])
    assert [p.hint for p in refusal.value.problems] == ['write "3.10" in quotes']


def test_changed_settings_are_checked_again() -> None:
    values = load_values([], ["kueue.queue=gpus", "kueue.minParallelism=3", "agents=4"])
    assert values.with_({"agents": 8}).at("agents") == 8
    with pytest.raises(SpecError, match="minParallelism must be less than agents, which is 3"):
        values.with_({"agents": 3})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("- agents", "expected a map of settings, found a list", id="list"),
        pytest.param("8", "expected a map of settings, found the number 8", id="number"),
        pytest.param("agents: 1\nagents: 2", "YAML keeps only one of them", id="duplicate key"),
        pytest.param("agents: [", "not YAML", id="syntax"),
        pytest.param("a: 1\n---\nb: 2", "not YAML", id="two documents"),
        pytest.param("agents: .nan", "not a finite number", id="nan"),
    ],
)
def test_a_file_that_holds_no_settings_is_refused(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(SpecError, match=complaint):
        load_values([write(tmp_path, text)])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the values file .*none\.yaml: no such file"):
        load_values([str(tmp_path / "none.yaml")])


@pytest.mark.parametrize(
    ("reference", "settings"),
    [
        ("me/task:1", {"repository": "me/task", "tag": "1", "digest": ""}),
        ("host:5000/me/task:1", {"repository": "host:5000/me/task", "tag": "1", "digest": ""}),
        (
            "me/task@sha256:" + "a" * 64,
            {"repository": "me/task", "digest": "sha256:" + "a" * 64},
        ),
        (
            "me/task:1@sha256:" + "a" * 64,
            {"repository": "me/task", "tag": "1", "digest": "sha256:" + "a" * 64},
        ),
    ],
)
def test_an_image_flag_is_taken_apart(reference: str, settings: dict[str, str]) -> None:
    expected = {f"image.{key}": value for key, value in settings.items()}
    assert image_settings(reference) == expected
    assert load_values(overrides=image_settings(reference)).at("image.repository")


@pytest.mark.parametrize("reference", ["me/task", "host:5000/me/task"])
def test_an_image_flag_needs_a_tag_or_digest(reference: str) -> None:
    with pytest.raises(UsageError, match="neither tag nor digest"):
        image_settings(reference)
