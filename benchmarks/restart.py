"""How long a server with 5,000 runs takes from its start to its first answer.

The runs have 100 lines of history each, and a tenth of them train. Beside it, in turns: a server of
an empty folder, which is Python with its imports. The data is what a killed server leaves. The
computing time is what a quiet machine would take.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweepctl.server.store import lines, run_store, summary_store, sweep_store
from sweepctl.server.store.database import DATABASE, Database
from sweepctl.server.store.sweep_store import Rows
from tests.serving import ServerProcess

RUNS = 5_000
LINES = 100
TURNS = 7


def main() -> None:
    """Print the medians, and what the data adds."""
    with tempfile.TemporaryDirectory() as scratch:
        full, empty = Path(scratch) / "full", Path(scratch) / "empty"
        fill(full)
        size_mb = (full / DATABASE).stat().st_size / 1e6
        took: dict[Path, list[Start]] = {full: [], empty: []}
        for _ in range(TURNS):
            for folder, starts in took.items():
                starts.append(started(folder))
        for folder, what in ((full, f"{RUNS} runs, {size_mb:.0f} MB"), (empty, "no runs")):
            seconds = [start.wall_s for start in took[folder]]
            cpu_s = [start.cpu_s for start in took[folder]]
            print(
                f"{what}: median {statistics.median(seconds):.2f} s, least {min(seconds):.2f} s;"
                f" computing {statistics.median(cpu_s):.2f} s, least {min(cpu_s):.2f} s"
            )


@dataclass(frozen=True)
class Start:
    """What one start took, from the process's beginning to its first answer."""

    wall_s: float
    cpu_s: float


def fill(folder: Path) -> None:
    """Write a folder with one sweep and its runs."""
    database = Database(folder)
    spec = {"method": "random", "metric": {"name": "loss", "goal": "minimize"}}
    spec["parameters"] = {"a": {"min": 0.0, "max": 1.0}}
    text = json.dumps(spec)
    now = time.time()
    with database.write() as tx:
        project = sweep_store.ensure_project(tx, "local", "p", now).pk
        values = {"project": project, "state": "RUNNING", "method": "random", "goal": "minimize"}
        given = {**values, "metric": "loss", "config_text": text, "spec": text}
        sweep = sweep_store.create_sweep(tx, given, now).pk
        for number in range(RUNS):
            _add_run(tx, project, sweep, number, now)
    database.close()


def _add_run(tx: Rows, project: int, sweep: int, number: int, now: float) -> None:
    state = "running" if number % 10 == 0 else "finished"
    config = json.dumps({"a": {"value": number / RUNS}, "env": {"value": {"x": [0.0] * 100}}})
    given = {"project": project, "sweep": sweep, "state": state, "config": config}
    run = run_store.create_run(tx, {**given, "params": json.dumps({"a": number / RUNS})}, now).pk
    content = [
        json.dumps({"_step": step, "loss": step / 7, **{f"m{n}": step * n / 3 for n in range(10)}})
        for step in range(LINES)
    ]
    lines.write_history(tx, run, dict(enumerate(content)))
    summary_store.write_summary(tx, run, content[-1])


def started(folder: Path) -> Start:
    """Start a server, have it answer once, kill it."""
    began = time.monotonic()
    server = ServerProcess(folder)
    try:
        status, _, _ = server.request("GET", "/healthz")
        assert status == 200
        wall_s = time.monotonic() - began
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return Start(wall_s, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    finally:
        server.kill()


if __name__ == "__main__":
    main()
