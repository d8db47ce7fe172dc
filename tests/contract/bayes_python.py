"""An environment with W&B's real `sweeps` package, made once from its lock, outside the checkout.

The folder is the user's cache (or $SWEEPCTL_CACHE) and is named by the lock's hash, so a changed
lock makes a new one. It is built beside its place and moved there whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs

LOCK = Path(__file__).with_name("bayes.lock")
_PYTHONS = ">=3.10,<3.13"  # numpy 1.26 has no wheels for later ones


class NoEnvironmentError(Exception):
    """The environment is not there and cannot be made here."""


def bayes_python() -> Path:
    """Give the environment's Python, making the environment when it is not in the cache."""
    cache = Path(os.environ.get("SWEEPCTL_CACHE") or platformdirs.user_cache_path("sweepctl"))
    folder = cache / f"bayes-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not python.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".bayes-") as work:
            made = Path(work, "made")
            _uv("venv", "-q", "--relocatable", "--python", _PYTHONS, str(made))
            install = ("pip", "install", "-q", "--require-hashes", "--only-binary", ":all:")
            _uv(*install, "--python", str(made / "bin" / "python"), "-r", str(LOCK))
            with contextlib.suppress(OSError):  # another process was first
                made.rename(folder)
    return python


def _uv(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise NoEnvironmentError(f"uv {' '.join(arguments)}:\n{done.stderr}")
