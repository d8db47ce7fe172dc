"""W&B's own search engine, the package `sweeps`, in a process of its own.

Its Gaussian processes hold the GIL and it needs another numpy than the trainer, so it runs in a
process that answers over pipes, one question at a time, each with a limit. A process that dies or
hangs is ended, and a later question starts a new one. Nothing here reads rows: the question brings
the runs of the sweep.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from sweepctl.search.distributions import SearchError
from sweepctl.server.engine.sweeps_pipes import (
    PYTHON_VARIABLE,
    ProcessBrokenError,
    ProcessDiedError,
    SweepsProcess,
)
from sweepctl.server.errors import EngineUnavailableError

INSTALL_HINT = (
    "run `pip install 'sweepctl[bayes]'` where the server runs, or name a Python that has"
    f" sweeps==0.3.0 in {PYTHON_VARIABLE}"
)

_PROGRAM = Path(__file__).with_name("sweeps_process")
_MAX_PAUSE_S = 60.0
_MAX_FAILURES = 10
"""More are not counted: the pause between starts is at its longest by then."""
_CHECK_WAIT_LIMIT_S = 20.0
"""Shorter than clients wait: a client that gives up would create its sweep a second time."""

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
    """W&B's search engine; safe to use from any thread.

    `python` is the interpreter that has the package `sweeps`; with None every question raises. Ask
    only inside a turn: `with engine.turn() as is_mine`. Limits are in seconds: for an answer, for
    the start of the process, and for how long a caller waits for either.
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
        # A waiting caller holds a thread of the server, which has to answer others as well.
        self._waiting = threading.BoundedSemaphore(max_waiting)
        self._process: SweepsProcess | None = None
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
        """Wait for the engine, up to `wait_limit_s`; give whether this block may use it."""
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
        """Try a sweep's configuration; a SearchError says why the engine cannot search it."""
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
        except ProcessBrokenError as error:
            self._fail(str(error))
            return {"error": self._refusal}
        except ProcessDiedError as error:
            pause_s = self._fail(None)
            message = f"W&B's search engine {error}; it is started anew in {pause_s:g} s"
            raise EngineUnavailableError(message) from error
        self._failures = 0
        if "error" in answer:
            return {"error": f"cannot search this sweep: {answer['error']}"}
        return answer

    def _running(self, wait_limit_s: float) -> SweepsProcess:
        assert self._command is not None
        if self._is_closed:
            raise EngineUnavailableError("the server is ending")
        if self._process is None or self._process.has_ended:
            self._end_process()
            self._process = SweepsProcess(self._command, time.monotonic() + self._start_limit_s)
        if not self._process.is_ready:
            # Its imports take long on a cold disk; the caller need not wait for all of that.
            answer = self._process.wait_until_ready(wait_limit_s, time.monotonic())
            if answer is None:
                raise EngineUnavailableError("W&B's search engine is starting")
            if "error" in answer:
                raise ProcessBrokenError(f"does not work in {self._command[0]}: {answer['error']}")
            version = answer.get("ready")
            self._log(f"search engine: sweeps {version} in process {self._process.pid}")
        return self._process

    def _fail(self, refusal: str | None) -> float:
        """End a process that is of no use; give the seconds until another may start."""
        self._end_process()
        self._refusal = refusal
        pause_s = min(2.0**self._failures, _MAX_PAUSE_S)
        self._failures = min(self._failures + 1, _MAX_FAILURES)
        self._not_before = time.monotonic() + pause_s
        return pause_s

    def _end_process(self) -> None:
        if self._process is not None:
            self._process.end()


def _searched(spec: Spec) -> dict[str, Any]:
    """Give the part of a configuration that the engine works with."""
    keys = ("method", "metric", "parameters", "early_terminate")
    return {key: spec[key] for key in keys if spec.get(key) is not None}


def _missing(spec: Spec) -> str:
    what = "method bayes" if spec.get("method") == "bayes" else "early_terminate"
    return f"{what} needs W&B's search engine (the package sweeps), which this server lacks"
