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
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.trainer.in_bucket import MARK

_SCRIPT = Path(__file__).with_name("in_bucket.py")
_LOOK_EVERY_S = 0.05
_SILENT_LIMIT_S = 120.0
"""How long a child may take for what is no transfer, and behind one."""


class BucketError(SweepctlError):
    """A bucket, or the Python that should reach it, did not do what was asked."""


class Bucket:
    """Asks the first of several Pythons that is there, once it is needed."""

    def __init__(
        self, pythons: Callable[[], Sequence[Sequence[str]]], environ: Mapping[str, str]
    ) -> None:
        self._pythons = pythons
        self._environ = environ

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
            raise BucketError(
                "no Python of the trainer was found", "name it in SWEEPCTL_TRAINER_PYTHON"
            )
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            child = subprocess.Popen(
                [*pythons[0], str(_SCRIPT), *words],
                env=dict(self._environ),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            try:
                _feed(child, content, look)
                until = time.monotonic() + _SILENT_LIMIT_S
                while child.poll() is None:
                    look(0)
                    if time.monotonic() > until and words[0] != "get":
                        raise BucketError(f"no answer within {_SILENT_LIMIT_S:.0f} s")
                    time.sleep(_LOOK_EVERY_S)
            finally:
                _end(child)
            return _answer(_text(output), _text(errors), child.returncode)


def _feed(
    child: subprocess.Popen[bytes], content: Iterable[bytes], look: Callable[[int], None]
) -> None:
    """Send what the child stores. One that has ended takes no more: its answer says why."""
    assert child.stdin is not None
    pipe = child.stdin.fileno()
    os.set_blocking(pipe, False)
    with suppress(BrokenPipeError):
        for block in content:
            look(len(block))
            rest = memoryview(block)
            while rest:
                if select.select([], [pipe], [], _LOOK_EVERY_S)[1]:
                    rest = rest[os.write(pipe, rest) :]
                else:
                    look(0)
    child.stdin.close()


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    with suppress(BrokenPipeError):
        if child.stdin is not None:
            child.stdin.close()
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
