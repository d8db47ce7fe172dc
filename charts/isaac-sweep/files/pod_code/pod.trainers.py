"""The trainers that sweepctl knows: what a command launches, what it lacks, how it shows its end.

Pure: from a sweep's command to the argv of one run, the same in agent, wrapper, preview and best.
It starts nothing and reads no file. What each trainer does was read from its own sources:
https://github.com/isaac-sim/IsaacLab (3.x: isaaclab_rl/entrypoints, 2.x: scripts) and
https://github.com/nvidia-isaac/WBC-AGILE (scripts/wandb_sweep/train_wrapper.py).
"""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweepctl.command import expand_command
from sweepctl.overrides import Grammar, Override

WRAPPER_MODULE = "sweepctl.pod.run"
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_PYTHON = re.compile(r"python(\d(\.\d+)?)?|python\.sh")
_RSL_RL = "rsl_rl"
_SCRIPT_LIBRARIES = ("rsl_rl", "rl_games", "skrl", "sb3")


class Trainer(enum.Enum):
    """The kind of a training program."""

    ISAACLAB3 = "isaaclab3"
    """Isaac Lab 3.x: `isaaclab train`, and 2.x's scripts where Isaac Lab 3.x is installed."""
    ISAACLAB2 = "isaaclab2"
    """Isaac Lab 2.x: its train.py under `isaaclab.sh -p`, `python.sh` or `python`."""
    PLAIN = "plain"
    """Any other command: its exit code is the only sign of its end."""

    @property
    def dies_of_sigterm(self) -> bool:
        """Whether SIGTERM ends it with a code that is not 0; under Kit (2.x) no code is certain."""
        return self is not Trainer.ISAACLAB2

    @property
    def shows_its_end(self) -> bool:
        """Whether a training that came to its end leaves more evidence than exit code 0."""
        return self is not Trainer.PLAIN


@dataclass(frozen=True, slots=True)
class Launch:
    """What a command launches: the words from `start` on are the trainer's own arguments."""

    trainer: Trainer
    start: int
    is_script: bool
    """Whether it is a train.py rather than the `isaaclab` command."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """A run's command: the argv, what it launches, and what there is to tell about it."""

    argv: tuple[str, ...]
    trainer: Trainer
    notes: tuple[str, ...]


def trainer_for(command: Sequence[object], grammar: Grammar | None = None) -> Trainer:
    """Tell which trainer a command launches; `grammar` is that of the installed Isaac Lab."""
    words = _without_wrapper([str(word) for word in command])
    return _find_launch(words, grammar).trainer


def default_grammar(command: Sequence[object]) -> Grammar:
    """Give the grammar that a command implies where the trainer itself cannot be asked.

    `isaaclab train` exists in 3.x only; every other program that takes `a.b=value` is most likely
    built on Hydra, as Isaac Lab 2.x is.
    """
    trainer = trainer_for(command)
    return Grammar.LITERAL if trainer is Trainer.ISAACLAB3 else Grammar.HYDRA


def resolve_command(
    command: Sequence[object],
    *,
    program: str | None,
    config: Mapping[str, object],
    overrides: Sequence[Override],
    run_id: str,
    project: str,
    grammar: Grammar,
    environ: Mapping[str, str],
    args_json_file: str | None = None,
) -> list[str]:
    """Give the argv of one run: macros expanded, overrides written, what is lacking injected."""
    resolved = resolve(
        command,
        program=program,
        config=config,
        overrides=overrides,
        run_id=run_id,
        project=project,
        grammar=grammar,
        environ=environ,
        args_json_file=args_json_file,
    )
    return list(resolved.argv)


def resolve(
    command: Sequence[object],
    *,
    program: str | None,
    config: Mapping[str, object],
    overrides: Sequence[Override],
    run_id: str,
    project: str,
    grammar: Grammar,
    environ: Mapping[str, str],
    args_json_file: str | None = None,
) -> Resolved:
    """Do what `resolve_command` does and tell about it as well."""
    argv = expand_command(
        _without_wrapper([str(word) for word in command]),
        config=config,
        overrides=[override.text(grammar) for override in overrides],
        program=program,
        environ=environ,
        args_json_file=args_json_file,
    )
    argv = _without_wrapper(argv)
    return complete(argv, run_id=run_id, project=project, grammar=grammar)


def complete(argv: Sequence[str], *, run_id: str, project: str, grammar: Grammar) -> Resolved:
    """Add what a sweep's run needs and the argv lacks; leave what the user chose.

    Metrics reach W&B only with its logger; the run's folder is found, and resumed, by its name.
    """
    launch = _find_launch(argv, grammar)
    launching, own = list(argv[: launch.start]), list(argv[launch.start :])
    notes: list[str] = []
    if launch.trainer is Trainer.PLAIN:
        return Resolved(tuple(argv), launch.trainer, ())
    if _is_ancestor(launching[-1]):
        launching = _instead_of_ancestor(launching, grammar, notes)
    if launch.trainer is Trainer.ISAACLAB3 and "--headless" in own:
        own.remove("--headless")
        notes.append("left out --headless: Isaac Lab 3 refuses it, being headless by default")
    library = _library(launching[-1], own, launch)
    if library == _RSL_RL:
        own += _lacking(own, run_id, project, launch.trainer, notes)
    else:
        notes.append(f"nothing is added for {library}: name the options that make it log to W&B")
    return Resolved((*launching, *own), launch.trainer, tuple(notes))


