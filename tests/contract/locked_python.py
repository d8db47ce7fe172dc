"""Environments of packages that cannot be in the checkout's own: made once from a lock, outside it.

`bayes.lock` has W&B's real `sweeps` package (numpy 1), `wandb-VERSION.lock` an older client,
`fsspec.lock` what reaches a bucket. The folder is in the user's cache (or $SWEEPCTL_CACHE) and is
named by the lock's hash, so a changed lock makes a new one. It is built beside its place and moved
there whole.
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

from tests import needs

_PYTHONS = ">=3.10,<3.13"  # numpy 1.26 has no wheels for later ones


def locked_python(name: str) -> Path:
    """Give the Python of NAME.lock's environment, making it when it is not in the cache.

    Where it cannot be made, the test is skipped; in CI it must be there.
    """
    lock = Path(__file__).with_name(f"{name}.lock")
    cache = Path(os.environ.get("SWEEPCTL_CACHE") or platformdirs.user_cache_path("sweepctl"))
    folder = cache / f"{name}-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    python = folder / "bin" / "python"
    if not python.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}-") as work:
            made = Path(work, "made")
            _uv("venv", "-q", "--relocatable", "--python", _PYTHONS, str(made))
            install = ("pip", "install", "-q", "--require-hashes", "--only-binary", ":all:")
            _uv(*install, "--python", str(made / "bin" / "python"), "-r", str(lock))
            with contextlib.suppress(OSError):  # another process was first
                made.rename(folder)
    return python


def _uv(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "uv", *arguments], capture_output=True, text=True)
    if done.returncode:
        needs.lacks(f"no environment of its own: uv {' '.join(arguments)}:\n{done.stderr}")
