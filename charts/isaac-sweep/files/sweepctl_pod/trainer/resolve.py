"""From a sweep's command to the argv of one run: it adds what the trainer lacks.

Pure, and the same in agent, wrapper, preview and best: it starts nothing and reads no file. What
each trainer does comes from its own sources: https://github.com/isaac-sim/IsaacLab (3.x:
isaaclab_rl/entrypoints, 2.x: scripts) and https://github.com/nvidia-isaac/WBC-AGILE
(scripts/wandb_sweep/train_wrapper.py).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.command import CHECKPOINT_MACRO, OVERRIDES_MACRO, expand_command, takes_overrides
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import Grammar, Override, is_bare_word
from sweepctl_pod.run_parameters import RunParameters, run_parameters
from sweepctl_pod.shell_script import commands_in, lost_argument, script_trouble, with_name
from sweepctl_pod.trainer.launchers import (
    SCRIPT_LIBRARIES,
    Launch,
    TrainerKind,
    find_launch,
    is_ancestor,
    option,
    runs_python,
)
from sweepctl_pod.trainer.libraries import RSL_RL, LoggedRun, Unlogged, log_to_wandb

WRAPPER_MODULE = "sweepctl.pod.run"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A run's command: the argv, what it launches, and notes on it."""

    argv: tuple[str, ...]
    trainer: TrainerKind
    notes: tuple[str, ...]
    unlogged: Unlogged | None = None
    """Why no metric reaches W&B, where that is known."""
    written: tuple[str, ...] = ()
    """The argv with each `${envvar:X}` and `${checkpoint}` as they stand in the sweep's command."""
    overrides: tuple[Override, ...] = ()
    """The settings that the command asks for, also by `${args…}`."""


def trainer_for(command: Sequence[object], grammar: Grammar | None = None) -> TrainerKind:
    """Give the trainer that a command launches; `grammar` is that of the installed Isaac Lab."""
    words = _without_wrapper([str(word) for word in command])
    return find_launch(words, grammar).trainer


def trainer_within(command: Sequence[object]) -> TrainerKind:
    """Give the trainer that a command launches, itself or in the script of a shell."""
    words = [str(word) for word in command]
    kinds = [trainer_for(each) for each in (words, *commands_in(words))]
    return next((kind for kind in kinds if kind is not TrainerKind.PLAIN), TrainerKind.PLAIN)


def library_of(argv: Sequence[str]) -> str:
    """Name the RL library that Isaac Lab 3 trains with."""
    launch = find_launch(argv, Grammar.LITERAL)
    return (
        _library(argv[launch.start - 1], argv[launch.start :], launch) if launch.start else RSL_RL
    )


def why_unlogged(command: Sequence[object], grammar: Grammar | None = None) -> Unlogged | None:
    """Say why no metric of a command's runs will reach W&B; None when they do."""
    words = _without_wrapper([str(word) for word in command])
    grammar = grammar or default_grammar(words)
    return complete(words, run_id="", entity="", project="", grammar=grammar).unlogged


def default_grammar(command: Sequence[object]) -> Grammar:
    """Give the grammar that a command implies where the trainer itself cannot be asked.

    `isaaclab train` exists in 3.x only; every other program that takes `a.b=value` is most likely
    built on Hydra, as Isaac Lab 2.x is.
    """
    trainer = trainer_within(command)
    return Grammar.LITERAL if trainer is TrainerKind.ISAACLAB3 else Grammar.HYDRA


def resolve_run(
    sweep: AssignedSweep,
    run: AssignedRun,
    *,
    grammar: Grammar,
    environ: Mapping[str, str],
    args_json_file: str | None = None,
    checkpoint: str = "",
    script_text: Callable[[str], str | None] = lambda path: None,
) -> Resolved:
    """Give the argv of one run of a sweep: the same for agent, wrapper, preview and `best`.

    SweepctlError when the run's parameters make no command.
    """
    return resolve(
        sweep.command,
        program=sweep.program,
        parameters=run_parameters(run.config, sweep.parameters),
        run_id=run.id,
        entity=sweep.entity,
        project=sweep.project,
        grammar=grammar,
        environ=environ,
        args_json_file=args_json_file,
        checkpoint=checkpoint,
        has_arguments=sweep.has_arguments,
        script_text=script_text,
    )


def resolve(
    command: Sequence[object],
    *,
    program: str | None,
    parameters: RunParameters,
    run_id: str,
    entity: str,
    project: str,
    grammar: Grammar,
    environ: Mapping[str, str],
    args_json_file: str | None = None,
    checkpoint: str = "",
    has_arguments: bool = False,
    script_text: Callable[[str], str | None] = lambda path: None,
) -> Resolved:
    """Give the argv of one run: macros expanded, overrides written, what is lacking injected.

    `has_arguments` says that the command has the parameters as arguments already.
    """
    words = _without_wrapper([str(word) for word in command])
    is_overridden = takes_overrides(words) and not has_arguments
    overrides = parameters.overrides() if is_overridden else _printed(parameters)
    if is_overridden and overrides:
        if trouble := script_trouble(words):
            raise SweepctlError(*trouble)
        words = with_name(words, lambda word: word == OVERRIDES_MACRO)

    def expanded(environ: Mapping[str, str], checkpoint: str) -> list[str]:
        return expand_command(
            words,
            config=parameters.given,
            overrides=[override.text(grammar) for override in overrides] if is_overridden else (),
            program=program,
            environ=environ,
            args_json_file=args_json_file,
            checkpoint=checkpoint,
        )

    argv = expanded(environ, checkpoint)
    found = complete(
        _without_wrapper(argv),
        run_id=run_id,
        entity=entity,
        project=project,
        grammar=grammar,
        script_text=script_text,
    )
    written = [_as_written(word) for word in expanded(_Unread(), CHECKPOINT_MACRO)]
    lost = [": ".join(trouble)] if (trouble := lost_argument(words)) else []
    return replace(
        found,
        notes=(*found.notes, *lost),
        overrides=tuple(overrides),
        written=_written(found.argv, argv, written),
    )


