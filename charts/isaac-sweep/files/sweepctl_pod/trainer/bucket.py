"""A bucket by the trainer's Python (in_bucket.py): one short child for each question."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.trainer.in_bucket import MARK

_SCRIPT = Path(__file__).with_name("in_bucket.py")
_LOOK_EVERY_S = 0.05
_SILENT_LIMIT_S = 120.0
"""How long a child may take for what is no transfer."""
_STALLED_LIMIT_S = 300.0
"""How long nothing of a file may move. A bucket's package may store parts of 50 MB at once."""
_CUT_OFF_LIMIT_S = 1.0
"""How long a child has to remove what it has stored of a file that it does not get whole."""

Process = subprocess.Popen[bytes]
Own = Callable[[Callable[[], Process]], AbstractContextManager[Process]]
"""Starts a process that no trainer's end may harm."""


class BucketError(SweepctlError):
    """A bucket, or the Python that should reach it, did not do what was asked."""


class NoPythonError(BucketError):
    """There is nothing to ask: another try changes nothing."""


class Bucket:
    """Asks the first of several Pythons that is there, once it is needed."""

    def __init__(
        self,
        pythons: Callable[[], Sequence[Sequence[str]]],
        environ: Mapping[str, str],
        own: Own = lambda start: nullcontext(start()),
    ) -> None:
        self._pythons = pythons
        self._environ = environ
        self._own = own

    def missing_for(self, uri: str) -> str | None:
        """Say what the Python lacks to reach an address."""
        found = self.ask("check", uri)
        return None if found is None else str(found)

    def ask(
        self,
        *words: str,
        look: Callable[[int], None] = lambda size_bytes: None,
        content: Iterable[bytes] = (),
    ) -> Any:
        """Have a child do one thing, and give its answer; BucketError when it does not.

        `look` is called at each block that is sent, and often while nothing is: it ends the call by
        raising, and the child with it.
        """
        pythons = self._pythons()
        if not pythons:
            raise NoPythonError(
                "no Python of the trainer was found", "name it in SWEEPCTL_TRAINER_PYTHON"
            )
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:

            def start() -> Process:
                return subprocess.Popen(
                    [*pythons[0], str(_SCRIPT), *words],
                    env=dict(self._environ),
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=errors,
                    start_new_session=True,
                )

            with self._own(start) as child:
                try:
                    _feed(child, content, look)
                    _await(child, words, look)
                finally:
                    _end(child)
            return _answer(_text(output), _text(errors), child.returncode)


class _Patience:
    """Raises when nothing has moved for too long."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self.renew()

    def renew(self) -> None:
        self._until = time.monotonic() + self._limit_s

    def look(self) -> None:
        if time.monotonic() > self._until:
            raise BucketError(f"no answer within {self._limit_s:.0f} s")


def _feed(child: Process, content: Iterable[bytes], look: Callable[[int], None]) -> None:
    """Send what the child stores. One that has ended takes no more: its answer says why."""
    assert child.stdin is not None
    pipe = child.stdin.fileno()
    os.set_blocking(pipe, False)
    with suppress(BrokenPipeError):
        for block in content:
            look(len(block))
            rest, patience = memoryview(block), _Patience(_STALLED_LIMIT_S)
            while rest:
                if select.select([], [pipe], [], _LOOK_EVERY_S)[1]:
                    rest = rest[os.write(pipe, rest) :]
                    patience.renew()
                else:
                    look(0)
                    patience.look()
        child.stdin.close()


def _await(child: Process, words: Sequence[str], look: Callable[[int], None]) -> None:
    """Wait for the child's end, as long as something moves."""
    is_transfer = words[0] in ("get", "put")
    patience = _Patience(_STALLED_LIMIT_S if is_transfer else _SILENT_LIMIT_S)
    received = 0
    while child.poll() is None:
        look(0)
        if words[0] == "get":
            with suppress(OSError):
                if (size_bytes := os.stat(words[2]).st_size) != received:
                    received = size_bytes
                    patience.renew()
        patience.look()
        time.sleep(_LOOK_EVERY_S)


def _end(child: Process) -> None:
    """End a child: what gets no more of a file removes what it has stored, if that is quick."""
    with suppress(BrokenPipeError):
        if child.stdin is not None:
            child.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        child.wait(_CUT_OFF_LIMIT_S)
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _text(file: Any) -> str:
    file.seek(0)
    return bytes(file.read()).decode("utf-8", "replace")


def _answer(output: str, errors: str, code: int) -> Any:
    lines = [line for line in output.splitlines() if line.startswith(MARK)]
    try:
        found = json.loads(lines[-1][len(MARK) :])
        if "answer" in found:
            return found["answer"]
        raise BucketError(str(found["error"]))
    except (IndexError, ValueError, KeyError, TypeError):
        last = (errors.strip().splitlines() or [f"exit code {code}"])[-1]
        raise BucketError(f"the trainer's Python answers nothing: {last[:300]}") from None
