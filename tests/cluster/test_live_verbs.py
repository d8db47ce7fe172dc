"""A sweep under way on a real cluster, scaled, evicted, paused: every run finishes once."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.sweeps import (
    Sweepctl,
    log_sequences,
    write_sweep,
    write_values,
)
from tests.testbed.cluster import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("server_image")]

GAINS = [round(0.1 * i, 3) for i in range(1, 13)]
STEPS = 60


class Followed:
    """`sweepctl logs --follow` in the background, and what it has printed."""

    def __init__(self, sweepctl: Sweepctl, name: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            sweepctl.command("logs", name, "--follow"),
            env=sweepctl.environ(),
            cwd=sweepctl.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self.lines.extend(self._process.stdout)

    def wait(self, timeout_s: float) -> list[str]:
        """Give all lines once it has ended by itself."""
        try:
            assert self._process.wait(timeout_s) == 0
        finally:
            self._process.kill()
        self._thread.join(10)
        return self.lines


def agents(sweepctl: Sweepctl, name: str, state: str) -> list[dict[str, Any]]:
    return [agent for agent in sweepctl.status(name)["agents"] if agent["state"] == state]


def wait_for_agents(sweepctl: Sweepctl, name: str, count: int) -> None:
    def is_so() -> bool:
        return len([a for a in agents(sweepctl, name, "Running") if a["run"]]) >= count

    sweepctl.cluster.wait_for(f"{count} agents train", is_so, every_s=1)


def evict(cluster: Cluster, namespace: str, pod: str) -> None:
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))


def agent_pods(sweepctl: Sweepctl) -> list[dict[str, Any]]:
    label = "app.kubernetes.io/component=agent"
    found: list[dict[str, Any]] = sweepctl.cluster.get(
        "-n", sweepctl.namespace, "pods", "-l", label
    )["items"]
    return found


def test_scaled_evicted_paused_and_resumed_every_run_finishes_once_with_its_parameters(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    # Slow enough that there is a run for each agent until all is done to them.
    write_sweep(tmp_path, GAINS, steps=STEPS, pause_s=1.2)
    values = str(write_values(tmp_path))
    sweepctl.answer("submit", "plain.yaml", "--agents", "3", "-f", values, "--create-secret")
    job = sweepctl.status("plain")["job"]["name"]
    wait_for_agents(sweepctl, "plain", 3)
    followed = Followed(sweepctl, "plain")

    assert sweepctl.answer("scale", "plain", "6") == f"job/{job} scaled to 6\n"
    assert sweepctl.answer("scale", "plain", "6") == f"job/{job} unchanged\n"
    wait_for_agents(sweepctl, "plain", 6)

    victim = agents(sweepctl, "plain", "Running")[0]
    evict(sweepctl.cluster, sweepctl.namespace, victim["pod"])

    def is_waiting() -> Any:
        return [a for a in agents(sweepctl, "plain", "Waiting") if a["agent"] == victim["agent"]]

    (waiting,) = sweepctl.cluster.wait_for("it is replaced later", is_waiting, every_s=0.5)
    assert waiting["reason"] == "its node was needed or lost: evicted, as when a node is drained"
    assert 0 < waiting["replacement_due_s"] <= 10
    wait_for_agents(sweepctl, "plain", 6)

    assert sweepctl.answer("pause", "plain") == f"job/{job} paused\n"
    assert sweepctl.answer("pause", "plain") == f"job/{job} unchanged\n"
    sweepctl.cluster.wait_for("no pod is left", lambda: not agent_pods(sweepctl))
    paused = sweepctl.status("plain")
    assert paused["job"]["state"] == "Paused"
    assert not [run for run in paused["sweep"]["runs"] if run["state"] == "running"]
    assert sweepctl.answer("resume", "plain") == f"job/{job} resumed\n"
    wait_for_agents(sweepctl, "plain", 6)
    # A pause is no failure: nobody waits for the controller's back-off.
    failures = [
        pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"]
        for pod in agent_pods(sweepctl)
    ]
    assert failures == ["0"] * 6

    assert sweepctl.answer("scale", "plain", "2") == f"job/{job} scaled to 2\n"
    done = sweepctl("wait", "plain", timeout_s=900)
    assert done.returncode == 0, done.stderr

    runs = sweepctl.runs("plain")
    assert Counter(run["state"] for run in runs) == {"finished": len(GAINS)}
    assert sorted(run["parameters"]["task.gain"] for run in runs) == GAINS
    assert all(run["metric"] == run["parameters"]["task.gain"] for run in runs)
    assert all(run["step"] == STEPS - 1 for run in runs)

    lines = followed.wait(60)
    finished = [line for line in lines if re.search(r"sweepctl: run \S+ finished: ", line)]
    assert len(finished) == len(GAINS)
    for process, numbers in log_sequences(lines).items():
        assert numbers == list(range(len(numbers))), process


def test_stopped_sweep_ends_after_its_current_runs(sweepctl: Sweepctl, tmp_path: Path) -> None:
    write_sweep(tmp_path, GAINS, steps=20, pause_s=0.6)
    values = str(write_values(tmp_path))
    sweepctl.answer("submit", "plain.yaml", "--agents", "2", "-f", values, "--create-secret")
    wait_for_agents(sweepctl, "plain", 2)
    assert sweepctl.answer("stop", "plain").endswith(" stopped\n")
    assert sweepctl.answer("stop", "plain").endswith(" unchanged\n")
    done = sweepctl("wait", "plain")
    assert done.returncode == 0, done.stderr
    runs = sweepctl.runs("plain")
    assert {run["state"] for run in runs} == {"finished"}
    assert 2 <= len(runs) < len(GAINS)


def test_sizes_that_cannot_work_are_refused(sweepctl: Sweepctl, tmp_path: Path) -> None:
    write_sweep(tmp_path, [1.0, 2.0], steps=150, pause_s=0.5)
    values = str(write_values(tmp_path))
    # More agents than runs: those without one have ended, the sweep has not.
    sweepctl.answer("submit", "plain.yaml", "--agents", "3", "-f", values, "--create-secret")

    def ended() -> list[int]:
        return [agent["agent"] for agent in agents(sweepctl, "plain", "Done")]

    (done,) = sweepctl.cluster.wait_for("an agent has no work", ended, every_s=1)
    none = sweepctl("scale", "plain", "0")
    assert (none.returncode, "sweepctl pause plain" in none.stderr) == (2, True)
    if done == 0:
        refused = sweepctl("scale", "plain", "1")
        assert refused.returncode == 2
        assert f"sweepctl scale plain 2 -n {sweepctl.namespace}" in refused.stderr
    sweepctl.answer("delete", "plain", "--yes", "--volumes")


def test_logs_are_chosen_by_agent_and_run(sweepctl: Sweepctl, tmp_path: Path) -> None:
    write_sweep(tmp_path, [1.0, 2.0, 3.0])
    values = str(write_values(tmp_path))
    done = sweepctl(
        "submit", "plain.yaml", "--agents", "2", "-f", values, "--create-secret", "--logs"
    )
    assert done.returncode == 0, done.stderr
    assert [len(found) for found in log_sequences(done.stdout.splitlines()).values()] == [4, 4, 4]
    whole = sweepctl.answer("logs", "plain", "--no-follow").splitlines()
    assert sorted(whole) == sorted(
        line for line in done.stdout.splitlines() if re.match(r" *\d+ \| ", line)
    )
    run = sweepctl.runs("plain")[0]
    own = sweepctl.answer("logs", "plain", "--run", run["run"], "--no-follow").splitlines()
    gain = repr(run["parameters"]["task.gain"])
    assert len([line for line in own if f"gain {gain} " in line]) == 4
    assert not [line for line in own if " gain " in line and f" gain {gain} " not in line]
    first = sweepctl.answer("logs", "plain", "--agent", "0", "--no-follow").splitlines()
    assert first == [line.partition(" | ")[2] for line in whole if line.startswith("  0 | ")]


def test_names_for_scripts(sweepctl: Sweepctl, tmp_path: Path) -> None:
    write_sweep(tmp_path, [1.0])
    values = str(write_values(tmp_path))
    name = sweepctl.answer(
        "submit", "plain.yaml", "-f", values, "--create-secret", "-o", "name"
    ).strip()
    assert re.fullmatch(r"job/plain-[0-9a-f]{8}", name)
    assert sweepctl.answer("list", "-o", "name").split() == [name]
    assert sweepctl.answer("status", "plain", "-o", "name").split() == [name]
    (listed,) = json.loads(sweepctl.answer("list", "-o", "json"))
    assert (listed["name"], listed["agents"], listed["manager"]) == ("plain", 1, "sweepctl")
    table = sweepctl.answer("list").splitlines()
    assert table[0].split() == ["NAME", "STATE", "AGENTS", "SWEEP", "AGE"]
    assert sweepctl.answer("wait", "plain")


def test_run_that_fails_before_it_logs_says_why_and_is_read_after_its_pod_is_gone(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    file = write_sweep(tmp_path, [1.0, 2.0])
    sweep = yaml.safe_load(file.read_text())
    sweep["command"] = ["sh", "-c", 'echo reading motions; echo no such file >&2; exit 3; : "$@"']
    file.write_text(yaml.safe_dump(sweep))
    values = str(write_values(tmp_path))
    sweepctl.answer("submit", "plain.yaml", "-f", values, "--create-secret")
    assert sweepctl("wait", "plain").returncode == 3
    reason = "the trainer ended with exit code 3; its last line: no such file"
    runs = sweepctl.runs("plain")
    assert [run["reason"] for run in runs] == [reason] * 2
    assert all(run["duration_s"] < 60 for run in runs)
    assert f"2 runs ({runs[0]['run']}, {runs[1]['run']}) failed: {reason}" in sweepctl.answer(
        "status", "plain"
    )
    named = ["logs", "plain", "--no-follow", "--run"]
    of_pod = sweepctl.answer(*named, runs[0]["run"])
    assert "  0 | reading motions\n  0 | no such file\n" in of_pod
    unknown = sweepctl(*named, "nobody")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert f"it has {runs[0]['run']}, {runs[1]['run']}" in unknown.stderr
    label = "app.kubernetes.io/component=agent"
    sweepctl.cluster.kubectl("-n", sweepctl.namespace, "delete", "pods", "-l", label, "--wait")
    sweepctl.cluster.wait_for("no pod of an agent", lambda: not agent_pods(sweepctl), every_s=1)
    uploaded = sweepctl(*named, runs[0]["run"])
    assert (uploaded.returncode, uploaded.stdout) == (0, "reading motions\nno such file\n")
    assert f"failed: {reason}" in uploaded.stderr
    gone = sweepctl("logs", "plain", "--no-follow")
    assert (gone.returncode, gone.stdout) == (1, "")
