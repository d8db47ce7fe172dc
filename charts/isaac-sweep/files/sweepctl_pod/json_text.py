"""JSON that YAML 1.1 reads alike: what W&B stores, and what its agents and clients read.

Pure. PyYAML takes 1e-05 for a text, an escaped surrogate pair for two characters, and no raw
control character. Numbers that JSON has no word for are written in YAML's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

_NOT_RAW = re.compile("[\x7f-\uffff]")
_NOT_FINITE = {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}


def json_text(value: object, depth: int = 3) -> str:
    """Write a value; from a depth of 3 on in one line, above that indented by its depth."""
    if isinstance(value, str):
        return string_text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            return _NOT_FINITE[float.__repr__(value)]
        return number_text(value)
    if isinstance(value, Mapping):
        items = [
            f"{string_text(str(key))}: {json_text(item, depth + 1)}" for key, item in value.items()
        ]
        opening, closing = "{", "}"
    elif isinstance(value, Sequence):
        items = [json_text(item, depth + 1) for item in value]
        opening, closing = "[", "]"
    else:
        raise TypeError(f"{type(value).__name__} is nothing that JSON has")
    if not items or depth > 2:
        return opening + ", ".join(items) + closing
    indent = "\n" + "  " * depth
    return opening + indent + "  " + f",{indent}  ".join(items) + indent + closing


def number_text(value: float) -> str:
    """Write a number: 1e-05 as 1.0e-05."""
    if isinstance(value, int):
        return int.__repr__(value)
    mantissa, e, exponent = float.__repr__(value).partition("e")
    return mantissa + (".0" if e and "." not in mantissa else "") + e + exponent


def string_text(value: str) -> str:
    """Write a string in double quotes."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_RAW.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
