"""The runs of a sweep from best to worst, each with what it takes to run it again exactly.

Pure: from what was read to what is to be shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.command import DEFAULT_COMMAND, expand_command, shell_line
from sweepctl.overrides import Grammar, Override
from sweepctl.pod.trainers import default_grammar
from sweepctl.run_parameters import run_parameters
from sweepctl.status import RunRow, SweepStatus, ranked, searched_parameters


@dataclass(frozen=True, slots=True)
class RankedRun:
    """A finished run in its place: what was sampled, what the trainer was given, the command."""

    rank: int
    run: RunRow
    sampled: Mapping[str, Any]
    overrides: tuple[Override, ...]
    command: tuple[str, ...]

    def as_dict(self, metric: str) -> dict[str, Any]:
        """Give the fields for `-o json`; the overrides' values are exact."""
        return {
            "rank": self.rank,
            "run": self.run.id,
            "metric": {metric: self.run.metric},
            "parameters": dict(self.sampled),
            "overrides": {override.path: override.value for override in self.overrides},
            "command": list(self.command),
        }

    def shell_command(self) -> str:
        """Write the command so that it can be pasted into a shell."""
        return shell_line(self.command)


def best_runs(
    status: SweepStatus, config: Mapping[str, Any], *, top: int, grammar: Grammar | None = None
) -> list[RankedRun]:
    """Rank the finished runs of a sweep and resolve the command of each."""
    searched = searched_parameters(config)
    return [
        _ranked_run(rank, row, searched, config, grammar)
        for rank, row in enumerate(ranked(status.runs, status.metric)[:top], start=1)
    ]


def _ranked_run(
    rank: int,
    row: RunRow,
    searched: list[str],
    config: Mapping[str, Any],
    grammar: Grammar | None,
) -> RankedRun:
    command = config.get("command") or DEFAULT_COMMAND
    known = {
        name: row.parameters[name]
        for name in config.get("parameters", {})
        if name in row.parameters
    }
    parameters = run_parameters(known, config.get("parameters"))
    overrides = tuple(parameters.overrides())
    written = grammar or default_grammar(command)
    argv = expand_command(
        command,
        config=parameters.given,
        overrides=[override.text(written) for override in overrides],
        program=config.get("program"),
        environ={},  # a secret that the command takes from the environment stays a name
        args_json_file=f"parameters-{row.id}.json",
    )
    return RankedRun(
        rank=rank,
        run=row,
        sampled={name: known[name] for name in searched if name in known},
        overrides=overrides,
        command=tuple(argv),
    )
