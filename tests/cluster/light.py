"""A release of the chart that trains with the light trainer on a bed, and what it leaves."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sweepctl.values.settings import chart_folder
from sweepctl_pod.wandb.client import Connection, WandbClient
from tests.cluster.sweeps import Sweepctl, write_values
from tests.testbed.cluster import Cluster, restricted_namespace
from tests.testbed.layout import Bed
from tests.testbed.server_image import offer_server_image
from tests.testbed.trainer import CLAIM, offer_trainer

NAME = "light"
SELECTOR = "app.kubernetes.io/component=agent"
_KEY = "k" * 40
_PYTHON = "/opt/isaaclab-venv/bin/python"
_TRAINER = Path(__file__).with_name("light_trainer.py")


@dataclass(frozen=True, slots=True)
class Shape:
    """How much is trained, and how fast."""

    agents: int
    runs: int
    """How many runs the sweep has: enough that all agents train until all is done to them."""
    iterations: int
    pause_s: float = 1.0
    save_every: int = 10
    requeue_s: int = 60
    """After how many seconds of silence the server gives an agent's runs to others."""


@dataclass(frozen=True, slots=True)
class Light:
    """The release, where its files are on this machine, and the command line beside it."""

    cluster: Cluster
    bed: Bed
    namespace: str
    folder: Path
    shape: Shape
    folders: dict[str, Path] = field(default_factory=dict)

    @property
    def sweepctl(self) -> Sweepctl:
        return Sweepctl(self.cluster, self.namespace, self.folder)

    def prepare(self) -> None:
        """Have in the namespace all that the release needs.

        Raises:
            BedUnavailable: when the trainer's environment is not made yet.
        """
        self.cluster.apply(restricted_namespace(self.namespace))
        offer_trainer(self.cluster, self.bed, self.namespace, os.environ)
        offer_server_image(self.cluster, self.bed)
        code = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "trainer-code"}}
        data = {"light_trainer.py": _TRAINER.read_text()}
        self.cluster.apply({**code, "data": data}, namespace=self.namespace)
        key = (f"--from-literal=apiKey={_KEY}",)
        self.kubectl("create", "secret", "generic", "wandb", *key)
        # A copy: what is edited while this runs must not get into an upgrade.
        shutil.copytree(chart_folder(), self.folder / "chart", dirs_exist_ok=True)
        (self.folder / "light.yaml").write_text(yaml.safe_dump(self._sweep(), sort_keys=False))
        write_values(self.folder, **self._values())

    def install(self, *more: str) -> None:
        """Install the release, with the server on the first node."""
        files = ("-f", str(self.folder / "values.yaml"))
        sweep = ("--set-file", f"sweep={self.folder / 'light.yaml'}")
        agents = ("--set", f"agents={self.shape.agents}")
        self.helm("install", NAME, str(self.folder / "chart"), *files, *sweep, *agents, *more)

    def upgrade(self, *more: str) -> None:
        """Upgrade it, with other settings."""
        self.helm("upgrade", NAME, str(self.folder / "chart"), "--reuse-values", *more)

    def helm(self, *arguments: str) -> str:
        done = self.cluster.run("helm", *arguments, "-n", self.namespace)
        if done.returncode != 0:
            raise RuntimeError(f"helm {arguments}: {done.stderr.strip()}")
        return done.stdout

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments)

    def volume(self, claim: str) -> Path:
        """Give the folder behind a claim of the release."""
        found = self.cluster.get("-n", self.namespace, "pvc", claim)
        return self.bed.volumes / str(found["spec"]["volumeName"])

    def sweep_id(self) -> str:
        """Give the whole name of the sweep that the agents have made, once they have."""

        def name() -> Any:
            done = self.sweepctl("status", NAME, "-o", "json")
            sweep = json.loads(done.stdout)["sweep"] if done.returncode == 0 else None
            return sweep and sweep["sweep"]

        return str(self.cluster.wait_for("the sweep is there", name, every_s=2))

    def volume_folder(self, claim: str) -> Path:
        """Give the same, asked of the API once."""
        if claim not in self.folders:
            self.folders[claim] = self.volume(claim)
        return self.folders[claim]

    def second_sweep(self, project: str) -> str:
        """Create the same sweep again, in a project of its own; give its whole name."""
        with self.client() as client:
            return client.create_sweep("local", project, json.dumps(self._sweep())).full_name

    def hurry(self) -> None:
        """Have the trainers sleep no more: what is left of the sweeps ends soon."""
        (self.volume(f"{NAME}-runs") / "hurry").touch()

    @contextmanager
    def client(self) -> Iterator[WandbClient]:
        """Speak with the release's server, from this machine."""
        forward = subprocess.Popen(
            [
                *(str(self.cluster.programs["kubectl"]), "-n", self.namespace, "port-forward"),
                *(f"service/{NAME}-server", ":8080"),
            ],
            env=self.cluster.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert forward.stdout is not None
            port = int(forward.stdout.readline().split(":")[1].split()[0])
            yield WandbClient(Connection(f"http://127.0.0.1:{port}", _KEY, "local"))
        finally:
            forward.kill()
            forward.wait()

    def _sweep(self) -> dict[str, Any]:
        shape = self.shape
        words = {
            "iterations": shape.iterations,
            "pause_s": shape.pause_s,
            "save_every": shape.save_every,
        }
        return {
            "name": NAME,
            "project": NAME,
            "method": "grid",
            "metric": {"name": "loss", "goal": "minimize"},
            "command": [
                *(_PYTHON, "/code/light_trainer.py"),
                *(f"{key}={value}" for key, value in words.items()),
                "${args_no_hyphens}",
            ],
            # No two runs have the same: a run that is trained under two ids is seen.
            "parameters": {"task.gain": {"values": [_gain(i) for i in range(shape.runs)]}},
        }

    def _values(self) -> dict[str, Any]:
        server_tag = yaml.safe_load(write_values(self.folder).read_text())["server"]
        unreachable = {"key": "node.kubernetes.io/unreachable", "operator": "Exists"}
        return {
            "resources": {
                "requests": {"cpu": "10m", "memory": "64Mi"},
                "limits": {"memory": "700Mi"},
            },
            # The chart's own: what was promised of a grace of 30 s must not hang on a busy machine.
            "graceSeconds": 120,
            "runs": {"type": "pvc", "size": "1Gi"},
            "checkpoint": {"pattern": "light/$WANDB_RUN_ID/light-*.json"},
            # A node that is lost is given up after seconds, not after five minutes.
            "tolerations": [{**unreachable, "effect": "NoExecute", "tolerationSeconds": 5}],
            "topologySpread": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                }
            ],
            "extraVolumes": [
                {"name": "trainer-code", "configMap": {"name": "trainer-code"}},
                {"name": "trainer", "persistentVolumeClaim": {"claimName": CLAIM}},
            ],
            "extraVolumeMounts": [
                {"name": "trainer-code", "mountPath": "/code"},
                {"name": "trainer", "mountPath": "/opt/trainer", "readOnly": True},
            ],
            "server": {
                **server_tag,
                "agentTimeoutSeconds": self.shape.requeue_s,
                "nodeSelector": {"kubernetes.io/hostname": self.bed.nodes[0].name},
                "resources": {
                    "requests": {"cpu": "50m", "memory": "64Mi"},
                    "limits": {"memory": "1Gi"},
                },
            },
        }


