"""The engines that search by `bayes`: Optuna, the server's own, and W&B's package `sweeps`.

What they calculate holds the GIL, and W&B's needs another numpy, so each runs in a process that
answers over pipes, one question at a time, each with a limit. A process that dies or hangs is
ended, and a later question starts a new one. Nothing here reads rows: the question brings the runs
of the sweep.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from sweepctl.search.distributions import SearchError
from sweepctl.search.engine_name import EngineName
from sweepctl.search.next_params import probabilities
from sweepctl.search.space import Space
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

_REMEMBERED = 8
_MAX_PAUSE_S = 60.0
_MAX_FAILURES = 10
"""More are not counted: the pause between starts is at its longest by then."""
_CHECK_WAIT_LIMIT_S = 20.0
"""Shorter than clients wait: a client that gives up would create its sweep a second time."""

Spec = Mapping[str, Any]
Run = Mapping[str, Any]
"""A run as W&B's `SweepRun` takes it: name, state, config, summary_metrics, history."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Which suggestion is wanted: the sweep's id, its seed, and how many it has had before."""

    sweep: str
    seed: str
    number: int


def find_python(environ: Mapping[str, str]) -> str | None:
    """Give the Python that can import `sweeps`: this one, else the one that the user names."""
    with suppress(metadata.PackageNotFoundError):
        metadata.version("sweeps")
        return sys.executable
    return environ.get(PYTHON_VARIABLE) or None


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of a server; `default` is the one of new sweeps."""

    optuna: SearchEngine
    wandb: SearchEngine
    default: EngineName = EngineName.OPTUNA

    def named(self, name: EngineName) -> SearchEngine:
        """Give the engine of a sweep that keeps this name."""
        return self.wandb if name is EngineName.WANDB else self.optuna

    def close(self) -> None:
        """End their processes for good."""
        self.optuna.close()
        self.wandb.close()


def open_engines(
    environ: Mapping[str, str],
    log: Callable[[str], None],
    default: EngineName = EngineName.OPTUNA,
) -> Engines:
    """Give a server's engines; their processes start with the first question."""
    return Engines(OptunaEngine(log), WandbEngine(find_python(environ), log), default)


class SearchEngine:
    """An engine in a process of its own; safe to use from any thread.

    Without a `command` every question raises. Ask only inside a turn: `with engine.turn() as
    is_mine`. Limits are in seconds: for an answer, for the start of the process, and for how long a
    caller waits for either.
    """

    title = "the search engine"
    package = ""

    def __init__(
        self,
        command: Sequence[str] | None,
        log: Callable[[str], None],
        *,
        limit_s: float = 20.0,
        start_limit_s: float = 180.0,
        wait_limit_s: float = 8.0,
        max_waiting: int = 8,
    ) -> None:
        self._command = command
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

    def check(self, spec: Spec) -> list[str]:
        """Try a sweep's configuration and give notes; a SearchError says why it is not for this."""
        raise NotImplementedError

    def suggest(self, spec: Spec, runs: Sequence[Run], draw: Draw) -> dict[str, Any]:
        """Choose the parameters of the next run; only in a turn."""
        params: dict[str, Any] = self._suggested(spec, runs, draw)["params"]
        return params

    def close(self) -> None:
        """End the process for good; a question that is being answered fails."""
        self._is_closed = True
        self._end_process()

    def _suggested(self, spec: Spec, runs: Sequence[Run], draw: Draw, **more: Any) -> Any:
        if self._command is None:
            raise EngineUnavailableError(f"{_MISSING}; {INSTALL_HINT}")
        asked = {"sweep": draw.sweep, "seed": draw.seed, "number": draw.number, **more}
        answer = self._ask("suggest", spec, runs, more=asked)
        if "error" in answer:
            raise EngineUnavailableError(f"{self.title} {answer['error']}")
        return answer

    def _ask(
        self,
        ask: str,
        spec: Spec,
        runs: Sequence[Run],
        *,
        more: Mapping[str, Any] | None = None,
        wait_limit_s: float | None = None,
    ) -> dict[str, Any]:
        """Ask in the running process, or in a new one; {"error": text} when the engine refuses."""
        question = {"ask": ask, "spec": _searched(spec), "runs": runs, **(more or {})}
        left_s = self._not_before - time.monotonic()
        if left_s > 0 and self._refusal is None:
            raise EngineUnavailableError(
                f"{self.title} has failed; it is started anew in {left_s:.0f} s"
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
            message = f"{self.title} {error}; it is started anew in {pause_s:g} s"
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
                raise EngineUnavailableError(f"{self.title} is starting")
            if "error" in answer:
                raise ProcessBrokenError(f"does not work in {self._command[0]}: {answer['error']}")
            version = answer.get("ready")
            self._log(f"search engine: {self.package} {version} in process {self._process.pid}")
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


class OptunaEngine(SearchEngine):
    """Multivariate TPE by Optuna, in the server's own environment."""

    package = "optuna"

    def __init__(self, log: Callable[[str], None], **limits: Any) -> None:
        module = "sweepctl.server.engine.tpe_process"
        super().__init__([sys.executable, "-m", module], log, **{"max_waiting": 16, **limits})
        self._told: OrderedDict[str, tuple[Spec, list[Run]]] = OrderedDict()

    def check(self, spec: Spec) -> list[str]:
        """Lay out the space, without asking the process."""
        return Space(spec).notes

    def suggest(self, spec: Spec, runs: Sequence[Run], draw: Draw) -> dict[str, Any]:
        """Choose the parameters of the next run; the process is told only what is new to it.

        To write and read a thousand runs takes as long as to search.
        """
        told, known = self._told.pop(draw.sweep, (None, []))
        answer: dict[str, Any] = {}
        if told == spec and len(known) <= len(runs):
            changed = [(n, run) for n, run in enumerate(runs) if known[n : n + 1] != [run]]
            answer = self._suggested(spec, [], draw, known=len(known), changed=changed)
        if "params" not in answer:  # it was started anew, or has forgotten this sweep
            answer = self._suggested(spec, runs, draw)
        self._told[draw.sweep] = spec, list(runs)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        params: dict[str, Any] = answer["params"]
        return params


class WandbEngine(SearchEngine):
    """W&B's engine; `python` is the interpreter that has the package `sweeps`, or None."""

    title = "W&B's search engine"
    package = "sweeps"

    def __init__(self, python: str | None, log: Callable[[str], None], **limits: Any) -> None:
        program = str(Path(__file__).with_name("sweeps_process"))
        super().__init__(None if python is None else [python, program], log, **limits)

    def check(self, spec: Spec) -> list[str]:
        """Let it search with results: only then it shows what it cannot do."""
        if self._command is None:
            raise SearchError(f"{_MISSING}; {INSTALL_HINT}")
        refused = [f"{name}.probabilities: W&B's engine takes none" for name in probabilities(spec)]
        if refused:
            raise SearchError(f"{'; '.join(refused)}; leave them out")
        with self.turn() as is_mine:
            if not is_mine:
                raise EngineUnavailableError(f"{self.title} has too much to do now")
            answer = self._ask("check", spec, [], wait_limit_s=_CHECK_WAIT_LIMIT_S)
        if "error" in answer:
            raise SearchError(f"{self.title} {answer['error']}")
        return []


_MISSING = "this sweep needs W&B's search engine (the package sweeps), which this server lacks"


def _searched(spec: Spec) -> dict[str, Any]:
    """Give the part of a configuration that the engine works with."""
    return {key: spec[key] for key in ("method", "metric", "parameters") if key in spec}
