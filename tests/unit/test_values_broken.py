"""Settings that cannot be: every one refused, with the setting named and what to type."""

from pathlib import Path

import pytest

from sweepctl.values.settings import load_values
from sweepctl_pod.errors import SpecError
from tests.broken_values import CONTRADICTIONS, READINGS, SCHEMA, Broken

BROKEN = [*SCHEMA, *CONTRADICTIONS, *READINGS]


def test_the_table_holds_what_was_asked_for() -> None:
    assert len({broken.text for broken in BROKEN}) == len(BROKEN) >= 150


@pytest.mark.parametrize("broken", BROKEN, ids=[broken.id for broken in BROKEN])
def test_a_broken_values_file_is_refused_with_the_setting_named(
    broken: Broken, tmp_path: Path
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(f"# settings\n{broken.text}\n")
    with pytest.raises(SpecError) as refusal:
        load_values([str(file)])
    problems = refusal.value.problems
    named = [problem for problem in problems if problem.path == broken.setting]
    assert named, f"named instead: {[problem.path for problem in problems]}"
    assert broken.message in named[0].message
    assert broken.hint is None or broken.hint in (named[0].hint or "")
    assert (named[0].file, named[0].line > 1) == (str(file), True)


@pytest.mark.parametrize("broken", BROKEN, ids=[broken.id for broken in BROKEN])
def test_one_mistake_is_one_complaint(broken: Broken, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(f"{broken.text}\n")
    with pytest.raises(SpecError) as refusal:
        load_values([str(file)])
    assert len(refusal.value.problems) == 1, refusal.value.message


def ways_out(broken: Broken) -> list[str]:
    """Give the settings that a contradiction's hint tells to paste; none where it has a gap."""
    text = (broken.hint or "").partition("set ")[2].partition(", and ")[0]
    return [] if "…" in text or "YOUR_" in text else [way for way in text.split(", or ") if way]


@pytest.mark.parametrize(
    ("broken", "way_out"),
    [(broken, way) for broken in CONTRADICTIONS for way in ways_out(broken)],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_what_a_contradiction_tells_to_paste_ends_it(
    broken: Broken, way_out: str, tmp_path: Path
) -> None:
    files = [tmp_path / "values.yaml", tmp_path / "pasted.yaml"]
    files[0].write_text(f"{broken.text}\n")
    files[1].write_text(f"{way_out}\n")
    if way_out.startswith("gpus"):
        files.pop(0)  # what is to be left out cannot be overlaid
    load_values([str(file) for file in files])