def _gain(index: int) -> float:
    """Give a parameter that needs all its digits."""
    return 1.0 + index / 7


@dataclass
class Account:
    """What became of the runs of one sweep, counted from the server's data and the ledger."""

    begun: int = 0
    finished: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    uneven: list[str] = field(default_factory=list)
    """Runs whose history has not each step once."""
    trained: int = 0
    """Iterations, those that were trained again included."""
    repeated: int = 0
    repeated_of: dict[str, int] = field(default_factory=dict)

    @property
    def repeated_share(self) -> float:
        """Give the share of the training that was done again."""
        needed = self.trained - self.repeated
        return self.repeated / needed if needed else 0.0


def read_runs(data: Path, sweep: str) -> list[dict[str, Any]]:
    """Read the runs of a sweep, and the steps of their history, from the server's own rows."""
    uri = f"file:{data / 'sweepctl.sqlite'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=30)) as rows:
        rows.row_factory = sqlite3.Row
        wanted = "SELECT runs.* FROM runs JOIN sweeps ON runs.sweep = sweeps.pk WHERE sweeps.id = ?"
        runs = [dict(row) for row in rows.execute(wanted, (sweep.rpartition("/")[2],))]
        for run in runs:
            history = rows.execute(
                "SELECT step, text FROM history WHERE run = ? ORDER BY line", (run["pk"],)
            )
            run["history"] = [json.loads(row["text"]) for row in history]
    return runs