def python_of(argv: Sequence[str]) -> tuple[str, ...] | None:
    """Give the words that start the trainer's own Python, when the command itself names it.

    `isaaclab` is a script whose first line names it: that file is for the caller to read.
    """
    launch = _find_launch(argv, None)
    for index, word in enumerate(argv):
        name = posixpath.basename(word)
        if name == "isaaclab.sh":
            return (word, "-p")
        if _PYTHON.fullmatch(name):
            return (word,)
        if launch.trainer is Trainer.PLAIN and not _only_launches(name, word):
            return None
        if launch.trainer is not Trainer.PLAIN and index >= launch.start:
            return None
    return None


def arguments_of(argv: Sequence[str]) -> list[str]:
    """Give the arguments that Isaac Lab 3's rsl_rl backend itself parses."""
    launch = _find_launch(argv, Grammar.LITERAL)
    own = list(argv[launch.start :])
    for index, word in enumerate(own):
        if word == "--rl_library":
            return own[:index] + own[index + 2 :]
        if word.startswith("--rl_library="):
            return own[:index] + own[index + 1 :]
    return own


def option(words: Sequence[str], name: str) -> str | None:
    """Give the value of `--name value` or `--name=value`; '' when it stands there without one."""
    for index, word in enumerate(words):
        if word == name:
            return words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word[len(name) + 1 :]
    return None


def _lacking(
    own: Sequence[str], run_id: str, project: str, trainer: Trainer, notes: list[str]
) -> list[str]:
    lacking: list[str] = []
    logger = option(own, "--logger")
    if logger is None:
        lacking += ["--logger", "wandb"]
    elif logger != "wandb":
        notes.append(
            f"the command says --logger {logger}: no metric of this run will reach W&B;"
            " write --logger wandb, or leave it out"
        )
    if logger in (None, "wandb") and option(own, "--log_project_name") is None:
        lacking += ["--log_project_name", project]
    if trainer is Trainer.ISAACLAB3:
        # The folder is <timestamp>[_<run name>]; 2.x can only be given the second part.
        if option(own, "--run_timestamp") is None:
            lacking += ["--run_timestamp", run_id]
    elif option(own, "--run_name") is None:
        lacking += ["--run_name", run_id]
    return lacking


def _find_launch(words: Sequence[str], grammar: Grammar | None) -> Launch:
    for index, word in enumerate(words):
        name = posixpath.basename(word)
        following = words[index + 1] if index + 1 < len(words) else ""
        if following == "train" and (
            name == "isaaclab.sh" or (name == "isaaclab" and not word.startswith("-"))
        ):
            return Launch(Trainer.ISAACLAB3, index + 2, is_script=False)
        if _is_train_script(words[:index], word):
            is_3 = grammar is Grammar.LITERAL
            trainer = Trainer.ISAACLAB3 if is_3 else Trainer.ISAACLAB2
            return Launch(trainer, index + 1, is_script=True)
    return Launch(Trainer.PLAIN, 0, is_script=False)


def _only_launches(name: str, word: str) -> bool:
    """Tell whether a word only sets up how the next one starts, as in `env A=b nice`."""
    return name in ("env", "nice", "exec") or word.startswith("-") or bool(_ASSIGNMENT.match(word))


def _runs_python(word: str) -> bool:
    name = posixpath.basename(word)
    return name == "isaaclab.sh" or bool(_PYTHON.fullmatch(name))


def _is_train_script(before: Sequence[str], word: str) -> bool:
    """Tell Isaac Lab's scripts, and those of projects made after it, from any other train.py."""
    if _is_ancestor(word):
        return True
    folder, name = posixpath.split(word)
    if name != "train.py":
        return False
    if posixpath.basename(folder) in _SCRIPT_LIBRARIES:
        return True
    launchers = {posixpath.basename(part) for part in before}
    return bool(launchers & {"isaaclab.sh", "python.sh"})


def _library(script: str, own: Sequence[str], launch: Launch) -> str:
    """Name the RL library; one that is not named is the task's default, of Isaac Lab's rsl_rl."""
    if launch.is_script:
        folder = posixpath.basename(posixpath.dirname(script))
        return folder if folder in _SCRIPT_LIBRARIES else _RSL_RL
    return option(own, "--rl_library") or _RSL_RL


def _is_ancestor(word: str) -> bool:
    return posixpath.join("/", word).endswith("/wandb_sweep/train_wrapper.py")


def _instead_of_ancestor(launching: list[str], grammar: Grammar, notes: list[str]) -> list[str]:
    """Put what WBC-AGILE's wrapper launches in the wrapper's place: its parent folder's train.py.

    Where Isaac Lab 3 is installed its own command does the same work; the old script cannot run.
    """
    wrapper = launching[-1]
    if grammar is Grammar.LITERAL:
        notes.append(f"{wrapper} was written for Isaac Lab 2: `isaaclab train` takes its place")
        words = launching[:-1]
        while words and (words[-1].startswith("-") or _runs_python(words[-1])):
            words.pop()
        return [*words, "isaaclab", "train", "--rl_library", _RSL_RL]
    folder = posixpath.dirname(posixpath.dirname(wrapper))
    return [*launching[:-1], posixpath.join(folder, "train.py")]


def _without_wrapper(words: list[str]) -> list[str]:
    """Take `python -m sweepctl.pod.run` off: our agent does in its own process what that does."""
    for index, word in enumerate(words[:-2]):
        if word == "-m" and words[index + 1] == WRAPPER_MODULE:
            return words[index + 2 :]
        if not (
            _PYTHON.fullmatch(posixpath.basename(word))
            or word in ("${env}", "${interpreter}", "-S", "-E", "-u")
            or _only_launches(posixpath.basename(word), word)
        ):
            break
    return words
