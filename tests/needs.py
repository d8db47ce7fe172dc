"""What a test needs of the machine: where that lacks the test is skipped, and in CI it fails.

A skip that says "this machine cannot" would let CI pass without the real thing, so it goes through
here; `pytest.skip` itself is for cases that mean nothing (a feature that the oldest client lacks).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import pytest

from tests.testbed import requirements

P = ParamSpec("P")
T = TypeVar("T")
_EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "toy_legs"


def lacks(reason: object) -> NoReturn:
    """Skip the test with the reason; in CI fail with it."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this: {reason}", pytrace=False)
    pytest.skip(str(reason))


def got(make: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Give what a function makes, which raises BedUnavailable where the machine cannot."""
    try:
        return make(*args, **options)
    except requirements.BedUnavailable as problem:
        lacks(problem)


def program(name: str, package: str) -> str:
    """Give the path of a program; its Debian package is installed where that is possible."""
    return got(requirements.program, name, package)


def trainer() -> str:
    """Give the folder of the real trainer's programs."""
    check = [sys.executable, str(_EXAMPLE / "setup_trainer.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True)
    if done.returncode != 0:
        lacks(f"{done.stderr.strip()}: run `make trainer`")
    return str(_EXAMPLE / ".venv" / "bin")
