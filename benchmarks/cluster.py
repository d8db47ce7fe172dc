"""What the command line costs on a cluster, beside kubectl and W&B's own client, in one run.

On the test bed (`make testbed-up`) with simulated nodes: submit of 1,000 agents beside `kubectl
create` of the same Job, the API's requests for 10 and for 1,000 agents, `status` of 1,000 pods and
5,000 runs beside `kubectl get pods` and one `wandb.Api` listing, and the cold start. Exit 1 when a
bound is broken. Nothing here is a test: the numbers are this machine's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweepctl.jobs.change import scale
from sweepctl.jobs.existing import SubmitOptions
from sweepctl.jobs.state import read_state
from sweepctl.jobs.submission import find_submission
from sweepctl.jobs.submit import Submitter
from sweepctl.kube.client import Cluster as SweepctlCluster
from sweepctl.kube.kubeconfig import open_cluster
from sweepctl.sweepfile.load import load_sweep
from sweepctl.values.settings import flag_settings, load_values
from sweepctl_pod.wandb.client import Connection, WandbClient
from tests.serving import ServerProcess
from tests.testbed import lifecycle, simulated
from tests.testbed.cluster import Cluster
from tests.testbed.layout import bed

KEY = "local_server_on_loopback_needs_no_secret_key"
BIN = Path(sys.executable).parent
AGENTS, RUNS = 1000, 5000
OWN_SHARE_S, STATUS_RATIO, START_RATIO, WANDB_RATIO = 2.0, 1.5, 1.3, 0.5

VALUES = {
    "nodeSelector": {simulated.MARK: "fake"},
    "tolerations": [simulated.TOLERATION],
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
    "serviceAccount": {"create": True, "name": "", "annotations": {}},
}
SWEEP = """\
name: bench
project: bench
method: grid
metric: {name: loss, goal: minimize}
command: [python3, train.py]
parameters:
  task.gain: {values: [%s]}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--testbed", default=os.environ.get("SWEEPCTL_TESTBED", "default"))
    asked = parser.parse_args()
    failures: list[str] = []
    cold_start(failures)
    chosen = bed(asked.testbed, os.environ)
    cluster = lifecycle.up(chosen, os.environ, say)
    simulated.simulate(cluster, chosen, AGENTS // 8)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as url:
        bench = Bench(cluster, url, Path(folder))
        try:
            bench.prepare()
            bench.requests(failures)
            bench.submit(failures)
            bench.status(failures)
        finally:
            bench.clean()
            simulated.simulate(cluster, chosen, 0)
    for failure in failures:
        print(f"BROKEN: {failure}")
    return 1 if failures else 0


def cold_start(failures: list[str]) -> None:
    """Time `--help`, ours beside a bare typer program's, wandb's and kubectl's, in turn."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "bare.py")
        bare.write_text(
            "import typer\napp = typer.Typer(rich_markup_mode=None)\n"
            "@app.command()\ndef one() -> None: ...\n"
            "@app.command()\ndef two() -> None: ...\n"
            "app()\n"
        )
        commands = {
            "sweepctl": [str(BIN / "sweepctl"), "--help"],
            "bare typer": [sys.executable, str(bare), "--help"],
            "wandb": [str(BIN / "wandb"), "--help"],
            "kubectl": [shutil.which("kubectl") or "kubectl", "--help"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(15):
            for name, command in commands.items():
                times[name].append(timed(partial(run, command))[1])
    best = {name: min(found) for name, found in times.items()}
    print(
        "cold start of --help (best of 15): " + ", ".join(f"{n} {s:.3f} s" for n, s in best.items())
    )
    hold(
        failures,
        "cold start beside a bare typer program",
        best["sweepctl"] / best["bare typer"],
        START_RATIO,
    )
    hold(failures, "cold start beside wandb", best["sweepctl"] / best["wandb"], WANDB_RATIO)


class Bench:
    """The measurements that need a cluster and a server."""

    def __init__(self, cluster: Cluster, url: str, folder: Path) -> None:
        self.cluster = cluster
        self.url = url
        self.folder = folder
        self.namespace = "bench-cluster"
        self.environ = {**cluster.environ, "WANDB_API_KEY": KEY, "WANDB_BASE_URL": url}
        self.sweep = folder / "sweep.yaml"
        self.sweep.write_text(SWEEP % ", ".join(str(float(i)) for i in range(RUNS)))
        self.values = folder / "values.json"
        self.values.write_text(json.dumps({**VALUES, "wandb": {"baseUrl": url}}))

    def prepare(self) -> None:
        name = self.namespace
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        self.cluster.run(
            *("kubectl", "-n", name, "create", "secret", "generic", "wandb"),
            f"--from-literal=apiKey={KEY}",
        )

    def clean(self) -> None:
        for what in ("jobs", "pods"):
            self.cluster.run(
                *("kubectl", "-n", self.namespace, "delete", what, "--all", "--wait=false"),
                *("--grace-period=0", "--force"),
                timeout_s=600,
            )
        self.cluster.wait_for("no pod is left", lambda: not self._pods(), timeout_s=600, every_s=2)
        self.cluster.run("kubectl", "delete", "namespace", self.namespace, "--wait=false")

    def requests(self, failures: list[str]) -> None:
        """Count what submit and scale ask of the API, for few agents and for many."""
        counts = {}
        for agents in (10, AGENTS):
            name = f"count-{agents}"
            with counting() as asked:
                cluster = open_cluster(None, self.namespace, self.environ)
                self._submitter(cluster, name, agents).run()
            with counting() as asked_by_scale:
                found = find_submission(cluster, name, self.namespace)
                scale(cluster, found, agents + 10, is_open=lambda: True)
            counts[agents] = (dict(asked), dict(asked_by_scale))
            self.cluster.kubectl(
                *("-n", self.namespace, "delete", "job", "--wait=false"),
                *("-l", f"app.kubernetes.io/instance={name}"),
            )
        for verb, place in (("submit", 0), ("scale", 1)):
            few, many = counts[10][place], counts[AGENTS][place]
            writes = [
                sum(n for method, n in each.items() if method != "GET") for each in (few, many)
            ]
            print(f"{verb}: {few} requests for 10 agents, {many} for {AGENTS}; writes {writes}")
            if few != many:
                failures.append(f"{verb} asks {few} for 10 agents and {many} for {AGENTS}")
        self._await_no_pods()

    def submit(self, failures: list[str]) -> None:
        """Time submit of 1,000 agents, beside `kubectl create` of the same Job."""
        rendered = run([*self._sweepctl("render"), "-o", "json"], env=self.environ).stdout
        job = next(item for item in json.loads(rendered)["items"] if item["kind"] == "Job")
        job["metadata"]["name"] = "bench-by-kubectl"
        file = self.folder / "job.json"
        file.write_text(json.dumps(job))
        create = ["kubectl", "-n", self.namespace, "create", "-f", str(file)]
        _, kubectl_s = timed(lambda: run(create, env=self.environ))
        self.cluster.kubectl(
            "-n", self.namespace, "delete", "job", "bench-by-kubectl", "--wait=false"
        )
        self._await_no_pods()
        _, whole_s = timed(lambda: run(self._sweepctl("submit"), env=self.environ))
        cluster = open_cluster(None, self.namespace, self.environ)
        submitter, own_s = timed(lambda: self._submitter(cluster, "bench-own", AGENTS))
        _, run_s = timed(submitter.run)
        own_s += run_s
        self.cluster.kubectl(
            *("-n", self.namespace, "delete", "job", "--wait=false"),
            *("-l", "app.kubernetes.io/instance=bench-own"),
        )
        print(
            f"submit of {AGENTS} agents: the whole command {whole_s:.2f} s, of that validating,"
            f" creating the sweep, rendering and applying {own_s:.2f} s;"
            f" kubectl create of the same Job {kubectl_s:.2f} s"
        )
        hold(failures, "own share of submit in s", own_s, OWN_SHARE_S)

    def status(self, failures: list[str]) -> None:
        """Time status of 1,000 pods and 5,000 runs beside what kubectl and wandb.Api take."""
        selector = "app.kubernetes.io/instance=bench,app.kubernetes.io/component=agent"
        get = ["kubectl", "-n", self.namespace, "get", "pods", "-l", selector, "-o", "json"]
        self.cluster.wait_for(
            f"{AGENTS} pods run",
            lambda: run(get, env=self.environ).stdout.count('"phase": "Running"') >= AGENTS,
            timeout_s=900,
            every_s=5,
        )
        cluster = open_cluster(None, self.namespace, self.environ)
        sweep_id = find_submission(cluster, "bench", self.namespace).sweep_id or ""
        self._fill(sweep_id)
        listing = self.folder / "listing.py"
        listing.write_text(
            "import sys, wandb\n"
            "entity, project, sweep = sys.argv[1].split('/')\n"
            "runs = wandb.Api().runs(f'{entity}/{project}', filters={'sweep': sweep}, lazy=False)\n"
            "print(sum(1 for run in runs if (run.state, run.config, run.summary)))\n"
        )
        status = [str(BIN / "sweepctl"), "status", "bench", "-n", self.namespace, "-o", "json"]
        times: dict[str, list[float]] = {"sweepctl": [], "kubectl": [], "wandb": []}
        for _ in range(3):
            for name, command in (
                ("sweepctl", status),
                ("kubectl", get),
                ("wandb", [sys.executable, str(listing), sweep_id]),
            ):
                done, seconds = timed(partial(run, command, env=self.environ))
                times[name].append(seconds)
                if name == "sweepctl":
                    seen = json.loads(done.stdout)
                    assert len(seen["agents"]) == AGENTS
                    assert len(seen["sweep"]["runs"]) == RUNS
                elif name == "wandb":
                    assert int(done.stdout) == RUNS, done.stdout
        best = {name: min(found) for name, found in times.items()}
        with counting() as asked:
            read_state(cluster, "bench", self.namespace, say)
        ratio = best["sweepctl"] / (best["kubectl"] + best["wandb"])
        print(
            f"status of {AGENTS} pods and {RUNS} runs (best of 3): {best['sweepctl']:.2f} s, with"
            f" {sum(asked.values())} requests of Kubernetes; kubectl get pods {best['kubectl']:.2f}"
            f" s + wandb.Api {best['wandb']:.2f} s"
        )
        hold(failures, "status beside kubectl and wandb.Api", ratio, STATUS_RATIO)

    def _fill(self, sweep_id: str) -> None:
        """Have 5,000 runs in the sweep: most are over, some are under way."""
        entity, project, sweep = sweep_id.split("/")
        client = WandbClient(Connection(self.url, KEY))

        def work(index: int) -> None:
            agent = client.register_agent(entity, project, sweep, f"bench-{index}")
            for number in range(RUNS // 50):
                (command,) = client.heartbeat(agent, [])
                summary = json.dumps({"loss": float(number), "_step": number})
                client.post_file_stream(
                    entity,
                    project,
                    command["run_id"],
                    {
                        "files": {"wandb-summary.json": {"offset": 0, "content": [summary]}},
                        "complete": True,
                        "exitcode": 0,
                    },
                )

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(50)))

    def _sweepctl(self, verb: str) -> list[str]:
        options = ["-n", self.namespace, "-f", str(self.values), "--agents", str(AGENTS)]
        return [str(BIN / "sweepctl"), verb, str(self.sweep), "--name", "bench", *options]

    def _submitter(self, cluster: SweepctlCluster, name: str, agents: int) -> Submitter:
        return Submitter(
            cluster,
            load_sweep(str(self.sweep)),
            load_values([str(self.values)], overrides=flag_settings({"--agents": agents})),
            SubmitOptions(name),
            say=lambda line: None,
            environ=self.environ,
        )

    def _pods(self) -> str:
        return self.cluster.run("kubectl", "-n", self.namespace, "get", "pods", "-o", "name").stdout

    def _await_no_pods(self) -> None:
        self.cluster.wait_for("no pod is left", lambda: not self._pods(), timeout_s=900, every_s=2)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Run the embedded server on this machine for as long as the block runs."""
    server = ServerProcess(folder / "data")
    try:
        yield server.url
    finally:
        server.kill()


@contextmanager
def counting() -> Iterator[Counter[str]]:
    """Count the requests that are sent to Kubernetes, by method."""
    from kubernetes.dynamic import DynamicClient

    found: Counter[str] = Counter()
    send = DynamicClient.request

    def request(self: Any, method: str, path: str, *rest: Any, **more: Any) -> Any:
        found[method] += 1
        return send(self, method, path, *rest, **more)

    DynamicClient.request = request  # type: ignore[method-assign]
    try:
        yield found
    finally:
        DynamicClient.request = send  # type: ignore[method-assign]


def hold(failures: list[str], what: str, value: float, bound: float) -> None:
    print(f"  {what}: {value:.2f} (at most {bound:g})")
    if value > bound:
        failures.append(f"{what} is {value:.2f}, more than {bound:g}")


def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **more)
    if done.returncode != 0:
        raise RuntimeError(
            f"{command}: {done.returncode}\n{done.stdout[-500:]}\n{done.stderr[-2000:]}"
        )
    return done


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start_s = time.perf_counter()
    return call(), time.perf_counter() - start_s


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
