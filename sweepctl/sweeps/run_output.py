"""What runs have printed: the files that agents keep on this machine, else what was uploaded.

The files are more than what was uploaded: all that the trainer printed, also while it trains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from sweepctl.sweeps.api import SweepSource
from sweepctl.sweeps.log_lines import LogOptions, RunFilter
from sweepctl.sweeps.status import why_not_finished
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.wandb.client import RunInfo, SweepInfo

_TRAINER_LOGS = ("trainer.log.1", "trainer.log")
"""A run's own files, the older first (sweepctl_pod's trainer/trainer_log.py)."""

_MOST_NAMED = 10


@dataclass(frozen=True, slots=True)
class RunOutput:
    """What a run has printed, at least one line of it."""

    run: str
    lines: Iterable[str]


def refuse_for_pods(options: LogOptions) -> None:
    """Refuse the options that only pods can answer, rather than ignore them."""
    for option in options.for_pods:
        raise UsageError(
            f"{option} is for the logs of pods, and this sweep is in no cluster",
            "what its runs have printed is told by run: --run RUN; status -w shows how they go on",
        )


def chosen_runs(sweep: SweepInfo, runs: Sequence[RunInfo], run: str | None) -> list[RunInfo]:
    """Give the run of that id, or all of them; an unknown one is an error that names others."""
    if not runs:
        raise SweepctlError(f"sweep {sweep.id} has no runs yet", "an agent has to take one first")
    found = [each for each in runs if run in (None, each.id)]
    if not found:
        known = ", ".join(each.id for each in runs[-_MOST_NAMED:])
        more = f" and {len(runs) - _MOST_NAMED} more" if len(runs) > _MOST_NAMED else ""
        raise SweepctlError(f"sweep {sweep.id} has no run {run}", f"it has {known}{more}")
    return found


def run_outputs(
    source: SweepSource,
    sweep: SweepInfo,
    runs: Sequence[RunInfo],
    *,
    kept: Path | None,
    is_one: bool,
    advice: str,
    say: Callable[[str], None],
) -> Iterator[RunOutput]:
    """Give the output of runs, from this machine's own files where they are `kept`.

    If one run was asked for, it also says why that did not finish. No output at all is an error.
    """
    silent = []
    for run in runs:
        own = kept_lines(kept, sweep.id, run.id) if kept is not None else iter(())
        lines = _if_any(own) or _if_any(iter(source.run_log(sweep, run.id)))
        if lines is None:
            silent.append(run)
            continue
        yield RunOutput(run.id, lines)
        if is_one and (why := why_not_finished(run)):
            say(f"run {run.id} {run.state}: {why}")
    if len(silent) == len(runs):
        names = ", ".join(run.id for run in silent[:_MOST_NAMED])
        raise SweepctlError(f"there is no output of {names}", f"{_where(silent[0])}\n{advice}")
    for run in silent:
        say(f"run {run.id}: no output; {_where(run)}")


def kept_lines(data: Path, sweep_id: str, run_id: str) -> Iterator[str]:
    """Give a run's lines from its trainer's own files; of one that never started, its agents'."""
    folder = data / "work" / sweep_id / re.sub(r"[^A-Za-z0-9_-]", "_", run_id)
    line = None
    for line in chain.from_iterable(_lines(folder / name) for name in _TRAINER_LOGS):
        yield line
    if line is None:
        for log in sorted((data / "logs" / sweep_id).glob("agent-*.log"), key=_number):
            yield from filter(RunFilter(run_id).keeps, _lines(log))


def _if_any(lines: Iterator[str]) -> Iterator[str] | None:
    """Give the same lines; None where there is not one."""
    first = next(lines, None)
    return None if first is None else chain([first], lines)


def _where(run: RunInfo) -> str:
    """Say where to find the output of a run that was not uploaded."""
    if run.state == "pending":
        return "it has not started"
    host = f" on {run.host}" if run.host else ""
    return (
        f"its agent{host} keeps all of it in RUN/trainer.log of its work folder (SWEEPCTL_WORK); "
        "`wandb agent` keeps none, its terminal has shown it"
    )


def _number(log: Path) -> tuple[int, str]:
    digits = log.stem.rpartition("-")[2]
    return (int(digits) if digits.isdigit() else 0, log.name)


def _lines(path: Path) -> Iterator[str]:
    with suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            yield line.decode("utf-8", "replace").rstrip("\r\n")
