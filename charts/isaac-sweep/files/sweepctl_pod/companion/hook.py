"""Patches modules of the trainer as they are imported: only those that it knows, and only once.

A module is executed as ever, then handed to its patch. One that the trainer never imports costs
nothing, and one of another shape than a patch expects is left as it is, with one line.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import os
import sys
import types
from collections.abc import Callable, Sequence
from functools import partial

from sweepctl_pod.companion.speech import never_breaking

Patch = Callable[[types.ModuleType], None]


def install() -> None:
    """Watch the imports of this process from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


# Imported when they are needed: every Python that the trainer starts comes by here.


def _patch_library(module: types.ModuleType, name: str) -> None:
    from sweepctl_pod.companion.orders import VARIABLE, read_orders

    own = importlib.import_module(f"sweepctl_pod.companion.{name}")
    own.patch(module, read_orders(os.environ[VARIABLE]))


def _patch_wandb(module: types.ModuleType) -> None:
    from sweepctl_pod.companion.wandb_run import patch

    patch(module)


_PATCHES: dict[str, Patch] = {
    "rsl_rl.runners.on_policy_runner": partial(_patch_library, name="rsl_rl_runner"),
    "rl_games.common.a2c_common": partial(_patch_library, name="rl_games_agent"),
    "skrl.trainers.torch.base": partial(_patch_library, name="skrl_trainer"),
    "stable_baselines3.common.on_policy_algorithm": partial(_patch_library, name="sb3_algorithm"),
    "wandb": _patch_wandb,
    "wandb.sdk.wandb_config": _patch_wandb,
    "wandb.sdk.wandb_run": _patch_wandb,
}
"""By the full name of the module."""


class _Finder:
    def __init__(self) -> None:
        self._waiting = dict(_PATCHES)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: types.ModuleType | None = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module as all others do, and have it patched when it is executed."""
        if fullname not in self._waiting:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(fullname, path, target)
            if isinstance(spec, importlib.machinery.ModuleSpec):
                with never_breaking(f"{fullname} stays as it is"):
                    self._patch_when_executed(spec)
                return spec
        return None

    def _patch_when_executed(self, spec: importlib.machinery.ModuleSpec) -> None:
        loader = spec.loader
        if loader is None:
            return
        execute = loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            execute(module)
            patch = self._waiting.pop(spec.name, None)
            if patch is not None:
                with never_breaking(f"{spec.name} stays as it is"):
                    patch(module)

        loader.exec_module = exec_module  # type: ignore[method-assign] # of this loader alone