def wrapped_command(command: Sequence[object]) -> list[object] | None:
    """Give what a sweep's command has the wrapper run; None when it does not name the wrapper."""
    for index, pair in enumerate(pairwise(map(str, command))):
        if pair == ("-m", WRAPPER_MODULE):
            return list(command[index + 2 :]) or None
    return None


class _Unread(Mapping[str, str]):
    """An environment that gives each variable a mark of its name: nothing that has a meaning."""

    def __getitem__(self, name: str) -> str:
        return f"\ue000{name}\ue001"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _as_written(word: str) -> str:
    return re.sub("\ue000(.*?)\ue001", r"${envvar:\1}", word)


def _written(
    argv: Sequence[str], expanded: Sequence[str], written: Sequence[str]
) -> tuple[str, ...]:
    """Give the completed argv in the words of the sweep's file; `complete` keeps their order."""
    if len(written) != len(expanded):
        return tuple(argv)  # a variable that holds a macro
    found, start = [], 0
    for word in argv:
        place = next((n for n in range(start, len(expanded)) if expanded[n] == word), None)
        found.append(word if place is None else written[place])
        start = start if place is None else place + 1
    return tuple(found)


def complete(
    argv: Sequence[str],
    *,
    run_id: str,
    entity: str,
    project: str,
    grammar: Grammar,
    script_text: Callable[[str], str | None] = lambda path: None,
) -> Resolved:
    """Add what a run needs and its argv lacks; leave what the user chose.

    Metrics reach W&B only with its logger; the run's folder is found, and resumed, by its name.
    `script_text` reads a train.py where that can be done: older ones lack options.
    """
    launch = find_launch(argv, grammar)
    launching, own = list(argv[: launch.start]), list(argv[launch.start :])
    notes: list[str] = []
    if launch.trainer is TrainerKind.PLAIN:
        return Resolved(tuple(argv), launch.trainer, ())
    if is_ancestor(launching[-1]):
        launching = _instead_of_ancestor(launching, grammar, notes)
    if launch.trainer is TrainerKind.ISAACLAB3 and "--headless" in own:
        own.remove("--headless")
        notes.append("left out --headless: Isaac Lab 3 refuses it, being headless by default")
    logging = log_to_wandb(
        _library(launching[-1], own, launch),
        own,
        LoggedRun(
            id=run_id,
            entity=entity,
            project=project,
            trainer=launch.trainer,
            grammar=grammar,
            script=script_text(launching[-1]) if launch.is_script else None,
        ),
    )
    if logging.unlogged:
        notes.append(str(logging.unlogged))
    completed = (*launching, *logging.own)
    return Resolved(completed, launch.trainer, tuple(notes), unlogged=logging.unlogged)


def _printed(parameters: RunParameters) -> list[Override]:
    """Give the settings that `${args…}` ask for, as far as the trainer's record can show them.

    Printed as Python prints it, a None or a text such as `true` is read as something else; and what
    is no override at all is the trainer's own affair.
    """
    try:
        overrides = parameters.overrides()
    except SweepctlError:
        return []
    return [override for override in overrides if _is_read_alike(override.value)]


def _is_read_alike(value: object) -> bool:
    if isinstance(value, str):
        return is_bare_word(value) or bool(_NUMBER.fullmatch(value))
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (int, float)) for item in value)
    return isinstance(value, (int, float))


def _library(script: str, own: Sequence[str], launch: Launch) -> str:
    """Name the RL library; one that is not named is the task's default, of Isaac Lab's rsl_rl."""
    if launch.is_script:
        folder = posixpath.basename(posixpath.dirname(script))
        return folder if folder in SCRIPT_LIBRARIES else RSL_RL
    return option(own, "--rl_library") or RSL_RL


def _instead_of_ancestor(launching: list[str], grammar: Grammar, notes: list[str]) -> list[str]:
    """Replace WBC-AGILE's wrapper by what it launches: the train.py of its parent folder.

    Where Isaac Lab 3 is installed its own command does the same work; the old script cannot run.
    """
    wrapper = launching[-1]
    if grammar is Grammar.LITERAL:
        notes.append(f"{wrapper} was written for Isaac Lab 2: `isaaclab train` takes its place")
        words = launching[:-1]
        while words and (words[-1].startswith("-") or runs_python(words[-1])):
            words.pop()
        return [*words, "isaaclab", "train", "--rl_library", RSL_RL]
    folder = posixpath.dirname(posixpath.dirname(wrapper))
    return [*launching[:-1], posixpath.join(folder, "train.py")]


def _without_wrapper(words: list[str]) -> list[str]:
    """Take `python -m sweepctl.pod.run` off: our agent does its work in its own process.

    The words before it (`env FOO=1`, `nice`) stay, for the trainer.
    """
    for index, pair in enumerate(pairwise(words)):
        if pair != ("-m", WRAPPER_MODULE):
            continue
        python = index
        while python and words[python - 1].startswith("-"):
            python -= 1
        if not python or not _is_python(words[python - 1]):
            return words
        before = words[: python - 1]
        return [*([] if before in (["${env}"], ["/usr/bin/env"]) else before), *words[index + 2 :]]
    return words


def _is_python(word: str) -> bool:
    return word == "${interpreter}" or runs_python(word)
