"""Real Isaac Lab among the disrupted: a release beside the light one, at the same server.

Its runs differ in nothing but the seed, so each is a twin of the others.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.campaign import Campaign
from tests.cluster.light import NAME, Light, read_runs
from tests.local.local_sweeps import toy_sweep
from tests.testbed.playground import VALUES

TOY = "toy"
REWARD = "Train/mean_reward"


@dataclass(frozen=True, slots=True)
class Toy:
    """The release, its runs and what they have come to."""

    light: Light
    agents: int = 2
    runs: int = 6
    iterations: int = 60

    def install(self) -> None:
        """Install it; the light release's namespace has all that it needs."""
        light = self.light
        file = light.folder / "toy.yaml"
        file.write_text(yaml.safe_dump(self._sweep(), sort_keys=False))
        values = yaml.safe_load(VALUES.read_text())
        del values["server"]
        values |= {
            "wandb": {"baseUrl": f"http://{NAME}-server.{light.namespace}.svc:8080"},
            "agents": self.agents,
            "tolerations": yaml.safe_load((light.folder / "values.yaml").read_text())[
                "tolerations"
            ],
        }
        settings = light.folder / "toy-values.yaml"
        settings.write_text(yaml.safe_dump(values))
        files = ("-f", str(settings), "--set-file", f"sweep={file}")
        light.helm("install", TOY, str(light.folder / "chart"), *files)

    def training(self) -> dict[str, tuple[str, float]]:
        """Give what each host trains, once it is two iterations further than where it began."""
        try:
            folder = self.light.volume(f"{TOY}-runs")
            held = _held(self.light.volume(f"data-{NAME}-server-0"))
        except (RuntimeError, KeyError, sqlite3.Error):  # the API server is down, or no claim yet
            return {}
        found = {}
        for run, host in held.items():
            progress = _progress(folder / run)
            is_new = time.time() - progress.get("at", 0) < 15
            if is_new and progress.get("iteration", 0) >= progress.get("first", 0) + 3:
                found[host] = (run, 10.0)
        return found

    def is_over(self) -> bool:
        """Tell whether every run has ended."""
        runs = self._runs()
        ended = [run for run in runs if run["state"] in ("finished", "failed", "crashed")]
        return len(ended) == self.runs

    def report(self, campaign: Campaign) -> bool:
        """Print what became of each run; tell whether all is well."""
        is_good = True
        for run in sorted(self._runs(), key=lambda each: str(each["id"])):
            did = [s.kind for s in campaign.struck if run["id"] in s.runs]
            steps = [row["_step"] for row in run["history"]]
            rewards = [row[REWARD] for row in run["history"] if REWARD in row]
            is_whole = sorted(steps) == list(range(self.iterations))
            is_good = is_good and run["state"] == "finished" and is_whole
            last = f"{rewards[-1]:.3f}" if rewards else "none"
            print(
                f"  Isaac Lab run {run['id']}: {run['state']}, {len(steps)} steps,"
                f" {'each once' if is_whole else 'NOT each once'}, final reward {last};"
                f" hit by: {', '.join(did) or 'nothing'}"
            )
        wrong = campaign.wrong_exits(TOY)
        for line in wrong:
            print(f"  Isaac Lab: exit: {line}")
        return is_good and not wrong

    def _runs(self) -> list[dict[str, Any]]:
        data = self.light.volume(f"data-{NAME}-server-0")
        uri = f"file:{data / 'sweepctl.sqlite'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30)) as rows:
            named = rows.execute(
                "SELECT sweeps.id FROM sweeps JOIN projects ON sweeps.project = projects.pk"
                " WHERE projects.name = ?",
                (TOY,),
            ).fetchone()
        return read_runs(data, str(named[0])) if named else []

    def _sweep(self) -> dict[str, Any]:
        sweep = toy_sweep(self.runs)
        command = [str(word) for word in sweep["command"]]
        command[command.index("--max_iterations") + 1] = str(self.iterations)
        del sweep["run_cap"]
        return {
            **sweep,
            "name": TOY,
            "project": TOY,
            "method": "grid",
            "command": command,
            "parameters": {"agent.seed": {"values": list(range(1, self.runs + 1))}},
        }


def _held(data: Path) -> dict[str, str]:
    """Give the host that has each run that is under way."""
    uri = f"file:{data / 'sweepctl.sqlite'}?mode=ro"
    wanted = "SELECT runs.id, agents.host FROM runs JOIN agents ON runs.agent = agents.pk"
    with closing(sqlite3.connect(uri, uri=True, timeout=30)) as rows:
        return {str(run): str(host) for run, host in rows.execute(wanted)}


def _progress(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / ".sweepctl" / "progress.json").read_text())
    except (OSError, ValueError):
        return {}
    return found
