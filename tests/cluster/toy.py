"""Real Isaac Lab among the disrupted: a release beside the light one, at the same server.

Its runs differ in nothing but the seed, so each is a twin of the others.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sweepctl_pod.run_record import RECORD_FILE, RunRecord, read_record
from sweepctl_pod.wandb.outputs import download_file, find_file
from tests.cluster.campaign import Campaign
from tests.cluster.light import NAME, Light, read_runs
from tests.cluster.pod_watch import Seen, epoch_of
from tests.local.local_sweeps import toy_sweep
from tests.testbed.layout import Node
from tests.testbed.playground import VALUES

TOY = "toy"
REWARD = "Train/mean_reward"


@dataclass(frozen=True, slots=True)
class Toy:
    """The release, its runs and what they have come to."""

    light: Light
    agents: int = 2
    runs: int = 4
    iterations: int = 160
    progress: list[dict[str, Any]] = field(default_factory=list)
    """What the companion has said, each word once, with the run that it is of."""

    def install(self) -> None:
        """Install it; the light release's namespace has all that it needs."""
        light = self.light
        file = light.folder / "toy.yaml"
        file.write_text(yaml.safe_dump(self._sweep(), sort_keys=False))
        values = yaml.safe_load(VALUES.read_text())
        del values["server"], values["graceSeconds"]  # the chart's own grace
        values |= {
            "wandb": {"baseUrl": f"http://{NAME}-server.{light.namespace}.svc:8080"},
            "agents": self.agents,
            # Not where the server is: that node keeps its power.
            "affinity": _not_on(light.bed.nodes[0].name),
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
            folder = self.light.volume_folder(f"{TOY}-runs")
            held = _held(self.light.volume_folder(f"data-{NAME}-server-0"))
        except (RuntimeError, KeyError, sqlite3.Error):  # the API server is down, or no claim yet
            return {}
        found = {}
        for run, host in held.items():
            progress = _progress(folder / run)
            is_new = time.time() - progress.get("at", 0) < 15
            if is_new and progress.get("iteration", 0) >= progress.get("first", 0) + 3:
                found[host] = (run, 10.0)
        return found

    def note_progress(self) -> None:
        """Note what the companions have said since the last look."""
        for file in self.light.volume_folder(f"{TOY}-runs").glob("*/.sweepctl/progress.json"):
            said = {**_progress(file.parents[1]), "run": file.parents[1].name}
            if "at" in said and said not in self.progress:
                self.progress.append(said)

    def node_of(self, campaign: Campaign, run: str) -> Node | None:
        """Give the node where a run trains now."""
        training = self.training()
        for seen in campaign.watch.pods().values():
            if seen.is_running and training.get(seen.host, ("", 0))[0] == run:
                return campaign.disruptor.node(seen.item["spec"]["nodeName"])
        return None

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
        self._print_parts(campaign)
        wrong = campaign.wrong_exits(TOY)
        for line in wrong:
            print(f"  Isaac Lab: exit: {line}")
        return is_good and not wrong

    def _print_parts(self, campaign: Campaign) -> None:
        """Print what each return of a training was made of, from the eviction on."""
        records = {str(run["id"]): self._record(run) for run in self._runs()}
        for struck in campaign.struck:
            if struck.instance != TOY or struck.kind not in ("evict", "delete", "kill"):
                continue
            for run in struck.runs:
                record = records.get(run)
                later = [a for a in record.attempts if a.began_at > struck.at] if record else []
                if not later:
                    continue
                attempt = min(later, key=lambda each: each.began_at)
                pods = [s for s in campaign.watch.pods().values() if s.host == attempt.host]
                begun = [(_started(s), s) for s in pods if 0 < _started(s) <= attempt.began_at]
                said = [s for s in self.progress if s["run"] == run and s["at"] > attempt.began_at]
                done = [s for s in said if s["iteration"] >= s["first"]]
                if not begun or not said or not done:
                    continue
                started, seen = max(begun, key=lambda pair: pair[0])
                created = epoch_of(seen.item["metadata"]["creationTimestamp"])
                marks = {
                    "pod made": max(struck.at, created),
                    "scheduled": _scheduled(seen),
                    "container started": started,
                    "trainer started": attempt.began_at,
                    "trainer and environment made": said[0]["at"] - said[0].get("load_s", 0.0),
                    "checkpoint loaded": said[0]["at"],
                    "first new iteration": done[0]["at"],
                }
                parts, last = [], struck.at
                for what, at in marks.items():
                    parts.append(f"{what} +{max(0.0, at - last):.1f}")
                    last = max(last, at)
                print(f"  {struck.kind} of {run}, {last - struck.at:.1f} s: {', '.join(parts)}")

    def _record(self, run: dict[str, Any]) -> RunRecord | None:
        with self.light.client() as client:
            place = ("local", TOY, str(run["id"]))
            file = find_file(client, place, RECORD_FILE)
            if file is None:
                return None
            target = self.light.folder / f"{run['id']}.json"
            download_file(client, file, target)
        return read_record(target.read_text())

    def _runs(self) -> list[dict[str, Any]]:
        data = self.light.volume_folder(f"data-{NAME}-server-0")
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


def _started(seen: Seen) -> float:
    for status in seen.item["status"].get("containerStatuses", ()):
        for state in ("running", "terminated"):
            if status["name"] == "agent" and status["state"].get(state, {}).get("startedAt"):
                return epoch_of(status["state"][state]["startedAt"])
    return 0.0


def _scheduled(seen: Seen) -> float:
    conditions = seen.item["status"].get("conditions", ())
    at = next((c["lastTransitionTime"] for c in conditions if c["type"] == "PodScheduled"), None)
    return epoch_of(at) if at else 0.0


def _not_on(node: str) -> dict[str, Any]:
    rule = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": [node]}
    term = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}


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
