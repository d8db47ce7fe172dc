"""The agent's own log lines: what is written is what readers find."""

import pytest

from sweepctl_pod import log_lines
from sweepctl_pod.run.verdict import Ending


def test_beginning_of_a_run_is_found_with_its_id() -> None:
    line = log_lines.PREFIX + log_lines.run_begins("r-1", "isaaclab train")
    assert line == "sweepctl: run r-1 starts: isaaclab train"
    found = log_lines.RUN_BEGINS.match(line)
    assert found is not None
    assert found[1] == "r-1"


@pytest.mark.parametrize("ending", Ending)
def test_end_of_a_run_is_found_whatever_it_is(ending: Ending) -> None:
    said = log_lines.run_ends("r-1", ending.value, "why: this")
    found = log_lines.RUN_ENDS.match(log_lines.PREFIX + said)
    if ending is Ending.UNKNOWN:  # "left as W&B has it": the run may go on in another pod
        assert found is None
    else:
        assert found is not None
        assert found[1] == "r-1"


def test_note_on_a_run_is_neither_its_beginning_nor_its_end() -> None:
    line = log_lines.PREFIX + log_lines.run_note("r-1", "left out --headless: why")
    assert log_lines.RUN_BEGINS.match(line) is None
    assert log_lines.RUN_ENDS.match(line) is None
    found = log_lines.RUN_SAYS.match(line)
    assert found is not None
    assert found[1] == "r-1"


def test_last_line_of_an_agent_is_told_from_the_others() -> None:
    assert log_lines.exits(75, "told to leave; replace me") == "exit 75: told to leave; replace me"
    assert log_lines.exits(0, "").startswith(log_lines.EXIT)
