"""The runs of a sweep from best to worst, each with what it takes to run it again exactly.

Pure: from what was read to what is shown. The command is the one that the run's agent kept; where
there is none it is resolved as agent and preview resolve it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sweepctl.sweeps.status import RunRow, SweepStatus, ranked, searched_parameters
from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.command import shell_line
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import Grammar, Override
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.shell_script import script_trouble
from sweepctl_pod.trainer.resolve import default_grammar, resolve_run


@dataclass(frozen=True, slots=True)
class RankedRun:
    """A finished run and its rank: what was sampled, what the trainer was given, the command."""

    rank: int
    run: RunRow
    sampled: Mapping[str, Any]
    overrides: tuple[Override, ...]
    command: tuple[str, ...]
    is_recorded: bool
    """Whether the command is the one that was executed, and not one resolved anew."""
    why_no_command: str | None = None
    """Why there is none, such as for a function that a Python process of the user's calls."""

    def as_dict(self, metric: str) -> dict[str, Any]:
        """Give the fields for `-o json`; the overrides' values are exact."""
        return {
            "rank": self.rank,
            "run": self.run.id,
            "metric": {metric: self.run.metric},
            "parameters": dict(self.sampled),
            "overrides": {override.path: override.value for override in self.overrides},
            "command": list(self.command),
            "command_is_recorded": self.is_recorded,
            **({"why_no_command": self.why_no_command} if self.why_no_command else {}),
        }

    def shell_command(self) -> str:
        """Write the command so that it can be pasted into a shell."""
        return shell_line(self.command)


def best_runs(
    status: SweepStatus,
    config: Mapping[str, Any],
    *,
    top: int,
    grammar: Grammar | None = None,
    record_of: Callable[[str], RunRecord | None] = lambda run: None,
    recorded: int | None = None,
) -> list[RankedRun]:
    """Rank the finished runs of a sweep, each with its command.

    `record_of` is only asked for the first `recorded` of them, since each costs a request, and not
    at all where a grammar is given.
    """
    searched = searched_parameters(config)
    rows = ranked(status.runs, status.metric)[:top]
    asked = {row.id for row in rows[:recorded]} if grammar is None else set()
    entity, project, _ = status.sweep.split("/")
    return [
        _ranked_run(
            rank,
            row,
            searched,
            config,
            (entity, project),
            grammar,
            record_of(row.id) if row.id in asked else None,
        )
        for rank, row in enumerate(rows, start=1)
    ]


def _ranked_run(
    rank: int,
    row: RunRow,
    searched: list[str],
    config: Mapping[str, Any],
    place: tuple[str, str],
    grammar: Grammar | None,
    record: RunRecord | None,
) -> RankedRun:
    """Resolve a run's command; what our agent refuses, W&B's agent has run as it stands."""
    sweep = AssignedSweep.of(*place, "", config)
    refused = script_trouble([str(word) for word in sweep.command]) is not None
    names = sorted(config.get("parameters", {}), key=str)  # as W&B hands them out
    known = {name: row.parameters[name] for name in names if name in row.parameters}
    sampled = {name: known[name] for name in searched if name in known}
    kept = record.argv if record is not None else ()
    try:
        resolved = resolve_run(
            replace(sweep, has_arguments=refused),
            AssignedRun(row.id, known),
            grammar=grammar or default_grammar(sweep.command),
            environ={},
            args_json_file=f"parameters-{row.id}.json",
        )
    except SweepctlError as error:
        why = None if kept else error.message
        return RankedRun(rank, row, sampled, (), tuple(kept), bool(kept), why)
    return RankedRun(
        rank=rank,
        run=row,
        sampled=sampled,
        overrides=resolved.overrides,
        command=kept or resolved.written,
        is_recorded=bool(kept),
    )
