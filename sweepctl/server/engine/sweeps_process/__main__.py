"""Answers questions of the server with W&B's `sweeps` package, one JSON line for each.

It is run by its path, by any Python that has `sweeps`, so it imports nothing else but the standard
library. It says {"ready": version} first, and ends when its input ends.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import random
import sys
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

Spec = Mapping[str, Any]
Answer = dict[str, Any]


def main() -> int:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the package prints sometimes
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, questions), daemon=True).start()
    try:
        from importlib.metadata import version

        import sweeps
        import sweeps.bayes_search
    except Exception as error:
        _write(out, {"error": f"it cannot be imported: {_error_text(error)}"})
        return 1
    _write(out, {"ready": version("sweeps")})
    answers = _Answers(sweeps)
    while True:
        question = json.loads(questions.get())
        try:
            _write(out, answers.to(question))
        except Exception as error:
            _write(out, {"error": _error_text(error)})


class _Answers:
    """The questions that there are."""

    def __init__(self, sweeps: Any) -> None:
        self._sweeps = sweeps
        self._known: dict[str, Callable[[Spec, Sequence[Any]], Answer]] = {
            "check": self.check,
            "suggest": self.suggest,
        }

    def to(self, question: Mapping[str, Any]) -> Answer:
        runs = [self._sweeps.SweepRun(**run) for run in question["runs"]]
        if "seed" in question:
            _seed(f"{question['seed']}/{question['number']}")
        return self._known[question["ask"]](question["spec"], runs)

    def check(self, spec: Spec, runs: Sequence[Any]) -> Answer:
        """Try the sweep with results: only then the package shows what it cannot do."""
        tried: list[Any] = []
        for value in (0.0, 1.0):
            run = self._sweeps.next_run(spec, tried)
            summary = {spec["metric"]["name"]: value}
            tried.append(
                self._sweeps.SweepRun(config=run.config, state="finished", summary_metrics=summary)
            )
        _plain(self._sweeps.next_run(spec, tried).config)
        return {}

    def suggest(self, spec: Spec, runs: Sequence[Any]) -> Answer:
        """Choose the parameters of the next run."""
        config = self._sweeps.next_run(spec, list(runs)).config
        return {"params": {name: _plain(given["value"]) for name, given in config.items()}}


def _seed(text: str) -> None:
    """Have the package, which draws from the common generators, repeat itself."""
    import numpy

    random.seed(text)
    numpy.random.seed(random.getrandbits(32))


def _plain(value: Any) -> Any:
    """Give a value without numpy's types."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value


def _read(lines: IO[str], questions: queue.SimpleQueue[str]) -> None:
    for line in lines:
        questions.put(line)
    os._exit(0)  # the server is gone, whatever is being computed


def _write(out: IO[str], answer: Answer) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _error_text(error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"[:500]


if __name__ == "__main__":
    sys.exit(main())
