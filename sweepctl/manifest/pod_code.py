"""The pod code as a ConfigMap carries it: plain files, their places, the hash of their content.

Read from the package sweepctl_pod, whose source lies in the chart. It knows nothing of Jobs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import sweepctl_pod
from sweepctl.values.settings import chart_folder
from sweepctl_pod.errors import SweepctlError

MOUNT_PATH = "/opt/sweepctl"
"""Where the code is in a pod: mounted there, or baked into the image (images/Dockerfile)."""

MAX_CONFIG_MAP_BYTES = 1024 * 1024
_ENTRY = "__main__.py"
_WRAPPER = "wrapper.py"
_WRAPPERS_OLD_PLACE = "sweepctl/pod/run.py"
"""`python -m sweepctl.pod.run` is written in people's sweep files."""
_BAKE = "bake it into an image (images/Dockerfile) and set podCode: {mount: false}"


@dataclass(frozen=True, slots=True)
class PodCode:
    """The files of the pod code by their key in the ConfigMap."""

    files: Mapping[str, str]

    @property
    def hash(self) -> str:
        """Give the 8 digits that name this content."""
        return short_hash(canonical_json(dict(self.files)))

    def paths(self) -> list[tuple[str, str]]:
        """List keys with their places below the mount: a folder that Python runs as it is."""
        return [(key, place) for key in self.files for place in _places(key)]


@lru_cache(maxsize=1)
def pod_code() -> PodCode:
    """Read the pod code of this installation."""
    package = Path(sweepctl_pod.__file__).parent
    # A key of a ConfigMap holds no slash. Bytecode lies beside the sources, and is no `.py`.
    files = {
        ".".join(file.relative_to(package).parts): file.read_text("utf-8")
        for file in package.rglob("*.py")
    }
    check_size("the pod code", files)
    return PodCode(dict(sorted(files.items())))


@lru_cache(maxsize=2)
def script(name: str) -> str:
    """Read one of the shell scripts that the pods run, shared with the chart."""
    return (chart_folder() / "files" / name).read_text("utf-8")


def check_size(what: str, data: Mapping[str, str], hint: str | None = _BAKE) -> None:
    """Refuse what a ConfigMap cannot hold (core/v1: 1 MiB of keys and values together)."""
    size = sum(len(key.encode()) + len(text.encode()) for key, text in data.items())
    if size > MAX_CONFIG_MAP_BYTES:
        message = f"{what} has {size} bytes, and a ConfigMap holds {MAX_CONFIG_MAP_BYTES} at most"
        raise SweepctlError(message, hint)


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


def _places(key: str) -> list[str]:
    if key == _ENTRY:
        return [_ENTRY]
    place = "sweepctl_pod/" + key.removesuffix(".py").replace(".", "/") + ".py"
    return [place, _WRAPPERS_OLD_PLACE] if key == _WRAPPER else [place]
