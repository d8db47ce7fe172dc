"""What a command launches: which trainer, by which Python, in how many processes.

Pure: it reads words and starts nothing. It decides where a trainer's own arguments begin, for all
launchers: env, nice, `isaaclab.sh -p`, `python.sh`, torchrun, `isaaclab train_multigpu`. What each
does comes from https://github.com/isaac-sim/IsaacLab (3.x: isaaclab/cli, 2.x: scripts) and
from torch/distributed/run.py.
"""

from __future__ import annotations

import enum
import posixpath
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sweepctl_pod.overrides import Grammar

SCRIPT_LIBRARIES = ("rsl_rl", "rl_games", "skrl", "sb3")
PYTHON = re.compile(r"python(\d(\.\d+)?)?|python\.sh")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_VERBS = ("train", "train_multigpu")
_TORCHRUN_MODULES = ("torch.distributed.run", "torch.distributed.launch")
_PROCESSES = ("--nproc_per_node", "--nproc-per-node", "--num_gpus")
_OF_TRAIN_MULTIGPU = (
    *_PROCESSES,
    *("--nnodes", "--node_rank", "--coordinator_address", "--master_addr", "--master_port"),
    *("--rdzv_backend", "--rdzv_endpoint", "--rdzv_id", "--max_restarts", "--monitor_interval"),
    *("--start_method", "--role", "--tee", "--redirects", "--local_ranks_filter", "--log_dir"),
)
"""The options that `train_multigpu` keeps; each process gets the others (cli/multigpu.py)."""


class TrainerKind(enum.Enum):
    """The kind of a training program."""

    ISAACLAB3 = "isaaclab3"
    """Isaac Lab 3.x: `isaaclab train`, and 2.x's scripts where Isaac Lab 3.x is installed."""
    ISAACLAB2 = "isaaclab2"
    """Isaac Lab 2.x: its train.py under `isaaclab.sh -p`, `python.sh` or `python`."""
    PLAIN = "plain"
    """Any other command: its exit code is the only sign of its end."""

    @property
    def dies_of_sigterm(self) -> bool:
        """Whether SIGTERM ends it with a code other than 0; under Kit (2.x) no code is certain."""
        return self is not TrainerKind.ISAACLAB2


@dataclass(frozen=True, slots=True)
class Launch:
    """What a command launches: the words from `start` on are the trainer's own arguments."""

    trainer: TrainerKind
    start: int
    is_script: bool
    """Whether it is a train.py rather than the `isaaclab` command."""


def find_launch(words: Sequence[str], grammar: Grammar | None) -> Launch:
    """Find the trainer in a command; `grammar` is that of the installed Isaac Lab."""
    for index, word in enumerate(words):
        name = posixpath.basename(word)
        following = words[index + 1] if index + 1 < len(words) else ""
        if following in _VERBS and name in ("isaaclab", "isaaclab.sh"):
            return Launch(TrainerKind.ISAACLAB3, index + 2, is_script=False)
        if _is_train_script(words[:index], word, words[index + 1 :]):
            is_3 = grammar is Grammar.LITERAL
            trainer = TrainerKind.ISAACLAB3 if is_3 else TrainerKind.ISAACLAB2
            return Launch(trainer, index + 1, is_script=True)
    return Launch(TrainerKind.PLAIN, 0, is_script=False)


def python_of(argv: Sequence[str]) -> tuple[str, ...] | None:
    """Give the words that start the trainer's own Python, when the command itself names it.

    `isaaclab` and `torchrun` are scripts whose first line names it: for the caller to read.
    """
    launch = find_launch(argv, None)
    for index, word in enumerate(argv):
        name = posixpath.basename(word)
        if name == "isaaclab.sh":
            return (word, "-p")
        if PYTHON.fullmatch(name):
            return (word,)
        if launch.trainer is TrainerKind.PLAIN and not only_launches(name, word):
            return None
        if launch.trainer is not TrainerKind.PLAIN and index >= launch.start:
            return None
    return None


