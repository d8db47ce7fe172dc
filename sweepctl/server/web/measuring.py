"""What matters in a sweep, measured by a process of its own: it takes seconds and much memory.

`python -m sweepctl.server.web.measuring` reads facts and writes what it measured, both as the
server that started it gives and takes them.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import anyio
from anyio import CancelScope, CapacityLimiter

from sweepctl.figures import Importance, SweepFacts, importance_of
from sweepctl.server.bounds import EndingError
from sweepctl.server.server_process import die_with_parent

_NICER = 5


class Measuring:
    """Measures one sweep after the other; of the event loop's thread alone."""

    def __init__(self) -> None:
        self._one = CapacityLimiter(1)
        self._under_way: set[CancelScope] = set()
        self._is_over = False

    async def measured(self, facts: SweepFacts) -> Importance:
        """Measure what matters, when its turn has come; the process ends with who waits for it."""
        runs = [replace(run, attempts=(), link="") for run in facts.finished]
        few = pickle.dumps(replace(facts, runs=runs, curves={}))
        with CancelScope() as scope:
            self._under_way.add(scope)
            try:
                async with self._one:
                    if not self._is_over:
                        return await _run(few, len(runs))
            finally:
                self._under_way.discard(scope)
        raise EndingError("the server ends")

    def close(self) -> None:
        """End what is under way: the server ends."""
        self._is_over = True
        for scope in self._under_way:
            scope.cancel()


async def _run(few: bytes, runs: int) -> Importance:
    done = await anyio.run_process(
        [sys.executable, "-m", __name__], input=few, stderr=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        why = f"What matters could not be measured: its process ended with {done.returncode}."
        return Importance((), why, False, runs)
    found: Importance = pickle.loads(done.stdout)
    return found


def main() -> None:
    """Measure once, behind everything else that this machine does."""
    die_with_parent()
    os.nice(_NICER)
    facts: SweepFacts = pickle.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(pickle.dumps(importance_of(facts)))


if __name__ == "__main__":
    main()
