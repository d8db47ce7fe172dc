"""submit on a real cluster: real pods under Pod Security "restricted" train every run once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.sweeps import (
    Sweepctl,
    write_sweep,
    write_values,
)

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("server_image")]


GAINS = [0.1, 0.30000000000000004, 1e-07, 123.456]


def agents_are_done(sweepctl: Sweepctl) -> bool:
    return [agent["state"] for agent in sweepctl.status("plain")["agents"]] == ["Done", "Done"]


def test_every_run_is_trained_once_and_submitting_twice_is_submitting_once(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    write_sweep(tmp_path, GAINS)
    values = str(write_values(tmp_path))
    submit = ("submit", "plain.yaml", "--agents", "2", "-f", values, "--create-secret")
    done = sweepctl(*submit, "--wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith("has ended: 4 finished")
    status = sweepctl.status("plain")
    runs = status["sweep"]["runs"]
    assert {run["state"] for run in runs} == {"finished"}
    assert sorted(run["metric"] for run in runs) == sorted(GAINS)
    assert all(run["parameters"]["task.gain"] == run["metric"] for run in runs)
    # The sweep ends with its last run's end, and each agent a moment later.
    sweepctl.cluster.wait_for("agents that are done", lambda: agents_are_done(sweepctl))

    again = sweepctl.answer(*submit)
    assert {line.partition(" ")[2] for line in again.splitlines()} == {"unchanged"}

    best = json.loads(sweepctl.answer("best", "plain", "-o", "json"))["runs"][0]
    assert best["parameters"] == {"task.gain": 1e-07}
    pod = sweepctl.cluster.get(
        "-n", sweepctl.namespace, "pods", "-l", "app.kubernetes.io/component=agent"
    )["items"][0]["metadata"]["name"]
    log = sweepctl.cluster.kubectl("-n", sweepctl.namespace, "logs", pod)
    assert "line 3 gain" in log


def test_dry_runs_change_nothing(sweepctl: Sweepctl, tmp_path: Path) -> None:
    write_sweep(tmp_path, GAINS)
    values = str(write_values(tmp_path))
    submit = ("submit", "plain.yaml", "-f", values, "--create-secret")
    for strategy, ending in (("client", "(dry run)"), ("server", "(server dry run)")):
        lines = sweepctl.answer(*submit, f"--dry-run={strategy}").splitlines()
        assert lines, strategy
        assert all(line.endswith(f"created {ending}") for line in lines)
    kinds = "jobs,statefulsets,services,serviceaccounts,secrets,persistentvolumeclaims"
    found = sweepctl.cluster.get(
        "-n", sweepctl.namespace, kinds, "-l", "app.kubernetes.io/name=isaac-sweep"
    )
    assert found["items"] == []


def test_another_sweep_under_the_same_name_is_refused_and_delete_makes_room(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    values = str(write_values(tmp_path))
    submit = ("submit", "plain.yaml", "-f", values, "--create-secret")
    write_sweep(tmp_path, GAINS)
    sweepctl.answer(*submit)
    write_sweep(tmp_path, [2.5])
    refused = sweepctl(*submit)
    assert refused.returncode == 2
    assert "-    - 123.456\n" in refused.stderr
    assert "+    - 2.5\n" in refused.stderr

    unasked = sweepctl("delete", "plain")
    assert (unasked.returncode, unasked.stdout) == (2, "")
    assert "say --yes" in unasked.stderr
    deleted = sweepctl("delete", "plain", "--yes")
    assert deleted.returncode == 0, deleted.stderr
    assert "kept persistentvolumeclaim/data-plain-server-0" in deleted.stderr
    assert "secret/wandb deleted" in deleted.stdout
    assert sweepctl.answer("delete", "plain", "--yes").startswith("plain unchanged")

    done = sweepctl(*submit, "--wait")
    assert done.returncode == 0, done.stderr
    assert [run["metric"] for run in sweepctl.runs("plain")] == [2.5]


def test_submit_that_fails_half_way_says_what_is_there_and_is_completed_by_another(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    write_sweep(tmp_path, GAINS)
    values = str(write_values(tmp_path))
    submit = ("submit", "plain.yaml", "-f", values, "--create-secret")
    failed = sweepctl(*submit, "--set", "server.image.tag=none-such")
    assert failed.returncode == 1
    assert "the server is not ready" in failed.stderr
    assert "statefulset/plain-server" in failed.stderr
    assert "the same command completes it" in failed.stderr
    done = sweepctl(*submit, "--wait")
    assert done.returncode == 0, done.stderr
    assert len(sweepctl.runs("plain")) == len(GAINS)


def test_changed_settings_make_a_new_job_on_the_same_sweep(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    write_sweep(tmp_path, GAINS, steps=30, pause_s=0.8)
    values = str(write_values(tmp_path))
    submit = ("submit", "plain.yaml", "--agents", "2", "-f", values, "--create-secret")
    sweepctl.answer(*submit)
    first = sweepctl.status("plain")
    sweepctl.cluster.wait_for(
        "a run has begun", lambda: any(run["step"] for run in sweepctl.runs("plain")), every_s=1
    )
    lines = sweepctl.answer(*submit, "--set", "threads=1").splitlines()
    assert f"job/{first['job']['name']} deleted (replaced)" in lines
    done = sweepctl("wait", "plain")
    assert done.returncode == 0, done.stderr
    second = sweepctl.status("plain")
    assert second["job"]["name"] != first["job"]["name"]
    assert second["sweep"]["sweep"] == first["sweep"]["sweep"]
    assert sorted(run["metric"] for run in second["sweep"]["runs"]) == sorted(GAINS)
