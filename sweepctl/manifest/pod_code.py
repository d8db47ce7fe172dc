"""The pod code as a ConfigMap carries it: plain files, their places, the hash of their content.

Read from the package sweepctl_pod, whose source lies in the chart. It knows nothing of Jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import sweepctl_pod
from sweepctl.manifest.hash import canonical_json, short_hash
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


def _places(key: str) -> list[str]:
    if key == _ENTRY:
        return [_ENTRY]
    place = "sweepctl_pod/" + key.removesuffix(".py").replace(".", "/") + ".py"
    return [place, _WRAPPERS_OLD_PLACE] if key == _WRAPPER else [place]
