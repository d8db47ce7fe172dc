"""The engines that search by bayes, by the names that sweeps keep and people type."""

from __future__ import annotations

import enum


class EngineName(str, enum.Enum):
    """The embedded server's own engine, or W&B's where it is installed."""

    OPTUNA = "optuna"
    WANDB = "wandb"
