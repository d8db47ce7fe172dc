"""Settings that cannot be: every one refused, with the setting named and what to type."""

from pathlib import Path

import pytest
from broken_values import CONTRADICTIONS, READINGS, SCHEMA, Broken

from sweepctl.errors import SpecError
from sweepctl.values import load_values

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
