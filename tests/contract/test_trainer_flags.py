"""The options that win over overrides are those that Isaac Lab's own source turns into settings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from sweepctl.sweepfile.trainer_flags import always_set, flags_in
from sweepctl_pod.trainer.launchers import TrainerKind
from tests.contract.isaaclab_parsers import ISAACLAB_3
from tests.contract.wheels import unpacked

OPTIONS = (
    *("--num_envs=1", "--device=cpu", "--seed=1", "--max_iterations=1", "--disable_fabric"),
    *("--export_io_descriptors", "--experiment_name=x", "--run_name=x", "--logger=wandb"),
    *("--log_project_name=x", "--checkpoint=x", "--distributed"),
)
NAMES = {
    "env_cfg": "env",
    "agent_cfg": "agent",
    "params": "agent.params",
    "config": "agent.params.config",
}
BY_THE_LAUNCHER = "env.sim.device"
"""Set of `--distributed` outside of the entry points, where the simulation starts."""


def settings_assigned(library: str) -> set[str]:
    """Give the settings that the source of an entry point assigns, as paths of overrides."""
    folder = unpacked(ISAACLAB_3) / "isaaclab_rl" / "entrypoints"
    files = [folder / "common.py", folder / "backends" / f"train_{library}.py"]
    files += folder.glob(f"backends/cli_args_{library}.py")
    return {
        path
        for file in files
        for node in ast.walk(ast.parse(Path(file).read_text()))
        if isinstance(node, (ast.Assign, ast.AugAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if (path := path_of(target))
    }


def path_of(target: ast.expr) -> str | None:
    parts: list[str] = []
    while not isinstance(target, ast.Name):
        if isinstance(target, ast.Attribute):
            parts.insert(0, target.attr)
        elif isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
            parts.insert(0, str(target.slice.value))
        else:
            return None
        target = target.value
    return ".".join([NAMES[target.id], *parts]) if target.id in NAMES else None


@pytest.mark.parametrize("library", ["rsl_rl", "rl_games", "skrl", "sb3", "torchrl"])
def test_each_setting_of_an_option_is_assigned_by_the_entry_point(library: str) -> None:
    told = [
        path for flag in flags_in(OPTIONS, TrainerKind.ISAACLAB3, library) for path in flag.settings
    ]
    told += always_set(TrainerKind.ISAACLAB3, library)
    assert len(told) >= 7
    assert set(told) - settings_assigned(library) <= {BY_THE_LAUNCHER}


@pytest.mark.parametrize("library", ["rsl_rl", "rl_games", "skrl", "sb3", "torchrl"])
def test_no_seed_of_the_environment_survives_an_entry_point(library: str) -> None:
    assert "env.seed" in settings_assigned(library)
    assert "env.seed" in always_set(TrainerKind.ISAACLAB3, library)
