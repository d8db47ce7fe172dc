"""What a run of this machine has printed, from the files that its agents keep in the data folder.

They are more than what was uploaded: all that the trainer printed, also while it trains. Nothing is
asked of a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path

from sweepctl.sweeps.log_lines import RunFilter

_TRAINER_LOGS = ("trainer.log.1", "trainer.log")
"""A run's own files, the older first (pod/trainer_log.py)."""


def kept_lines(data: Path, sweep_id: str, run_id: str) -> Iterator[str]:
    """Give a run's lines from its trainer's own files; of one that never started, its agents'."""
    folder = data / "work" / sweep_id / re.sub(r"[^A-Za-z0-9_-]", "_", run_id)
    line = None
    for line in chain.from_iterable(_lines(folder / name) for name in _TRAINER_LOGS):
        yield line
    if line is None:
        for log in sorted((data / "logs" / sweep_id).glob("agent-*.log"), key=_number):
            yield from filter(RunFilter(run_id).keeps, _lines(log))


def _number(log: Path) -> tuple[int, str]:
    digits = log.stem.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else 0, log.name)


def _lines(path: Path) -> Iterator[str]:
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            yield line.decode("utf-8", "replace").rstrip("\r\n")
