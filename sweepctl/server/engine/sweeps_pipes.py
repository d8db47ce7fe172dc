"""The process of W&B's package `sweeps`, asked over pipes: one line of JSON for a question.

`sweeps_process` is what runs in it. An answer that does not come in time kills it.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

PYTHON_VARIABLE = "SWEEPCTL_BAYES_PYTHON"


class ProcessDiedError(Exception):
    """The process is gone, or was killed because it did not answer."""


class ProcessBrokenError(Exception):
    """The process cannot work, and will not until somebody repairs its environment."""


class SweepsProcess:
    """One process of the package; not safe to use from several threads at once."""

    def __init__(self, command: Sequence[str], start_by: float) -> None:
        self.is_ready = False
        self._is_ended = False
        self._start_by = start_by
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `end`)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=_environ(os.environ, is_own=command[0] == sys.executable),
                start_new_session=True,  # Ctrl-C is the server's: it ends this one itself
            )
        except OSError as error:
            self._stderr.close()
            message = f"cannot be run by {command[0]}: {error.strerror} (see {PYTHON_VARIABLE})"
            raise ProcessBrokenError(message) from error

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it can answer no more; one that died at its start still has its error to give."""
        return self._is_ended or (self.is_ready and self._process.poll() is not None)

    def ask(self, question: str, limit_s: float) -> dict[str, Any]:
        """Ask one question, in JSON, and wait for its answer; a ProcessDiedError past the limit."""
        return self._within(limit_s, question.encode() + b"\n")

    def wait_until_ready(self, wait_s: float, now: float) -> dict[str, Any] | None:
        """Wait for its first line: `ready` or `error`; None if it has written none yet."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        if not poll.poll(wait_s * 1000):
            if now > self._start_by:
                raise ProcessDiedError("took too long to start")
            return None
        answer = self._within(wait_s, b"")
        self.is_ready = "error" not in answer
        return answer

    def end(self) -> None:
        """Kill the process and close its pipes."""
        self._is_ended = True
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with suppress(OSError):  # the rest of a question is lost with its reader
                    pipe.close()

    def _within(self, limit_s: float, question: bytes) -> dict[str, Any]:
        """Write and read; past the limit the process is killed, which ends both."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        is_late = threading.Event()

        def kill() -> None:
            is_late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, kill)
        timer.start()
        line = b""
        try:
            with suppress(OSError):
                stdin.write(question)
                stdin.flush()
                line = stdout.readline()
        finally:
            timer.cancel()
        if is_late.is_set():
            raise ProcessDiedError(f"gave no answer within {limit_s:g} s")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise ProcessDiedError(self._exit_reason()) from None
        return answer

    def _exit_reason(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode
        if code is None:
            return "said something that is no answer"
        if code < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-code).name}"
        self._stderr.seek(0)
        lines = self._stderr.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        return f"ended with exit code {code}" + (f": {lines[-1]}" if lines else "")


def _environ(environ: Mapping[str, str], *, is_own: bool) -> dict[str, str]:
    """Give the process's environment: one thread for its small matrices, no keys."""
    kept = {name: value for name, value in environ.items() if not name.startswith("WANDB_")}
    if not is_own:
        kept.pop("PYTHONPATH", None)
        kept.pop("PYTHONHOME", None)
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**kept, **dict.fromkeys(threads, "1")}
