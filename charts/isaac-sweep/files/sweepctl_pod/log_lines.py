"""The agent's own log lines that others read: how they are written, and how they are recognised.

Pure. People follow a run in a pod's log; `sweepctl logs` cuts the log at these lines, and `local`
shows an agent's last one. So each form stands here once, for whoever writes it or reads it.
"""

from __future__ import annotations

import re

PREFIX = "sweepctl: "
"""What each of the agent's own lines begins with; a trainer's lines have no prefix."""

EXIT = "exit "
"""What the agent's last line begins with, behind the prefix."""

GAVE_UP = "gave up after"
"""What the reason of an agent begins with that gave up its sweep."""

RUN_BEGINS = re.compile(rf"{PREFIX}run (\S+) starts")
"""The line at which the log of a run begins; its group is the run's id."""

RUN_ENDS = re.compile(rf"{PREFIX}run (\S+) [a-z ]+: ")
"""The line at which the log of a run ends."""

RUN_SAYS = re.compile(rf"{PREFIX}run (\S+?):? ")
"""Any line of the agent about a run."""


def run_begins(run_id: str, command: str) -> str:
    """Write that a run begins, with its command as it may be shown."""
    return f"run {run_id} starts: {command}"


def run_ends(run_id: str, ending: str, reason: str) -> str:
    """Write how a run ended, and why."""
    return f"run {run_id} {ending}: {reason}"


def run_note(run_id: str, note: str) -> str:
    """Write what else there is to know of a run."""
    return f"run {run_id}: {note}"


def exits(code: int, meaning: str) -> str:
    """Write the exit code of an agent, and what it means."""
    return f"{EXIT}{code}: {meaning}"
