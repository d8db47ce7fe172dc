"""Which settings Isaac Lab's own options set, after the overrides: an option always wins.

Pure. Read from https://github.com/isaac-sim/IsaacLab: 3.0 isaaclab_rl/entrypoints (common.py,
backends/train_*.py, backends/cli_args_rsl_rl.py), 2.x scripts/reinforcement_learning/*/train.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sweepctl_pod.trainer.launchers import TrainerKind

_SWITCHES = ("--disable_fabric", "--distributed", "--export_io_descriptors")
_SEEDS = {"rl_games": "agent.params.seed"}
_LENGTHS = {
    "rl_games": "agent.params.config.max_epochs",
    "skrl": "agent.trainer.timesteps",
    "sb3": "agent.n_timesteps",
}
_COMMON = {
    "--num_envs": ("env.scene.num_envs",),
    "--device": ("env.sim.device",),
    "--disable_fabric": ("env.sim.use_fabric",),
    "--export_io_descriptors": ("env.export_io_descriptors",),
}
_OF_LIBRARY: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "rsl_rl": {
        "--distributed": ("env.sim.device", "agent.device"),
        "--experiment_name": ("agent.experiment_name",),
        "--run_name": ("agent.run_name",),
        "--logger": ("agent.logger",),
        "--log_project_name": ("agent.wandb_project", "agent.neptune_project"),
        "--checkpoint": ("agent.load_checkpoint",),
    },
    "rl_games": {
        "--distributed": (
            "env.sim.device",
            "agent.params.config.device",
            "agent.params.config.device_name",
            "agent.params.config.multi_gpu",
        ),
        "--checkpoint": ("agent.params.load_checkpoint", "agent.params.load_path"),
    },
    "skrl": {"--distributed": ("env.sim.device",)},
    "torchrl": {"--run_name": ("agent.run_name",)},
}
_OLD_RSL_RL = {"--resume": ("agent.resume",), "--load_run": ("agent.load_run",)}
"""Options of 2.x alone."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An option in a command: its words, where they stand, what it gives and to which settings."""

    text: str
    position: int
    value: str | None
    settings: tuple[str, ...]


def flags_in(words: Sequence[str], trainer: TrainerKind, library: str) -> Iterator[Flag]:
    """Find the options among a trainer's own arguments that set something, abbreviations too."""
    known = _settings_of_options(trainer, library)
    for position, word in enumerate(words):
        name, equals, value = word.partition("=")
        option = _unabbreviated(name, known)
        if option is None:
            continue
        if equals or option in _SWITCHES or position + 1 == len(words):
            yield Flag(word, position, value if equals else None, known[option])
        elif option == "--resume" and words[position + 1].startswith("-"):
            yield Flag(word, position, None, known[option])
        else:
            value = words[position + 1]
            yield Flag(f"{word} {value}", position, value, known[option])


def always_set(trainer: TrainerKind, library: str) -> dict[str, tuple[str, str | None]]:
    """Give the settings that Isaac Lab sets whatever is asked: to what, and what to ask instead.

    The second is None where only an option says it.
    """
    seed = _SEEDS.get(library, "agent.seed")
    found: dict[str, tuple[str, str | None]] = {"env.seed": (seed, seed)}
    if trainer is TrainerKind.ISAACLAB2:  # AppLauncher's --device is cuda:0 where nobody gives it
        found["env.sim.device"] = ("--device, which is cuda:0 unless the command says it", None)
    if library == "rl_games":
        envs = "env.scene.num_envs"
        found["agent.params.config.num_actors"] = (envs, envs)
    if library == "torchrl":
        found["agent.device"] = ("env.sim.device", "env.sim.device")
    return found


def _settings_of_options(trainer: TrainerKind, library: str) -> dict[str, tuple[str, ...]]:
    known = {
        **_COMMON,
        "--seed": (_SEEDS.get(library, "agent.seed"),),
        "--max_iterations": (_LENGTHS.get(library, "agent.max_iterations"),),
        **_OF_LIBRARY.get(library, {}),
    }
    if library == "rsl_rl" and trainer is TrainerKind.ISAACLAB2:
        known |= _OLD_RSL_RL
    return known


def _unabbreviated(name: str, known: Mapping[str, object]) -> str | None:
    """Read an option as argparse does: its beginning is enough where no other begins so."""
    if name in known:
        return name
    if len(name) < len("--se") or not name.startswith("--"):
        return None
    meant = [option for option in known if option.startswith(name)]
    return meant[0] if len(meant) == 1 else None
