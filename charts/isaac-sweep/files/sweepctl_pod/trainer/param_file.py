"""The file of $WANDB_SWEEP_PARAM_PATH, from which W&B's client reads a run's parameters. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from sweepctl_pod.json_text import json_text


def param_file_text(config: Mapping[str, object]) -> str:
    """Write the file of $WANDB_SWEEP_PARAM_PATH in the stock agent's form, as JSON is YAML."""
    form = {name: {"desc": None, "value": value} for name, value in config.items()}
    return json_text({"wandb_version": 1, **form}) + "\n"
