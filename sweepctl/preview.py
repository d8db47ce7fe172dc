"""What the trainer would be given: a few sampled runs of a sweep file, resolved as the pod does.

Pure but for the file system that tells the pod's trainers apart. Nothing is created.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.command import DEFAULT_COMMAND, shell_line
from sweepctl.overrides import Grammar, overrides_from_config
from sweepctl.pod.trainers import default_grammar, resolve_command
from sweepctl.server.search import PastRun, next_params
from sweepctl.spec import SweepSpec


@dataclass(frozen=True, slots=True)
class PreviewedRun:
    """One sampled set of parameters and the trainer's argv for it."""

    parameters: Mapping[str, Any]
    command: tuple[str, ...]

    def shell_command(self) -> str:
        """Write the command so that it can be pasted into a shell."""
        return shell_line(self.command)

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for `-o json`."""
        return {"parameters": dict(self.parameters), "command": list(self.command)}


def preview_runs(
    spec: SweepSpec, *, count: int, grammar: Grammar | None, seed: int
) -> list[PreviewedRun]:
    """Sample up to `count` runs (fewer when a grid ends) and resolve the command of each.

    A bayes sweep is previewed by random sampling: what it would choose depends on results.
    """
    config = spec.to_wandb_config()
    if config.get("method") == "bayes":
        config = {**config, "method": "random"}
    rng = random.Random(seed)
    command = spec.command or DEFAULT_COMMAND
    runs: list[PreviewedRun] = []
    past: list[PastRun] = []
    while len(runs) < count:
        parameters = next_params(config, past, rng)
        if parameters is None:
            break
        past.append(PastRun(params=parameters))
        argv = resolve_command(
            command,
            program=spec.program,
            config=parameters,
            overrides=overrides_from_config(parameters),
            run_id=f"preview{len(runs) + 1}",
            project=spec.project or "PROJECT",
            grammar=grammar or default_grammar(command),
            environ={},
        )
        runs.append(PreviewedRun(parameters, tuple(argv)))
    return runs
