"""W&B's own search engine, the package `sweeps`, in a process of its own.

Its Gaussian processes hold the GIL and its numpy is not the trainer's, so it is asked over pipes,
one question at a time, each with a limit; a process that dies or hangs is ended and started anew at
a later question. Nothing here knows of rows: which runs the sweep has comes with the question.
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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from sweepctl.search.distributions import SearchError
from sweepctl.server.errors import EngineUnavailableError

PYTHON_VARIABLE = "SWEEPCTL_BAYES_PYTHON"
INSTALL_HINT = (
    "run `pip install 'sweepctl[bayes]'` where the server runs, or name a Python that has"
    f" sweeps==0.3.0 in {PYTHON_VARIABLE}"
)

_PROGRAM = Path(__file__).with_name("sweeps_process")
_MAX_PAUSE_S = 60.0
_MAX_FAILURES = 10
"""More are not counted: the pause between starts is at its longest by then."""
_CHECK_WAIT_LIMIT_S = 20.0
"""Less than clients wait for an answer: a sweep whose creation they gave up would be made twice."""

Spec = Mapping[str, Any]
Run = Mapping[str, Any]
"""A run as W&B's `SweepRun` takes it: name, state, config, summary_metrics, history."""


def find_python(environ: Mapping[str, str]) -> str | None:
    """Give the Python that can import `sweeps`: this one, else the one that the user names."""
    with suppress(metadata.PackageNotFoundError):
        metadata.version("sweeps")
        return sys.executable
    return environ.get(PYTHON_VARIABLE) or None


class SearchEngine:
    """The engine; safe to use from any thread. `python` None: there is none, and it says so.

    Whoever asks does so in a turn: `with engine.turn() as is_mine`.
    """

    def __init__(
        self,
        python: str | None,
        log: Callable[[str], None],
        *,
        limit_s: float = 20.0,
        start_limit_s: float = 180.0,
        wait_limit_s: float = 8.0,
        max_waiting: int = 8,
    ) -> None:
        self._command = None if python is None else [python, str(_PROGRAM)]
        self._log = log
        self._limit_s = limit_s
        self._start_limit_s = start_limit_s
        self._wait_limit_s = wait_limit_s
        self._turn = threading.Lock()
        # Who waits holds a thread of the server's; the server answers others as well.
        self._waiting = threading.BoundedSemaphore(max_waiting)
        self._process: _Process | None = None
        self._is_closed = False
        self._failures = 0
        self._not_before = float("-inf")
        self._refusal: str | None = None

    @property
    def is_installed(self) -> bool:
        """Whether there is a Python to run it with."""
        return self._command is not None

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Wait for the engine, not for long; give whether it is the caller's for this block."""
        if not self._waiting.acquire(blocking=False):
            yield False
            return
        try:
            if not self._turn.acquire(timeout=self._wait_limit_s):
                yield False
                return
            try:
                yield True
            finally:
                self._turn.release()
        finally:
            self._waiting.release()

    def check(self, spec: Spec) -> None:
        """Try a sweep's configuration; a SearchError tells why the engine cannot search it."""
        if not self.is_installed:
            raise SearchError(f"{_missing(spec)}; {INSTALL_HINT}")
        with self.turn() as is_mine:
            if not is_mine:
                raise EngineUnavailableError("W&B's search engine has too much to do now")
            answer = self._ask("check", spec, [], _CHECK_WAIT_LIMIT_S)
        if "error" in answer:
            raise SearchError(f"W&B's search engine {answer['error']}")

    def suggest(self, spec: Spec, runs: Sequence[Run]) -> dict[str, Any]:
        """Choose the parameters of the next run; only in a turn."""
        params: dict[str, Any] = self._answer("suggest", spec, runs)["params"]
        return params

    def stops(self, spec: Spec, runs: Sequence[Run]) -> list[str]:
        """Give the names of the runs that are to stop early; only in a turn."""
        names: list[str] = self._answer("stop", spec, runs)["stop"]
        return names

    def close(self) -> None:
        """End the process for good; a question that is being answered fails."""
        self._is_closed = True
        self._end_process()

    def _answer(self, ask: str, spec: Spec, runs: Sequence[Run]) -> dict[str, Any]:
        if not self.is_installed:
            raise EngineUnavailableError(f"{_missing(spec)}; {INSTALL_HINT}")
        answer = self._ask(ask, spec, runs)
        if "error" in answer:
            raise EngineUnavailableError(f"W&B's search engine {answer['error']}")
        return answer

    def _ask(
        self, ask: str, spec: Spec, runs: Sequence[Run], wait_limit_s: float | None = None
    ) -> dict[str, Any]:
        """Ask in the running process, or in a new one; {"error": text} when the engine refuses."""
        question = {"ask": ask, "spec": _searched(spec), "runs": runs}
        left_s = self._not_before - time.monotonic()
        if left_s > 0 and self._refusal is None:
            raise EngineUnavailableError(
                f"W&B's search engine has failed; it is started anew in {left_s:.0f} s"
            )
        if left_s > 0:
            return {"error": self._refusal}
        try:
            answer = self._running(wait_limit_s or self._wait_limit_s).ask(
                json.dumps(question), self._limit_s
            )
        except _EngineBrokenError as error:
            self._fail(str(error))
            return {"error": self._refusal}
        except _EngineDiedError as error:
            pause_s = self._fail(None)
            message = f"W&B's search engine {error}; it is started anew in {pause_s:g} s"
            raise EngineUnavailableError(message) from error
        self._failures = 0
        if "error" in answer:
            return {"error": f"cannot search this sweep: {answer['error']}"}
        return answer

    def _running(self, wait_limit_s: float) -> _Process:
        assert self._command is not None
        if self._is_closed:
            raise EngineUnavailableError("the server is ending")
        if self._process is None or self._process.has_ended:
            self._end_process()
            self._process = _Process(self._command, time.monotonic() + self._start_limit_s)
        if not self._process.is_ready:
            # Its imports take long on a cold disk; who asked need not wait for all of that.
            answer = self._process.wait_until_ready(wait_limit_s, time.monotonic())
            if answer is None:
                raise EngineUnavailableError("W&B's search engine is starting")
            if "error" in answer:
                raise _EngineBrokenError(f"does not work in {self._command[0]}: {answer['error']}")
            version = answer.get("ready")
            self._log(f"search engine: sweeps {version} in process {self._process.pid}")
        return self._process

    def _fail(self, refusal: str | None) -> float:
        """Note that the process is of no use; give for how long none is started."""
        self._end_process()
        self._refusal = refusal
        pause_s = min(2.0**self._failures, _MAX_PAUSE_S)
        self._failures = min(self._failures + 1, _MAX_FAILURES)
        self._not_before = time.monotonic() + pause_s
        return pause_s

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.end()


