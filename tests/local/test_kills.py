"""kill -9 of each process of a local sweep, in its middle: no run is lost or finished twice."""

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.local.local_sweeps import LocalSweep

RUNS = 4
STEPS = 20


def quick_sweep(ledger: Path) -> dict[str, Any]:
    return {
        "project": "kills",
        "method": "random",
        "run_cap": RUNS,
        "metric": {"name": "score", "goal": "maximize"},
        "command": [
            sys.executable,
            str(Path(__file__).with_name("quick_trainer.py")),
            str(ledger),
            STEPS,
        ],
        "parameters": {"env.gain": {"distribution": "uniform", "min": 0.5, "max": 2.0}},
    }


def noted(ledger: Path, what: str) -> list[list[str]]:
    """Give the lines of one kind in the ledger, as words."""
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return [line.split()[1:] for line in lines if line.startswith(what)]


@pytest.mark.parametrize(
    ("victim", "starts"),
    [
        pytest.param("trainer", RUNS + 1, id="trainer-its-run-is-taken-again"),
        pytest.param("agent", RUNS + 1, id="agent-its-run-is-taken-again"),
        pytest.param("server", RUNS, id="server-no-trainer-is-disturbed"),
    ],
)
def test_a_killed_process_loses_no_run_and_finishes_none_twice(
    victim: str,
    starts: int,
    start_sweep: Callable[..., LocalSweep],
    tmp_path: Path,
) -> None:
    ledger = tmp_path / "ledger"
    sweep = start_sweep(quick_sweep(ledger), folder=tmp_path)
    sweep.wait_until("two runs' middle", lambda: len(noted(ledger, "middle")) >= 2, limit_s=90)

    sweep.kill(victim)

    assert sweep.wait(180) == 0, sweep.story()
    sweep.no_process_is_left()
    status = sweep.ask("status")
    assert status["counts"] == {"finished": RUNS}, sweep.story()
    runs = {run["run"]: run["parameters"]["env.gain"] for run in status["runs"]}
    assert Counter(run for run, _ in noted(ledger, "end")) == Counter(list(runs)), sweep.story()
    for run in runs:
        history = sweep.history(run)
        assert [row["_step"] for row in history] == list(range(STEPS))
        assert len({row["trainer"] for row in history}) == 1, "two attempts in one history"
    begun = noted(ledger, "start")
    assert len(begun) == starts, sweep.story()
    assert {(run, override) for run, override in begun} == {
        (run, f"env.gain={gain!r}") for run, gain in runs.items()
    }
