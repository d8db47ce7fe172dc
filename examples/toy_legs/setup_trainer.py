#!/usr/bin/env python3
"""Make the trainer's environment, examples/toy_legs/.venv: Isaac Lab for the CPU, no Isaac Sim.

Exactly requirements.lock (every file by its hash) plus this folder's package. Does nothing when
that is already there; starts from nothing when an earlier attempt was cut short. Standard library
only.
"""

from __future__ import annotations

import argparse
import fcntl
import glob
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
LOCK = HERE / "requirements.lock"
STAMP = ENVIRONMENT / "complete"
PYTHON = "3.12"
DISK_GB = 8
UP_TO_DATE = f"trainer environment: up to date ({ENVIRONMENT})"


class SetupError(Exception):
    """What stands in the way, in words for the person who ran this."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--check",
        action="store_true",
        help="only say whether it is there (exit 0 or 1)",
    )
    arguments = parser.parse_args()
    if is_complete():
        print(UP_TO_DATE)
        return 0
    if arguments.check:
        print(f"trainer environment: missing or out of date ({ENVIRONMENT})", file=sys.stderr)
        return 1
    try:
        set_up()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: run it again to start over", file=sys.stderr)
        return 130
    return 0


def is_complete() -> bool:
    """Whether the environment is the one that the lock, this package and this place ask for."""
    return STAMP.is_file() and STAMP.read_text() == fingerprint() and works(str(interpreter()))


def fingerprint() -> str:
    digest = hashlib.sha256()
    # The place counts: an environment that was moved has dead paths in its programs.
    for part in (LOCK.read_bytes(), (HERE / "pyproject.toml").read_bytes(), str(HERE).encode()):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def set_up() -> None:
    refuse_unfit_machine()
    # Two `make` at once must not build into one folder; the second finds it complete.
    with LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete():
            print(UP_TO_DATE)
            return
        # A half-made environment cannot be told from a sound one, so nothing of it is kept.
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        python = find_python()
        print(f"trainer environment: Isaac Lab on {python} into {ENVIRONMENT}")
        print("  once: 2.5 GB to download unless cached, 4.6 GB on disk, minutes", flush=True)
        uv = make_environment(python)
        install = (uv, "pip", "install", "--python", str(interpreter()), "--no-deps")
        # Compiled, as pip does by itself: where the environment cannot be written, every start
        # of a training would compile torch anew, 50 s in place of 20.
        locked = ("--compile-bytecode", "--require-hashes", "-r", str(LOCK))
        command("install the lock", *install, *locked)
        # The lock holds setuptools, so building this package fetches nothing.
        command("install toy-legs", *install, "--no-build-isolation", "--editable", str(HERE))
        STAMP.write_text(fingerprint())
        print("trainer environment: ready")


def refuse_unfit_machine() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError(
            f"the trainer is locked for Linux on x86_64, this is {platform.system()} on"
            f" {platform.machine()}; sweepctl itself and `make check` work here"
        )
    free_gb = shutil.disk_usage(HERE).free / 1e9
    if free_gb < DISK_GB:
        raise SetupError(
            f"{free_gb:.1f} GB free on the disk of {HERE}, the trainer needs {DISK_GB} GB"
        )


def find_python() -> str:
    """Find a Python 3.12 that runs: a pyenv shim may be on PATH and still refuse."""
    candidates = [shutil.which(f"python{PYTHON}"), sys.executable, shutil.which("python3")]
    pyenv = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    candidates += sorted(glob.glob(f"{pyenv}/versions/{PYTHON}*/bin/python{PYTHON}"), reverse=True)
    uv = working_uv()
    if uv:
        found = subprocess.run([uv, "python", "find", PYTHON], capture_output=True, text=True)
        candidates.append(found.stdout.strip())
    for candidate in candidates:
        if candidate and works(candidate):
            return candidate
    raise SetupError(
        f"no Python {PYTHON} found (isaaclab 3.0.0 takes no other); looked on PATH, in {pyenv} and"
        f" at uv. Install one, for example `uv python install {PYTHON}`,"
        f" `pyenv install {PYTHON}` or `apt-get install python{PYTHON}-venv`"
    )


def works(python: str) -> bool:
    """Whether this interpreter runs and is the version that the lock is for."""
    probe = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        result = subprocess.run([python, "-S", "-c", probe], capture_output=True, text=True)
    except OSError:
        return False
    return result.returncode == 0 and result.stdout.strip() == PYTHON


def make_environment(python: str) -> str:
    """Make an empty environment and return the uv to fill it with: the user's, else its own."""
    uv = working_uv()
    if uv:
        command("make the environment", uv, "venv", "--quiet", "-p", python, str(ENVIRONMENT))
        return uv
    command("make the environment", python, "-m", "venv", str(ENVIRONMENT))
    command("get uv", str(interpreter()), "-m", "pip", "install", "--quiet", "uv==0.13.9")
    return str(ENVIRONMENT / "bin" / "uv")


def working_uv() -> str | None:
    beside = Path(sys.executable).parent / "uv"
    for candidate in (str(beside), shutil.which("uv")):
        if candidate is None:
            continue
        try:
            if subprocess.run([candidate, "--version"], capture_output=True).returncode == 0:
                return candidate
        except OSError:
            continue
    return None


def interpreter() -> Path:
    return ENVIRONMENT / "bin" / "python"


def command(purpose: str, *argv: str) -> None:
    """Run one step with its output shown."""
    environ = dict(os.environ)
    # An activated environment must not receive what is meant for this one.
    environ.pop("VIRTUAL_ENV", None)
    print(f"  {purpose}", flush=True)
    code = subprocess.run(argv, env=environ).returncode
    if code != 0:
        raise SetupError(f"could not {purpose}: exit code {code} from: {' '.join(argv)}")


if __name__ == "__main__":
    sys.exit(main())
