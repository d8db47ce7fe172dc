"""What a test needs of the machine: where that lacks the test is skipped, and in CI it fails.

A skip that says "this machine cannot" would let CI pass without the real thing, so it goes through
here; `pytest.skip` itself is for cases that mean nothing (a feature that the oldest client lacks).
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.testbed import requirements


def lacks(reason: object) -> NoReturn:
    """Skip the test with the reason; in CI fail with it."""
    if os.environ.get("CI"):
        pytest.fail(f"CI must run this: {reason}", pytrace=False)
    pytest.skip(str(reason))


def program(name: str, package: str) -> str:
    """Give the path of a program; its Debian package is installed where that is possible."""
    try:
        return requirements.program(name, package)
    except requirements.BedUnavailable as problem:
        lacks(problem)
