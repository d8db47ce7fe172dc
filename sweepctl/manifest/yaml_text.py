"""Objects as YAML text that every YAML reader reads back alike, for people and for kubectl.

Readers differ in what they take for a number or a truth value (1e3, y, 0o17, 12:30): texts that
might be either are quoted. Many lines are written as they are, in a block.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.json_text import json_text

_SAFE_PLAIN = re.compile(r"[A-Za-z/_](?:[A-Za-z0-9/_.@:-]*[A-Za-z0-9/_.@-])?", re.ASCII)
_WORDS = frozenset(["y", "n", "yes", "no", "on", "off", "true", "false", "null"])
_BLOCK = re.compile(r"(?!\s)(?:[\x20-\x7e]*\n)+")


def yaml_text(objects: Iterable[object]) -> str:
    """Write objects as one YAML stream."""
    return yaml.dump_all(
        list(objects), Dumper=_Dumper, sort_keys=False, explicit_start=True, width=100
    )


def scalar_json(value: Any) -> str:
    """Write a value as JSON that YAML reads back as the same value, for use in a template."""
    text = json_text(value)
    if re.search("[\ud800-\udfff]", json.dumps(value, ensure_ascii=False)):
        raise SweepctlError(f"half a character in {text[:80]!a}", "save the file as UTF-8")
    return text


_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_BaseDumper):  # type: ignore[misc]  # libyaml's where PyYAML was built with it
    """Quotes what might be read as something else; repeats what is used twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    style = '"'
    if _SAFE_PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        style = ""
    elif "\n" in text and _BLOCK.fullmatch(text) and " \n" not in text:
        style = "|"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
