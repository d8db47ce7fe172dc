"""The hashes by which objects are named, the same as Helm computes by `toJson | sha256sum`.

Pure. The JSON is written byte for byte as Go writes it, whatever a setting holds.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


def short_hash(text: str) -> str:
    """Give 8 hexadecimal digits, as Helm's `sha256sum | trunc 8`."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def canonical_json(value: object) -> str:
    """Write JSON byte for byte as Go (Helm's `toJson`): sorted keys, its escapes, its numbers."""
    return "".join(_json_parts(value))


def _json_parts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        inner = [f"{_json_text(key)}:{canonical_json(value[key])}" for key in sorted(value)]
        return ["{", ",".join(inner), "}"]
    if isinstance(value, (list, tuple)):
        return ["[", ",".join(canonical_json(part) for part in value), "]"]
    if isinstance(value, str):
        return [_json_text(value)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [_json_number(value)]
    return [json.dumps(value)]


def _json_text(text: str) -> str:
    # encoding/json escapes what could end a script element in HTML, and JavaScript's line ends.
    written = json.dumps(text, ensure_ascii=False)
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", written)


def _json_number(number: float) -> str:
    # encoding/json: the shortest digits, with an exponent below 1e-6 and from 1e21 on.
    if number == int(number) and abs(number) < 2**53:
        return str(int(number))
    shortest = Decimal(repr(float(number)))
    if 1e-6 <= abs(number) < 1e21:
        return format(shortest, "f").removesuffix(".0")
    mantissa, _, exponent = repr(float(number)).partition("e")
    return f"{mantissa.removesuffix('.0')}e{exponent[0]}{exponent[1:].lstrip('0')}"
