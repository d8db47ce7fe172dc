"""Runs that are taken from their agents and given back: `disrupt` and `retry` on real kubelets."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.sweeps import Sweepctl, write_sweep, write_values

pytestmark = pytest.mark.usefixtures("server_image")

AGENTS = "app.kubernetes.io/instance=plain,app.kubernetes.io/component=agent"
KINDS = ("delete", "evict", "force", "crash")
GAINS = [1.0, 2.0, 3.0]


@pytest.fixture
def training(sweepctl: Sweepctl, tmp_path: Path) -> Iterator[Sweepctl]:
    """Submit a sweep of long runs, and another release beside it in the same namespace."""
    values = str(write_values(tmp_path))
    for name in ("plain", "other"):
        write_sweep(tmp_path, GAINS, steps=100_000, pause_s=0.3, name=name)
        sweepctl.answer("submit", f"{name}.yaml", "--agents", "2", "-f", values, "--create-secret")
    for name in ("plain", "other"):
        await_both(sweepctl, name)
    yield sweepctl
    for name in ("plain", "other"):
        sweepctl("delete", name, "--yes", "--volumes")


def trained(sweepctl: Sweepctl, name: str) -> dict[str, str]:
    """Give the pods that train now, each with its run."""
    return {
        agent["pod"]: agent["run"]
        for agent in sweepctl.status(name)["agents"]
        if agent["run"] and agent["phase"] == "training"
    }


def await_both(sweepctl: Sweepctl, name: str) -> None:
    sweepctl.cluster.wait_for(
        f"both agents of {name} train", lambda: len(trained(sweepctl, name)) == 2, every_s=1
    )


def disrupted(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)["disruptions"]
    return found


def test_every_kind_of_disruption_costs_time_and_no_run(training: Sweepctl) -> None:
    beside = trained(training, "other")
    before = trained(training, "plain")
    asked = training("disrupt", "plain", "--kind", "evict", "--count", "9", "--dry-run=server")
    assert asked.returncode == 0, asked.stderr
    assert {line.split()[0] for line in asked.stdout.splitlines()} == {
        f"pod/{pod}" for pod in before
    }
    assert "note: 2 agents train a run now" in asked.stderr
    assert trained(training, "plain") == before
    for kind in KINDS:
        done = training("disrupt", "plain", "--kind", kind, "-o", "json", "--timeout", "5m")
        assert done.returncode == 0, done.stderr
        (hit,) = disrupted(done)
        print(kind, json.dumps(hit), done.stderr)
        assert (hit["outcome"], hit["kind"]) == ("trains again", kind)
        assert hit["run"] in before.values()
        await_both(training, "plain")
        pods = trained(training, "plain")
        assert (hit["pod"] in pods) is (kind == "crash")
        assert set(pods.values()) == set(before.values()), "no run is lost, none is new"
    assert trained(training, "other") == beside, "nobody else's pods are touched"
    runs = {run["run"]: run for run in training.runs("plain")}
    told = [len(runs[run]["attempts"]) for run in before.values()]
    assert sum(told) == 2 + len(KINDS)
    wide = training.answer("status", "plain", "-o", "wide")
    assert "ATTEMPTS" in wide


def test_a_disruption_budget_is_respected_and_told(training: Sweepctl) -> None:
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "agents"},
        "spec": {
            "maxUnavailable": 0,
            "selector": {"matchLabels": dict(part.split("=") for part in AGENTS.split(","))},
        },
    }
    before = trained(training, "plain")
    training.cluster.apply(budget, namespace=training.namespace)
    done = training("disrupt", "plain", "--kind", "evict", "--timeout", "12s")
    assert (done.returncode, done.stdout) == (1, "")
    assert "Cannot evict pod as it would violate the pod's disruption budget" in done.stderr
    assert f"kubectl get poddisruptionbudgets -n {training.namespace}" in done.stderr
    assert "0 of 1 disruptions were made" in done.stderr
    assert trained(training, "plain") == before


def test_failed_runs_are_given_back_when_their_trainer_is_mended(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    file = write_sweep(tmp_path, [1.0, 2.0])
    sweep = yaml.safe_load(file.read_text())
    sweep["command"] = ["python3", "/code/late.py", *sweep["command"][2:]]
    file.write_text(yaml.safe_dump(sweep))
    values = str(write_values(tmp_path))
    submit = ("submit", "plain.yaml", "--agents", "2", "-f", values, "--create-secret")
    sweepctl.answer(*submit)
    assert sweepctl("wait", "plain").returncode == 3
    failed = {run["run"]: run["parameters"] for run in sweepctl.runs("plain")}
    code = json.loads(
        sweepctl.cluster.kubectl(
            "-n", sweepctl.namespace, "get", "configmap", "trainer-code", "-o", "json"
        )
    )["data"]
    mended = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "trainer-code"},
        "data": {**code, "late.py": code["trainer.py"]},
    }
    sweepctl.cluster.apply(mended, namespace=sweepctl.namespace)
    sweepctl.cluster.wait_for(
        "the Job has ended",
        lambda: sweepctl.status("plain")["job"]["state"] in ("Complete", "Failed"),
        every_s=1,
    )
    done = sweepctl("retry", "plain")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == sorted(f"run/{run} queued" for run in failed)
    assert "no agent is left: the same submit again starts another Job" in done.stderr
    sweepctl.answer(*submit)
    assert sweepctl("wait", "plain").returncode == 0
    ended = sweepctl.runs("plain")
    assert {run["run"]: run["parameters"] for run in ended} == failed
    assert {run["state"] for run in ended} == {"finished"}