def scripts_of(argv: Sequence[str]) -> list[str]:
    """List the words that may be an installed script of the trainer's own Python."""
    return [word for word in argv if posixpath.basename(word) in ("isaaclab", "torchrun")]


def arguments_of(argv: Sequence[str]) -> list[str]:
    """Give the arguments that the backend of Isaac Lab 3 itself parses."""
    launch = find_launch(argv, Grammar.LITERAL)
    own = _without(list(argv[launch.start :]), ("--rl_library",))
    if _is_train_multigpu(argv, launch):
        own = _without(own, _OF_TRAIN_MULTIGPU, flags=("--log_all_ranks", "--dry_run"))
        own = own[1:] if own[:1] == ["--"] else own
    return own


def processes_of(argv: Sequence[str]) -> str:
    """Say how many processes a command starts on a node: a number, or torchrun's gpu, cpu, auto."""
    launch = find_launch(argv, None)
    if _is_train_multigpu(argv, launch):
        words, default = argv[launch.start :], "gpu"
    elif _is_under_torchrun(argv):
        words, default = argv[: launch.start] if launch.start else argv, "1"
    else:
        return "1"
    found = [option(words, name) for name in _PROCESSES]
    return next((value for value in found if value), default)


def meets_alone(argv: Sequence[str], nodes: str) -> bool:
    """Say whether torchrun starts the processes, all on this node; `nodes` if no option says it."""
    if not (_is_train_multigpu(argv, find_launch(argv, None)) or _is_under_torchrun(argv)):
        return False
    return (option(argv, "--nnodes") or nodes) in ("1", "1:1")


def option(words: Sequence[str], name: str) -> str | None:
    """Give the value of `--name value` or `--name=value`; '' when it stands there without one."""
    for index, word in enumerate(words):
        if word == name:
            return words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(f"{name}="):
            return word[len(name) + 1 :]
    return None


def only_launches(name: str, word: str) -> bool:
    """Say whether a word only sets up how the next one starts, as in `env A=b nice`."""
    return name in ("env", "nice", "exec") or word.startswith("-") or bool(_ASSIGNMENT.match(word))


def runs_python(word: str) -> bool:
    """Say whether a word is a Python, or a launcher script of one."""
    name = posixpath.basename(word)
    return name == "isaaclab.sh" or bool(PYTHON.fullmatch(name))


def is_ancestor(word: str) -> bool:
    """Say whether a word is WBC-AGILE's own wrapper."""
    return posixpath.join("/", word).endswith("/wandb_sweep/train_wrapper.py")


def _is_train_script(before: Sequence[str], word: str, after: Sequence[str]) -> bool:
    """Say whether a word is a script of Isaac Lab or of a project made after it."""
    if is_ancestor(word):
        return True
    folder, name = posixpath.split(word)
    if name != "train.py":
        return False
    if posixpath.basename(folder) in SCRIPT_LIBRARIES:
        return True
    launchers = {posixpath.basename(part) for part in before}
    if launchers & {"isaaclab.sh", "python.sh"}:
        return True
    return _is_under_torchrun(before) and "--distributed" in after


def _is_under_torchrun(words: Sequence[str]) -> bool:
    return any(posixpath.basename(word) == "torchrun" for word in words) or any(
        word == "-m" and following in _TORCHRUN_MODULES for word, following in pairwise(words)
    )


def _is_train_multigpu(argv: Sequence[str], launch: Launch) -> bool:
    return launch.start > 0 and argv[launch.start - 1] == "train_multigpu"


def _without(
    words: Sequence[str], valued: Collection[str], flags: Collection[str] = ()
) -> list[str]:
    """Take options out: `--name value`, `--name=value`, and flags without a value."""
    kept = []
    rest = iter(words)
    for word in rest:
        if word in valued:
            next(rest, None)
        elif word not in flags and word.partition("=")[0] not in valued:
            kept.append(word)
    return kept
