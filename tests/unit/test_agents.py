"""What the agents of a Job are doing, from Job, pods, events and runs."""

from __future__ import annotations

from typing import Any

import pytest

from sweepctl.jobs.agents import (
    IndexState,
    index_text,
    indexes,
    job_status,
    needs_events,
    replacement_due_s,
    smallest_size,
    troubles,
)
from sweepctl.sweeps.status import RunRow
from tests.unit.kubernetes_objects import NOW, ago, ended, event, job, pod, unscheduled


def run(run_id: str, state: str, agent: str | None) -> RunRow:
    return RunRow(run_id, state, agent, 1.5, 7, 10.0, {})


def states(sent: dict[str, Any], pods: list[dict[str, Any]], **more: Any) -> list[IndexState]:
    return [agent.state for agent in job_status("legs", sent, pods, [], NOW, **more).agents]


def failed(index: int, finished_s: float, **fields: Any) -> dict[str, Any]:
    return pod(
        index, "Failed", terminated={"exitCode": 75, "finishedAt": ago(finished_s)}, **fields
    )


@pytest.mark.parametrize(
    ("sent", "pods", "expected"),
    [
        pytest.param(job(1, ready=1), [pod(0)], IndexState.RUNNING, id="running"),
        pytest.param(job(1), [], IndexState.PENDING, id="no pod yet"),
        pytest.param(job(1), [unscheduled("0/1 nodes")], IndexState.PENDING, id="no node"),
        pytest.param(
            job(1),
            [pod(phase="Pending", waiting={"reason": "ContainerCreating"})],
            IndexState.STARTING,
            id="starting",
        ),
        pytest.param(job(1), [pod(deleted=True)], IndexState.STOPPING, id="told to go"),
        pytest.param(job(1), [failed(0, 3)], IndexState.WAITING, id="replaced later"),
        pytest.param(job(1, suspend=True), [], IndexState.PAUSED, id="paused"),
        pytest.param(job(1, suspend=True), [failed(0, 3)], IndexState.PAUSED, id="pod left"),
        pytest.param(job(1, completedIndexes="0"), [], IndexState.DONE, id="done"),
        pytest.param(job(1), [pod(phase="Succeeded")], IndexState.DONE, id="done, not counted yet"),
        pytest.param(job(1, failedIndexes="0"), [failed(0, 3)], IndexState.FAILED, id="failed"),
        pytest.param(
            job(1),
            [failed(0, 60, age_s=100, name="old"), pod(0, age_s=10)],
            IndexState.RUNNING,
            id="replaced",
        ),
    ],
)
def test_state_of_an_agent(
    sent: dict[str, Any], pods: list[dict[str, Any]], expected: IndexState
) -> None:
    assert states(sent, pods) == [expected]


def test_agent_shows_the_run_that_it_trains() -> None:
    runs = [
        run("old", "finished", "legs-1a2b3c4d-0"),
        run("new", "running", "legs-1a2b3c4d-0"),
        run("other", "running", "elsewhere-0"),
        run("queued", "pending", None),
    ]
    status = job_status("legs", job(2, ready=2), [pod(0), pod(1)], runs, NOW)
    assert [agent.run.id if agent.run else None for agent in status.agents] == ["new", None]


def test_pods_of_another_job_are_not_its_agents() -> None:
    stranger = pod(0)
    stranger["metadata"]["ownerReferences"] = [{"kind": "Job", "uid": "another"}]
    assert states(job(1), [stranger]) == [IndexState.PENDING]


def test_pods_beyond_a_smaller_size_are_shown_while_they_leave() -> None:
    status = job_status("legs", job(1, ready=1), [pod(0), pod(5, deleted=True)], [], NOW)
    assert [(agent.index, agent.state.value) for agent in status.agents] == [
        (0, "Running"),
        (5, "Stopping"),
    ]


@pytest.mark.parametrize(
    ("failures", "ignored", "finished_s", "due_s"),
    [
        (0, 0, 3, 7),
        (0, 1, 3, 17),
        (1, 2, 10, 70),
        (6, 0, 100, 500),
        (20, 20, 100, 500),
        (0, 0, 30, -20),
    ],
)
def test_replacement_is_due_as_the_job_controller_reckons(
    failures: int, ignored: int, finished_s: float, due_s: float
) -> None:
    sent = failed(0, finished_s, failures=failures, ignored=ignored)
    assert replacement_due_s(sent, NOW) == pytest.approx(due_s)


def test_the_same_reason_is_told_once_with_the_next_replacement() -> None:
    status = job_status(
        "legs", job(4, ready=1), [pod(0), failed(1, 3), failed(2, 8), failed(3, 8)], [], NOW
    )
    (trouble,) = troubles(status)
    assert trouble.text() == "agents 1-3 Waiting: it handed its run back; replacement due in 2 s"


def test_missing_pods_are_explained_by_the_jobs_events() -> None:
    message = 'pods "x" is forbidden: exceeded quota: q, requested: a=1, used: a=2, limited: a=2'
    seen = event("FailedCreate", message, kind="Job", name="legs-1a2b3c4d")
    status = job_status("legs", job(2), [], [], NOW, [seen])
    (trouble,) = troubles(status)
    assert trouble.indexes == (0, 1)
    assert "quota 'q' is used up" in trouble.text()


@pytest.mark.parametrize(
    ("sent", "pods", "expected"),
    [
        pytest.param(job(1), [pod(0)], False, id="all run"),
        pytest.param(job(2), [pod(0)], True, id="a pod is missing"),
        pytest.param(job(2, completedIndexes="1"), [pod(0)], False, id="the other has ended"),
        pytest.param(job(1, suspend=True), [], False, id="paused"),
        pytest.param(job(1, **ended("Complete")), [], False, id="ended"),
        pytest.param(job(1), [pod(0, "Pending", age_s=5)], False, id="just starting"),
        pytest.param(job(1), [pod(0, "Pending", age_s=90)], True, id="starting for long"),
    ],
)
def test_events_are_asked_for_only_when_they_can_tell_more(
    sent: dict[str, Any], pods: list[dict[str, Any]], expected: bool
) -> None:
    assert needs_events(sent, pods, NOW) is expected


@pytest.mark.parametrize(
    ("text", "found"),
    [("", []), (None, []), ("0", [0]), ("0-2,5", [0, 1, 2, 5]), ("1,3-4", [1, 3, 4])],
)
def test_index_lists_are_read_as_kubernetes_writes_them(text: str | None, found: list[int]) -> None:
    assert indexes(text) == found
    assert index_text(found) == (text or "")


@pytest.mark.parametrize(
    ("completed", "failed_indexes", "size"),
    [("", "", 1), ("0-2", "", 4), ("1-2", "", 1), ("0,2", "1", 4), ("0,2", "", 2)],
)
def test_smallest_size_has_an_index_that_has_not_ended(
    completed: str, failed_indexes: str, size: int
) -> None:
    sent = job(6, completedIndexes=completed, failedIndexes=failed_indexes)
    assert smallest_size(sent) == size


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        (job(1, ready=1), "Running"),
        (job(1), "Pending"),
        (job(1, suspend=True), "Paused"),
        (job(1, **ended("Complete")), "Complete"),
        (job(1, **ended("Failed", "FailedIndexes", "Job has failed indexes")), "Failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_state_of_a_job(sent: dict[str, Any], state: str) -> None:
    status = job_status("legs", sent, [], [], NOW)
    assert status.state == state
    assert status.age_s == 300
