"""One W&B run over several attempts, in the trainer's own client (0.16 to 0.31).

In a first training nothing is changed. In one that was resumed the run is resumed too, and may say
its settings anew.
"""

from __future__ import annotations

import functools
import types
from typing import Any


class _History:
    is_resumed = False


def begin_resumed() -> None:
    """Let W&B's run go on: this training has loaded a checkpoint."""
    _History.is_resumed = True


def patch(module: types.ModuleType) -> None:
    """Patch a module of the client that was just imported."""
    if module.__name__ == "wandb":
        _patch_init(module)
    elif module.__name__ == "wandb.sdk.wandb_config":
        _patch_config(module)


def _patch_init(module: Any) -> None:
    init = module.init

    @functools.wraps(init)
    def resuming(*args: Any, **kwargs: Any) -> Any:
        if _History.is_resumed and kwargs.get("resume") is None:
            kwargs["resume"] = "allow"
        return init(*args, **kwargs)

    module.init = resuming


def _patch_config(module: Any) -> None:
    update = module.Config.update

    @functools.wraps(update)
    def updating(self: Any, d: Any, allow_val_change: Any = None) -> Any:
        # Without it every second attempt of stock rsl_rl dies: "Attempted to change value of key".
        if allow_val_change is None and _History.is_resumed:
            allow_val_change = True
        return update(self, d, allow_val_change)

    module.Config.update = updating
