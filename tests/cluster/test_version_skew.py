"""A release of the version before goes on under the chart of today, and back, on a real cluster."""

from __future__ import annotations

import dataclasses

import pytest

from tests.cluster.releases import NAME, Release
from tests.cluster.sweeps import write_sweep
from tests.old_release import OLD_CHART

GAINS = 3
pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("server_image")]


def code_places(release: Release) -> set[str]:
    """Give the folders that the Job mounts its pod code at, below /opt/sweepctl."""
    (job,) = (job for job in release.objects("jobs", "agent") if job["metadata"]["name"])
    volumes = job["spec"]["template"]["spec"]["volumes"]
    (code,) = (volume["configMap"] for volume in volumes if volume["name"] == "pod-code")
    return {item["path"].partition("/")[0] for item in code["items"]}


def test_an_upgrade_from_the_version_before_takes_its_sweep_over_and_loses_no_run(
    release: Release,
) -> None:
    gains = [float(gain) for gain in range(1, GAINS + 1)]
    write_sweep(release.folder, gains, steps=2000, pause_s=0.2)
    before = dataclasses.replace(release, chart=str(OLD_CHART))
    before.install("--set", "agents=2")
    before.wait_running(2)
    sweep, job, pods, runs = before.sweep(), before.job(), before.pods(), set(before.running())
    assert code_places(before) == {"__main__.py", "sweepctl"}

    release.upgrade()
    release.cluster.wait_for(
        "the old pods are gone", lambda: pods.keys().isdisjoint(release.pods())
    )
    assert release.job() != job
    assert code_places(release) == {"__main__.py", "sweepctl_pod", "sweepctl"}
    release.cluster.wait_for("the new Job's pods run", lambda: len(release.pods()) == 2)
    release.wait_running(2)
    assert release.sweep() == sweep
    assert_none_is_lost(release, runs)

    release.helm("rollback", NAME)
    assert release.job() == job
    release.cluster.wait_for("the old Job's pods run", lambda: len(release.pods()) == 2)
    release.wait_running(2)
    assert release.sweep() == sweep
    assert_none_is_lost(release, runs)


def assert_none_is_lost(release: Release, begun: set[str]) -> None:
    """A pod of the new Job may begin another run while an old one still hands its own back."""
    states = {run["run"]: run["state"] for run in release.sweepctl.runs(NAME)}
    assert begun <= states.keys()
    assert len(states) <= GAINS, "a run was begun anew under another id"
    assert not set(states.values()) & {"failed", "crashed", "killed"}
