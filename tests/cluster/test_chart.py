"""The chart on a real cluster, by the real helm: a release trains, scales live, and is a sweep.

Its namespace enforces Pod Security "restricted". Nobody gives the agents a sweep's id: they make
their own of the sweep file.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.cluster.releases import NAME, NOTHING, Release
from tests.cluster.sweeps import (
    write_sweep,
)
from tests.testbed.server_image import SERVER_IMAGE

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("server_image")]

GAINS = [0.1, 0.30000000000000004, 123.456, 7.0]
SELF_REVIEWS = {
    "selfsubjectreviews.authentication.k8s.io",
    "selfsubjectaccessreviews.authorization.k8s.io",
    "selfsubjectrulesreviews.authorization.k8s.io",
}
"""What Kubernetes lets everybody ask about himself."""


def test_a_release_trains_tests_itself_and_leaves_what_it_says(release: Release) -> None:
    write_sweep(release.folder, GAINS)
    notes = release.install("--set", "agents=2")
    for verb in ("status", "logs", "best"):
        assert f"sweepctl {verb} {NAME} -n {release.namespace} " in notes
    kept = f"kubectl -n {release.namespace} delete pvc data-{NAME}-server-0"
    assert kept in notes

    done = release.sweepctl("wait", NAME)
    assert done.returncode == 0, done.stderr
    runs = release.sweepctl.runs(NAME)
    assert {run["state"] for run in runs} == {"finished"}
    assert sorted(run["metric"] for run in runs) == sorted(GAINS)
    best = json.loads(release.sweepctl.answer("best", NAME, "-o", "json"))["runs"][0]
    assert best["parameters"]["task.gain"] == 0.1
    assert "line 3 gain" in release.sweepctl.answer("logs", NAME, "--no-follow")

    tested = release.cluster.run("helm", "test", NAME, "-n", release.namespace)
    print(tested.stdout, tested.stderr)
    assert tested.returncode == 0
    assert "Phase:          Succeeded" in tested.stdout
    assert f"sweep {release.sweep()} is FINISHED" in tested.stderr, "the pod's log"
    assert release.objects("pods", "test") == []

    print(release.helm("uninstall", NAME, "--wait"))
    assert release.left() == [f"PersistentVolumeClaim/data-{NAME}-server-0"]


def test_upgrades_change_agents_in_place_and_the_image_by_a_new_job_on_the_same_sweep(
    release: Release,
) -> None:
    write_sweep(release.folder, [float(gain) for gain in range(1, 9)], steps=2000, pause_s=0.2)
    release.install("--set", "agents=2")
    release.wait_running(2)
    first, sweep, job = release.pods(), release.sweep(), release.job()

    release.upgrade("--set", "agents=4")
    release.wait_running(4)
    assert first.items() <= release.pods().items(), "running pods were touched"
    assert len(release.pods()) == 4
    assert release.job() == job

    paused = release.sweepctl("pause", NAME)
    print(paused.stdout, paused.stderr)
    assert paused.returncode == 0
    assert "--force-conflicts" in paused.stderr, "the next upgrade has to be told"
    release.cluster.wait_for("no pod is left", lambda: not release.pods())
    release.sweepctl.answer("resume", NAME)
    release.wait_running(4)
    assert release.sweep() == sweep

    refused = release.cluster.run(
        *("helm", "upgrade", NAME, release.chart, "--reuse-values", "--set", "suspend=true"),
        *("-n", release.namespace),
    )
    assert refused.returncode == 1
    assert 'conflict with "sweepctl" using batch/v1: .spec.suspend' in refused.stderr
    release.upgrade("--set", "suspend=true", "--force-conflicts")
    release.cluster.wait_for("no pod is left", lambda: not release.pods())
    release.upgrade("--set", "suspend=false,agents=2")
    release.wait_running(2)
    assert release.job() == job

    repository, _, tag = SERVER_IMAGE.rpartition(":")
    release.upgrade("--set-string", f"image.repository={repository},image.tag={tag}")
    assert release.job() != job
    release.cluster.wait_for("the new Job's pods run", lambda: len(release.pods()) == 2)
    release.wait_running(2)
    assert release.sweep() == sweep

    release.helm("rollback", NAME)
    assert release.job() == job
    release.cluster.wait_for("the old Job's pods run", lambda: len(release.pods()) == 2)
    release.wait_running(2)
    assert release.sweep() == sweep
    runs = release.sweepctl.runs(NAME)
    assert not {run["state"] for run in runs} & {"failed", "crashed", "killed"}


def test_another_server_keeps_the_data_and_the_agents_wait_for_it(release: Release) -> None:
    write_sweep(release.folder, [1.0, 2.0], steps=2000, pause_s=0.2)
    release.install("--set", "agents=2")
    release.wait_running(2)
    pods, sweep, runs = release.pods(), release.sweep(), set(release.running())
    (server,) = release.objects("pods", "server")

    release.upgrade("--set", "server.agentTimeoutSeconds=90")

    def is_replaced() -> bool:
        found = release.objects("pods", "server")
        conditions = [c for pod in found for c in pod["status"].get("conditions", ())]
        is_ready = {"type": "Ready", "status": "True"}.items()
        return found[0]["metadata"]["uid"] != server["metadata"]["uid"] and any(
            is_ready <= condition.items() for condition in conditions
        )

    release.cluster.wait_for(
        "another server is ready", lambda: release.objects("pods", "server") and is_replaced()
    )
    steps = {run["run"]: run["step"] for run in release.sweepctl.runs(NAME)}
    release.cluster.wait_for(
        "the runs go on",
        lambda: all(run["step"] > steps[run["run"]] for run in release.sweepctl.runs(NAME)),
        every_s=1,
    )
    assert set(release.running()) == runs
    assert (release.sweep(), release.pods()) == (sweep, pods)


def test_no_account_of_a_release_may_do_anything(release: Release) -> None:
    write_sweep(release.folder, GAINS)
    release.install()
    accounts = [piece["metadata"]["name"] for piece in release.objects("serviceaccounts")]
    assert accounts == [NAME]
    for account in accounts:
        told = release.cluster.kubectl(
            *("auth", "can-i", "--list", "-n", release.namespace),
            f"--as=system:serviceaccount:{release.namespace}:{account}",
            "--as-group=system:serviceaccounts,system:authenticated",
        )
        print(account, told, sep="\n")
        rows = [line for line in told.splitlines()[1:] if line.strip()]
        resources = {row.split()[0]: row for row in rows if not row.startswith(" ")}
        assert resources.keys() == SELF_REVIEWS, told
        addresses = [row for row in rows if row.startswith(" ")]
        assert addresses, told
        assert all(row.endswith("[get]") for row in addresses), told
    for kind in ("Job", "StatefulSet"):
        for piece in release.objects(kind):
            spec = piece["spec"]["template"]["spec"]
            assert spec["automountServiceAccountToken"] is False
            assert spec["serviceAccountName"] == NAME


def test_what_helm_template_prints_can_be_applied_as_gitops_tools_do_and_deleted(
    release: Release,
) -> None:
    write_sweep(release.folder, GAINS)
    template = ("template", NAME, release.chart, *release.settings(), "--skip-tests")
    text = release.helm(*template)
    assert release.helm(*template) == text
    apply = ("-n", release.namespace, "apply", "--server-side", "-f", "-")
    release.cluster.kubectl(*apply, stdin=text)
    before = {
        piece["metadata"]["uid"]: piece["metadata"]["generation"]
        for piece in release.objects("jobs,statefulsets")
    }
    release.cluster.kubectl(*apply, stdin=text)
    after = {
        piece["metadata"]["uid"]: piece["metadata"]["generation"]
        for piece in release.objects("jobs,statefulsets")
    }
    assert after == before
    done = release.sweepctl("wait", NAME)
    assert done.returncode == 0, done.stderr

    # Nobody else knows of these objects: they are sweepctl's to delete, and no Helm release.
    print(release.sweepctl.answer("delete", NAME, "--yes"))
    kept = [f"PersistentVolumeClaim/data-{NAME}-server-0"]
    release.cluster.wait_for("only the data is left", lambda: release.left() == kept)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("agents=none", "/agents"),
        ("agnets=4", "agnets"),
        ("kueue.elastic=true", "kueue.elastic: kueue.elastic does nothing without kueue.queue"),
        ("sweepId=nonsense", "/sweepId"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_created(
    release: Release, setting: str, named: str
) -> None:
    write_sweep(release.folder, GAINS)
    done = release.cluster.run(
        *("helm", "install", NAME, release.chart, *release.settings(), "--set", setting),
        *("-n", release.namespace),
    )
    assert done.returncode == 1
    assert re.search(re.escape(named), done.stderr), done.stderr
    assert release.objects(NOTHING) == []
    found = release.cluster.get("-n", release.namespace, "secrets")["items"]
    assert [secret["metadata"]["name"] for secret in found] == ["wandb"]
