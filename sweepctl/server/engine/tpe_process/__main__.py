"""Answers questions of the server by Optuna, one JSON line for each, as `sweeps_process` does.

It says {"ready": version} first, and ends when its input ends.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweepctl.server.engine.tpe_process.study import SweepStudy

_KEPT = 8
"""So many sweeps are remembered; another one is told anew."""


def main() -> int:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    questions: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin, questions), daemon=True).start()
    try:
        import optuna

        from sweepctl.server.engine.tpe_process.study import SweepStudy
    except ImportError as error:
        _write(out, {"error": f"it cannot be imported: {_error_text(error)}"})
        return 1
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    _write(out, {"ready": optuna.__version__})
    sweeps: OrderedDict[str, _Sweep] = OrderedDict()
    while True:
        question = json.loads(questions.get())
        key = json.dumps([question["sweep"], question["spec"]])
        sweep = sweeps.pop(key, None)  # an error makes that it is told anew
        try:
            if "known" not in question:
                sweep = _Sweep(sweep.study if sweep else SweepStudy(question["spec"]))
                sweep.runs = question["runs"]
            if sweep is None or question.get("known", len(sweep.runs)) != len(sweep.runs):
                _write(out, {"unknown": True})
                continue
            for number, run in question.get("changed", ()):
                sweep.runs[number : number + 1] = [run]
            study = sweep.study
            params = study.suggest(sweep.runs, question["seed"], question["number"])
        except Exception as error:
            _write(out, {"error": _error_text(error)})
        else:
            _write(out, {"params": params})
            sweeps[key] = sweep
            if len(sweeps) > _KEPT:
                sweeps.popitem(last=False)


@dataclass(slots=True)
class _Sweep:
    """A sweep's study and the runs that it was told."""

    study: SweepStudy
    runs: list[dict[str, Any]] = field(default_factory=list)


def _read(lines: IO[str], questions: queue.SimpleQueue[str]) -> None:
    for line in lines:
        questions.put(line)
    os._exit(0)  # the server is gone, whatever is being computed


def _write(out: IO[str], answer: Mapping[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()


def _error_text(error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"[:500]


if __name__ == "__main__":
    sys.exit(main())