class _EngineDiedError(Exception):
    """The process is gone, or was ended since it did not answer."""


class _EngineBrokenError(Exception):
    """The process cannot work: trying again is of no use before something is repaired."""


class _Process:
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
            raise _EngineBrokenError(message) from error

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it is of no use any more; one that died as it started tells that first."""
        return self._is_ended or (self.is_ready and self._process.poll() is not None)

    def ask(self, question: str, limit_s: float) -> dict[str, Any]:
        return self._within(limit_s, question.encode() + b"\n")

    def wait_until_ready(self, wait_s: float, now: float) -> dict[str, Any] | None:
        """Give what it says when it is ready, or not able to be; None when it is not there yet."""
        assert self._process.stdout is not None
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)
        if not poll.poll(wait_s * 1000):
            if now > self._start_by:
                raise _EngineDiedError("took too long to start")
            return None
        answer = self._within(wait_s, b"")
        self.is_ready = "error" not in answer
        return answer

    def end(self) -> None:
        self._is_ended = True
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._stderr):
            if pipe is not None:
                with suppress(OSError):  # what was not written is lost with its reader
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
            raise _EngineDiedError(f"gave no answer within {limit_s:g} s")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise _EngineDiedError(self._exit_reason()) from None
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


def _searched(spec: Spec) -> dict[str, Any]:
    """Give the part of a configuration that the engine works with."""
    keys = ("method", "metric", "parameters", "early_terminate")
    return {key: spec[key] for key in keys if spec.get(key) is not None}


def _missing(spec: Spec) -> str:
    what = "method bayes" if spec.get("method") == "bayes" else "early_terminate"
    return f"{what} needs W&B's search engine (the package sweeps), which this server lacks"
