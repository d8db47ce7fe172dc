"""What the trainer would be given: a few sampled runs of a sweep file, resolved as the pod does.

Pure: nothing is created, and the environment is read only when it is given.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sweepctl.search.distributions import SearchError
from sweepctl.search.next_params import PastRun, next_params
from sweepctl.search.space import Space
from sweepctl.sweepfile.load import SweepSpec
from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.command import ARGS_JSON_FILE_MACRO, environment_names, shell_line
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.search_seed import read_seed
from sweepctl_pod.trainer.resolve import default_grammar, resolve_run


@dataclass(frozen=True, slots=True)
class PreviewedRun:
    """One sampled set of parameters and the trainer's argv for it."""

    parameters: Mapping[str, Any]
    command: tuple[str, ...]
    notes: tuple[str, ...]
    """What is told about the command: what was left out of it, what it lacks."""

    def shell_command(self) -> str:
        """Write the command so that it can be pasted into a shell."""
        return shell_line(self.command)

    def as_dict(self) -> dict[str, Any]:
        """Give the fields for `-o json`."""
        return {
            "parameters": dict(self.parameters),
            "command": list(self.command),
            "notes": list(self.notes),
        }


def preview_runs(
    spec: SweepSpec,
    *,
    count: int,
    grammar: Grammar | None,
    environ: Mapping[str, str],
    expand_env: bool = False,
) -> list[PreviewedRun]:
    """Sample up to `count` runs (fewer when a grid ends) and resolve the command of each.

    They are the ones that the embedded server draws by the sweep's seed, or by seed 0 when it names
    none. What bayes chooses later depends on results: of it these are the draws that it begins
    with. Each `${envvar:X}` stays as it is written unless `expand_env`, when `environ` has its
    value.
    """
    config = spec.to_wandb_config()
    draw = _draws(config, read_seed(_text(config.get("description"))) or 0)
    sweep = AssignedSweep.of(spec.entity or "ENTITY", spec.project or "PROJECT", "", config)
    command = sweep.command
    told = _notes_on_command(command, environ)
    runs: list[PreviewedRun] = []
    past: list[PastRun] = []
    while len(runs) < count:
        parameters = draw(past)
        if parameters is None:
            break
        past.append(PastRun(params=parameters))
        resolved = resolve_run(
            sweep,
            AssignedRun(f"preview{len(runs) + 1}", parameters),
            grammar=grammar or default_grammar(command),
            environ=environ if expand_env else {},
            args_json_file=f"parameters-preview{len(runs) + 1}.json",
        )
        argv = resolved.argv if expand_env else resolved.written
        runs.append(PreviewedRun(parameters, argv, (*resolved.notes, *told)))
    return runs


def _draws(
    config: Mapping[str, Any], seed: int
) -> Callable[[Sequence[PastRun]], dict[str, Any] | None]:
    """Give what draws the next run, from those before it."""
    if config.get("method") == "bayes":
        with suppress(SearchError):
            space = Space(config)
            return lambda past: space.params(space.drawn(str(seed), len(past)))
        config = {**config, "method": "random"}
    return lambda past: next_params(config, past, random.Random(f"{seed}/{len(past)}"))


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _notes_on_command(command: Sequence[object], environ: Mapping[str, str]) -> list[str]:
    """Tell what an agent puts in; of a variable only whether it is set: it may be a secret."""
    notes = [
        f"{name} is set here; each agent puts its own value in its place"
        if name in environ
        else f"{name} is not set here: an agent that has none either writes {name} itself"
        for name in environment_names(command)
    ]
    if ARGS_JSON_FILE_MACRO in map(str, command):
        notes.append(f"each run has its own file for {ARGS_JSON_FILE_MACRO}, named by its id")
    return notes
