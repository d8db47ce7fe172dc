"""Isaac Lab's own reading of overrides, without Isaac Sim, torch or a GPU.

The published wheels are fetched once, checked by their hash and unpacked in the user's cache. A
child process then executes their real files (isaaclab_tasks/utils/hydra.py and what it uses:
configclass, dict, string, spaces) with Hydra, OmegaConf and Gymnasium; only torch, Warp and the
simulator, which no override touches, are empty stand-ins.

    parser = Parser(ISAACLAB_3)            # or ISAACLAB_2
    parser.parse_values(["0.5", "[1,2]"])  # 3.0's _parse_val
    parser.resolve(["env.slots.a=0.5"], {"a": 1.0})
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import pickle
import subprocess
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.contract.wheels import Wheel, unpacked

ISAACLAB_3 = Wheel(
    "isaaclab",
    "3.0.0",
    "625f752c7dd912eb8efade85daeb7a8119d620266852380d17d8f9e701b80bca",
    ("--python-version=3.12", "--platform=manylinux_2_35_x86_64"),
)
ISAACLAB_2 = Wheel(
    "isaaclab",
    "2.3.2.post1",
    "53f085b5c8377697d52cb404fb6ca0902771983f790f0839a13709a67cea1919",
    ("--python-version=3.11", "--platform=manylinux_2_35_x86_64"),
)
_SOURCE = {ISAACLAB_3: "{}", ISAACLAB_2: "isaaclab/source/{0}/{0}"}
"""Where in a wheel the folder of the package `{}` is."""


class Parser:
    """Asks a child process that has one Isaac Lab loaded; close it when done."""

    def __init__(self, wheel: Wheel) -> None:
        self._folder = tempfile.TemporaryDirectory()  # Hydra may write where it runs
        self._child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(unpacked(wheel)), _SOURCE[wheel]],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self._folder.name,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._requests, self._answers = self._child.stdin, self._child.stdout

    def parse_values(self, texts: Sequence[str]) -> list[Any]:
        """Read value texts by Isaac Lab 3.0's `_parse_val`; an exception is given as itself."""
        return list(self._ask("values", texts))

    def resolve(self, overrides: Sequence[str], defaults: dict[str, Any]) -> dict[str, Any] | str:
        """Read overrides of `env.slots.…` by the real task configuration; give the slots after.

        A refusal is given as text. `defaults` are the slots before.
        """
        slots: dict[str, Any] | str = self._ask("slots", overrides, defaults)
        return slots

    def backend(self, overrides: Sequence[str]) -> str:
        """Give the preset of `env.backend` that overrides choose, of "default" and "newton"."""
        return str(self._ask("backend", overrides, {}))

    def close(self) -> None:
        self._requests.close()
        self._child.wait(timeout=30)
        self._folder.cleanup()

    def _ask(self, *request: Any) -> Any:
        pickle.dump(request, self._requests)
        self._requests.flush()
        return pickle.load(self._answers)


# What follows runs in the child.


def _load_hydra_module(source: str) -> types.ModuleType:
    """Import the real isaaclab_tasks.utils.hydra, its packages' `__init__` left out."""
    for name in ("torch", "warp"):
        _fake(name, Tensor=type("Tensor", (), {}), device=type("device", (), {}))
        sys.modules[name].__dict__.update(dtype=type("dtype", (), {}), array=type("array", (), {}))
        sys.modules[name].__dict__.update(float32="f", int64="i", bool="b")
    for name in ("isaaclab", "isaaclab.utils", "isaaclab.envs", "isaaclab.envs.utils"):
        _bare_package(name, source)
    for name in ("isaaclab_tasks", "isaaclab_tasks.utils"):
        _bare_package(name, source)
    _fake("isaaclab.app", validate_launch=lambda *_, **__: None)
    _fake("isaaclab.envs.common", SpaceType=object)
    _fake("isaaclab.physics", PhysicsCfg=type("PhysicsCfg", (), {}))
    _fake("isaaclab.renderers")
    _fake("isaaclab.renderers.renderer_cfg", RendererCfg=type("RendererCfg", (), {}))
    _fake("isaaclab.sim", SimulationCfg=type("SimulationCfg", (), {}))
    for name in ("DirectRLEnvCfg", "ManagerBasedRLEnvCfg", "DirectMARLEnvCfg"):
        setattr(sys.modules["isaaclab.envs"], name, type(name, (), {}))
    utils = sys.modules["isaaclab.utils"]
    for name in ("dict", "string", "configclass"):
        module = importlib.import_module(f"isaaclab.utils.{name}")
        for attribute in vars(module):
            if not attribute.startswith("_"):
                setattr(utils, attribute, getattr(module, attribute))
    return importlib.import_module("isaaclab_tasks.utils.hydra")


def _bare_package(name: str, source: str) -> None:
    top, *inner = name.split(".")
    folder = os.path.join(source.format(top), *inner)
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if inner:
        setattr(sys.modules[name.rpartition(".")[0]], inner[-1], module)


def _fake(name: str, **attributes: Any) -> None:
    module = types.ModuleType(name)
    module.__dict__.update(attributes)
    sys.modules[name] = module


class _Task:
    """A registered task whose environment has one map of slots."""

    def __init__(self, hydra_module: types.ModuleType) -> None:
        import gymnasium
        from isaaclab.utils.configclass import configclass

        @configclass
        class Env:
            slots: dict[str, Any] = {}  # noqa: RUF012 - configclass copies it
            backend: object = getattr(hydra_module, "preset", dict)(
                default="chose the default", newton="chose newton"
            )

            def validate_config(self) -> None:
                """Isaac Lab 2.x asks for it."""

        @configclass
        class Agent:
            seed: int = 42

        self.env = Env
        self.hydra_module = hydra_module
        entries = {"env_cfg_entry_point": self.make_env, "agent_cfg_entry_point": Agent}
        gymnasium.register(id="Slots", entry_point="x:y", kwargs=entries)

    def make_env(self) -> Any:
        env = self.env()
        env.slots = self.defaults
        return env

    def resolve(self, what: str, overrides: list[str], defaults: dict[str, Any]) -> Any:
        self.defaults = defaults
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                return getattr(self._resolve(overrides), what)
        except (Exception, SystemExit) as refusal:
            return f"{type(refusal).__name__}: {refusal}"

    def _resolve(self, overrides: list[str]) -> Any:
        if hasattr(self.hydra_module, "resolve_task_config"):
            env, _ = self.hydra_module.resolve_task_config(
                "Slots", "agent_cfg_entry_point", overrides=overrides
            )
            return env
        found = []

        def train(env: Any, agent: Any) -> None:
            found.append(env)

        configured = self.hydra_module.hydra_task_config("Slots", "agent_cfg_entry_point")(train)

        sys.argv = ["train.py", "hydra.run.dir=.", "hydra.output_subdir=null", *overrides]
        os.environ["HYDRA_FULL_ERROR"] = "1"
        configured()
        return found[0]


def _serve(folder: str, source: str) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    hydra_module = _load_hydra_module(os.path.join(folder, source))
    task = _Task(hydra_module)
    while True:
        try:
            kind, *arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if kind == "values":
            answer: Any = [_attempt(hydra_module._parse_val, text) for text in arguments[0]]
        else:
            answer = task.resolve(kind, *arguments)
        pickle.dump(answer, answers)
        answers.flush()


def _attempt(function: Any, argument: Any) -> Any:
    try:
        return function(argument)
    except Exception as error:
        return error


if __name__ == "__main__":
    _serve(*sys.argv[1:])
