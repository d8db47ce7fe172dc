"""How each RL library of Isaac Lab logs to W&B: the words that a command lacks for that.

Pure. Read from Isaac Lab's training scripts (2.x: scripts/reinforcement_learning, 3.x: isaaclab_rl/
entrypoints/backends): rsl_rl has `--logger`, rl_games `--track` from 2.2 on, skrl a setting of its
agent. sb3 and the others have none; they write TensorBoard's files, which W&B's client follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweepctl_pod.overrides import Grammar
from sweepctl_pod.trainer.launchers import TrainerKind, option

RSL_RL = "rsl_rl"
METRICS = {
    RSL_RL: "Train/mean_reward",
    "rl_games": "rewards/iter",
    "skrl": "Reward / Total reward (mean)",
    "sb3": "rollout/ep_rew_mean",
}
"""What each library calls the mean reward of an episode."""
_SKRL_SETTING = "agent.agent.experiment.wandb"
_TRUTHS = {
    **dict.fromkeys(("y", "yes", "t", "true", "on", "1"), True),
    **dict.fromkeys(("n", "no", "f", "false", "off", "0"), False),
}
_UNLOGGED = "no metric of this run will reach W&B"


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """The run that the added words name, and the trainer that reads them."""

    id: str
    entity: str
    project: str
    trainer: TrainerKind
    grammar: Grammar
    script: str | None
    """The text of the train.py that is launched, where that is known."""


@dataclass(frozen=True, slots=True)
class Unlogged:
    """Why no metric reaches W&B, and what to write."""

    message: str
    hint: str

    def __str__(self) -> str:
        """Write both as one note."""
        return f"{self.message}; {self.hint}"


@dataclass(frozen=True, slots=True)
class Logging:
    """The trainer's own arguments, completed, or why they do not log."""

    own: tuple[str, ...]
    unlogged: Unlogged | None = None


def log_to_wandb(library: str, own: Sequence[str], run: LoggedRun) -> Logging:
    """Add the words by which a library logs to W&B, where it has any; leave what the user chose."""
    known = {RSL_RL: _rsl_rl, "rl_games": _rl_games, "skrl": _skrl}
    if library in known:
        return known[library](own, run)
    if "wandb" in (run.script or ""):
        return Logging(tuple(own))
    return Logging(tuple(own), _by_hand(f"{library} has no option that logs to W&B", library, run))


def _rsl_rl(own: Sequence[str], run: LoggedRun) -> Logging:
    lacking: list[str] = []
    unlogged = None
    logger = option(own, "--logger")
    if logger is None:
        lacking += ["--logger", "wandb"]
    elif logger != "wandb":
        said = f"the command says --logger {logger}: {_UNLOGGED}"
        unlogged = Unlogged(said, "write --logger wandb, or leave it out")
    if logger in (None, "wandb"):
        lacking += _unless_named(own, "--log_project_name", run.project)
    lacking += _folder(own, run)
    if run.trainer is TrainerKind.ISAACLAB2:
        lacking += _unless_named(own, "--run_name", run.id)
    return Logging((*own, *lacking), unlogged)


def _rl_games(own: Sequence[str], run: LoggedRun) -> Logging:
    """Add `--track` and what it wants: without an entity rl_games refuses to train."""
    named = _folder(own, run)
    tracked = _tracked(own)
    if tracked is False:
        said = f"the command says --track {option(own, '--track')}: {_UNLOGGED}"
        return Logging((*own, *named), Unlogged(said, "write --track, or leave it out"))
    if run.script is not None and "--track" not in run.script:
        if "wandb" in run.script:
            return Logging(tuple(own))
        why = "this train.py has no --track, as rl_games has from Isaac Lab 2.2 on"
        return Logging(tuple(own), _by_hand(why, "rl_games", run))
    # Bare, it takes the next word for its value, which may be an override.
    kept = ["--track=True" if word == "--track" and tracked is None else word for word in own]
    lacking = [] if option(own, "--track") is not None else ["--track"]
    lacking += _unless_named(own, "--wandb-project-name", run.project)
    lacking += _unless_named(own, "--wandb-entity", run.entity)
    if run.trainer is TrainerKind.ISAACLAB2:
        lacking += _unless_named(own, "--wandb-name", run.id)
    return Logging((*kept, *lacking, *named))


def _tracked(own: Sequence[str]) -> bool | None:
    """Read the value of `--track` as its parser does; None where it has none of its own."""
    return _TRUTHS.get((option(own, "--track") or "").lower())


def _skrl(own: Sequence[str], run: LoggedRun) -> Logging:
    """Set the agent's own switch: to Hydra a new key, which wants `++`; 3.x takes no prefix."""
    words = [*own, *_folder(own, run)]
    chosen = [word.lstrip("+") for word in own if word.lstrip("+").startswith(f"{_SKRL_SETTING}=")]
    if chosen and _TRUTHS.get(chosen[-1].partition("=")[2].lower()) is False:
        said = f"the command says {chosen[-1]}: {_UNLOGGED}"
        hint = f"write {_SKRL_SETTING}=True, or leave it out"
        return Logging(tuple(words), Unlogged(said, hint))
    if not chosen:
        words.append(f"{'++' if run.grammar is Grammar.HYDRA else ''}{_SKRL_SETTING}=True")
    if run.trainer is TrainerKind.ISAACLAB2:
        return Logging(tuple(words))
    # Isaac Lab 3 wants skrl 2, which imports TensorBoard's writer before W&B's client hooks it.
    why = f"skrl 2 writes past W&B's client, also with {_SKRL_SETTING}=True"
    return Logging(tuple(words), _by_hand(why, "skrl", run))


def _by_hand(why: str, library: str, run: LoggedRun) -> Unlogged:
    """Say how to make W&B's client follow TensorBoard's files: by a call before they exist."""
    call = "wandb.init(sync_tensorboard=True)"
    if run.trainer is TrainerKind.ISAACLAB2:
        hint = f"call {call} in your train.py before it makes the agent"
    else:
        start = f"import sys, wandb; {call}; from isaaclab_rl.entrypoints.api import run_train_cli"
        words = f'[python, -c, "{start}; sys.exit(run_train_cli())", --rl_library, {library}, …]'
        hint = f"write command: {words}, with the other options of `isaaclab train` at the end"
    return Unlogged(f"{why}: {_UNLOGGED}", hint)


def _folder(own: Sequence[str], run: LoggedRun) -> list[str]:
    """Name the run's folder <timestamp>[_<run name>] by the run.

    2.x has no option for the first part; rsl_rl has one for the second.
    """
    return (
        _unless_named(own, "--run_timestamp", run.id)
        if run.trainer is TrainerKind.ISAACLAB3
        else []
    )


def _unless_named(own: Sequence[str], name: str, value: str) -> list[str]:
    return [] if option(own, name) is not None else [name, value]
