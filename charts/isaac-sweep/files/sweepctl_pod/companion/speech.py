"""What the companion says: lines on stderr; an error of its own is one of them and ends there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

PREFIX = "sweepctl: companion: "


_said: set[str] = set()


def say(text: str) -> None:
    """Say one line on stderr, and the same only once: a training has many checkpoints.

    A stderr that is gone is no reason to end a training.
    """
    line = " ".join(text.split())
    if line in _said:
        return
    _said.add(line)
    try:
        sys.stderr.write(f"{PREFIX}{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def reason(error: BaseException) -> str:
    """Write an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


@contextmanager
def never_breaking(what: str) -> Iterator[None]:
    """Say in one line what could not be done and why; the training goes on."""
    try:
        yield
    except Exception as error:  # whatever it is, the training is not ours to end
        say(f"{what}: {reason(error)}")