def read_ledger(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Read what each process has trained, the earliest first: by run, a list of processes."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in sorted(folder.glob("*"), key=lambda path: int(path.name.rpartition(".")[2])):
        lines = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
        if lines:
            trained = [line["iteration"] for line in lines if "iteration" in line]
            found[lines[0]["run"]].append(
                {
                    **lines[0],
                    "trained": trained,
                    "times": [line["at"] for line in lines if "iteration" in line],
                }
            )
    return found


def account(data: Path, ledger: Path, sweep: str, iterations: int) -> Account:
    """Count what became of the runs of a sweep."""
    found = Account()
    trained = read_ledger(ledger)
    gains: Counter[float] = Counter()
    for run in read_runs(data, sweep):
        name = str(run["id"])
        processes = trained.get(name, [])
        if not processes and run["state"] not in ("finished", "failed", "crashed", "killed"):
            continue  # handed out and not begun
        found.begun += 1
        asked = parameters(run)["task.gain"]
        gains[asked] += 1
        if run["state"] == "finished" and run["exit_code"] in (0, None):
            found.finished += 1
        else:
            found.lost.append(f"{name}: {run['state']}")
        if gains[asked] > 1 or _ended_twice(processes, iterations):
            found.doubled.append(name)
        if any(process["gain"] != asked for process in processes):
            found.changed.append(name)
        steps = [row["_step"] for row in run["history"]]
        if run["state"] == "finished" and (
            steps != list(range(iterations)) or any(r["gain"] != asked for r in run["history"])
        ):
            found.uneven.append(f"{name}: {_uneven(steps, iterations)}")
        counted = Counter(step for process in processes for step in process["trained"])
        found.trained += counted.total()
        if again := counted.total() - len(counted):
            found.repeated += again
            found.repeated_of[name] = again
    return found


def parameters(run: Mapping[str, Any]) -> dict[str, Any]:
    """Give the parameters of a run as the server has handed them out."""
    held = json.loads(run["params"] or run["config"])
    return {k: v["value"] if isinstance(v, dict) and "value" in v else v for k, v in held.items()}


def training_since(ledger: Path) -> dict[str, tuple[str, float]]:
    """Give what each host trains now: its run, and the seconds since it began."""
    found: dict[str, tuple[str, float]] = {}
    now = time.time()
    for file in ledger.glob("*"):
        run, host, began = file.name.split(".")
        if now - file.stat().st_mtime < 12:
            found[host] = (run, now - int(began) / 1e9)
    return found


def trained_since(ledger: Path, host: str, at: float) -> tuple[str, ...]:
    """Give the runs that a host has trained at some time since then."""
    files = [file for file in ledger.glob(f"*.{host}.*") if file.stat().st_mtime > at - 12]
    return tuple(sorted({file.name.partition(".")[0] for file in files}))


def _ended_twice(processes: list[dict[str, Any]], iterations: int) -> bool:
    """Tell whether two trained it to its end at the same time.

    One after the other is none: the first may have lost its power before it could say so.
    """
    whole = sorted((p["at"], p["times"][-1]) for p in processes if iterations - 1 in p["trained"])
    return any(later[0] < earlier[1] for earlier, later in itertools.pairwise(whole))


def _uneven(steps: list[int], iterations: int) -> str:
    lacking = sorted(set(range(iterations)) - set(steps))
    twice = sorted(step for step, count in Counter(steps).items() if count > 1)
    return f"{len(steps)} rows, lacking {lacking[:8]}, twice {twice[:8]}"
