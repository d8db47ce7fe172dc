"""The file of $WANDB_SWEEP_PARAM_PATH, from which W&B's client reads a run's parameters. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping


def param_file_text(config: Mapping[str, object]) -> str:
    """Write the file of $WANDB_SWEEP_PARAM_PATH in the stock agent's form, as JSON is YAML."""
    form = {name: {"desc": None, "value": value} for name, value in config.items()}
    return _yaml_json({"wandb_version": 1, **form}) + "\n"


def _yaml_json(value: object) -> str:
    """Write JSON that YAML 1.1 reads to the same value: it takes 1e-05 for text, 1.0e-05 not."""
    if isinstance(value, Mapping):
        items = (f"{_yaml_json(str(key))}: {_yaml_json(item)}" for key, item in value.items())
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_yaml_json(item) for item in value) + "]"
    if isinstance(value, float):
        text = repr(value)
        if value != value or text.endswith("inf"):
            return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}[text]
        mantissa, e, exponent = text.partition("e")
        if not e:
            return text
        sign = exponent if exponent[0] in "+-" else f"+{exponent}"
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{sign}"
    if isinstance(value, str):
        # YAML knows JSON's escapes, but takes the two halves of \ud83d\ude00 for two characters.
        escaped = (c if ord(c) > 0xFFFF else json.dumps(c)[1:-1] for c in value)
        return '"' + "".join(escaped) + '"'
    return json.dumps(value)
