"""Which pods a disruption may hit, and what the Kubernetes API is asked for each kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from sweepctl.jobs import crash_in_pod
from sweepctl.jobs.agents import job_status
from sweepctl.jobs.disrupt import is_same_and_alive, training_pods
from sweepctl.kube.errors import ClusterError
from sweepctl.kube.pods import BudgetError, PodRef, delete_pod, evict
from sweepctl.sweeps.disruption import Target
from sweepctl.sweeps.status import RunRow
from tests.unit.kubernetes_api import answer, cluster_of, serving
from tests.unit.kubernetes_objects import NOW, job, pod

POD = PodRef("legs-1a2b3c4d-0-abcde", "robots", "uid-0")
PATH = "/api/v1/namespaces/robots/pods/legs-1a2b3c4d-0-abcde"


def row(run: str, agent: str, state: str = "running") -> RunRow:
    return RunRow(run, state, agent, None, 5, 10.0, {})


def test_only_pods_of_this_job_that_train_a_run_now_are_hit() -> None:
    ended = {"exitCode": 75}
    foreign = pod(6, name="other-0")
    foreign["metadata"]["ownerReferences"] = [{"kind": "Job", "uid": "another"}]
    server = pod(0, name="legs-server-0")
    server["metadata"]["ownerReferences"] = [{"kind": "StatefulSet", "uid": "s"}]
    pods = [
        pod(0),
        pod(1),
        pod(2),
        pod(3, "Pending"),
        pod(4, deleted=True),
        pod(5, "Failed", terminated=ended),
        foreign,
        server,
    ]
    rows = [
        row("trains", "legs-1a2b3c4d-0"),
        row("waits", "legs-1a2b3c4d-1", "pending"),
        row("leaves", "legs-1a2b3c4d-2", "preempting"),
        row("starts", "legs-1a2b3c4d-3"),
        row("goes", "legs-1a2b3c4d-4"),
        row("went", "legs-1a2b3c4d-5"),
        row("others", "legs-1a2b3c4d-6"),
    ]
    agents = job_status("legs", job(7), pods, rows, NOW).agents
    found = training_pods(agents, pods)
    assert [(target.run, target.pod, target.uid) for target in found] == [
        ("trains", "legs-1a2b3c4d-0-abcde", "0-60")
    ]


@pytest.mark.parametrize(
    ("seen", "is_alive"),
    [
        (pod(0), True),
        (pod(0, deleted=True), True),
        (pod(0, age_s=1), False),
        (pod(0, "Failed"), False),
        (pod(0, terminated={"exitCode": 75}), False),
    ],
    ids=["lives", "in its grace", "another of its name", "failed", "its agent has ended"],
)
def test_a_pod_is_gone_when_its_agent_has_ended_or_another_has_its_name(
    seen: dict[str, Any], is_alive: bool
) -> None:
    target = Target("legs-1a2b3c4d-0", "r", 0, seen["metadata"]["name"], "0-60", "node-1")
    assert is_same_and_alive(seen, target) is is_alive


def test_eviction_names_the_pod_by_its_uid_and_is_not_repeated() -> None:
    with serving() as api:
        api.answers = [answer({}, 201)]
        assert evict(cluster_of(api), POD)
        assert evict(cluster_of(api), POD, dry_run=True)
    assert api.asked == [f"POST {PATH}/eviction"] * 2
    assert [query for query, _ in api.sent] == ["", "dryRun=All"]
    body = api.sent[0][1]
    assert (body["apiVersion"], body["kind"]) == ("policy/v1", "Eviction")
    assert body["deleteOptions"] == {"preconditions": {"uid": "uid-0"}}


def test_budget_that_allows_no_eviction_is_told_in_its_own_words() -> None:
    refusal = {
        "message": "Cannot evict pod as it would violate the pod's disruption budget.",
        "reason": "TooManyRequests",
        "code": 429,
    }
    with serving() as api:
        api.answers = [answer(refusal, 429)]
        with pytest.raises(BudgetError) as refused:
            evict(cluster_of(api), POD)
    assert len(api.asked) == 1
    assert refused.value.message == (
        "pod legs-1a2b3c4d-0-abcde is not evicted:"
        " Cannot evict pod as it would violate the pod's disruption budget."
    )
    assert refused.value.hint == "see: kubectl get poddisruptionbudgets -n robots"


@pytest.mark.parametrize(
    ("grace_s", "sent"),
    [
        (None, {"preconditions": {"uid": "uid-0"}}),
        (0, {"preconditions": {"uid": "uid-0"}, "gracePeriodSeconds": 0}),
    ],
    ids=["its own grace", "none"],
)
def test_deletion_has_the_grace_that_was_asked_for(grace_s: int | None, sent: object) -> None:
    with serving() as api:
        api.answers = [answer({})]
        assert delete_pod(cluster_of(api), POD, grace_s=grace_s)
    assert (api.asked, api.sent) == ([f"DELETE {PATH}"], [("", sent)])


@pytest.mark.parametrize("status", [404, 409])
def test_a_pod_that_is_gone_or_replaced_is_not_hit(status: int) -> None:
    with serving() as api:
        api.answers = [answer({"message": "the UID in the precondition does not match"}, status)]
        assert not delete_pod(cluster_of(api), POD)
        assert not evict(cluster_of(api), POD)


def test_who_may_not_evict_is_told_the_role_to_ask_for() -> None:
    refusal = {
        "message": 'pods "x" is forbidden: User "ann" cannot create resource "pods/eviction"'
        ' in API group "" in the namespace "robots"'
    }
    with serving() as api:
        api.answers = [answer(refusal, 403)]
        with pytest.raises(ClusterError) as refused:
            evict(cluster_of(api), POD)
    assert refused.value.message == "user 'ann' may not create pods/eviction in namespace 'robots'"
    assert "--verb=create --resource=pods/eviction" in (refused.value.hint or "")


def process(folder: Path, pid: int, parent: int, words: str = "x", state: str = "S") -> None:
    place = folder / str(pid)
    place.mkdir()
    (place / "cmdline").write_bytes(words.replace(" ", "\0").encode() + b"\0")
    (place / "stat").write_text(f"{pid} (a) b) {state} {parent} 0 0")


def test_only_what_the_agent_has_started_is_killed(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    process(tmp_path, 1, 0, "/usr/bin/python3 -E -s -u /opt/sweepctl")
    process(tmp_path, 7, 1, "guardian")
    process(tmp_path, 8, 1, "trainer")
    process(tmp_path, 9, 8, "its child")
    process(tmp_path, 10, 8, "a dead one", state="Z")
    process(tmp_path, 20, 0, "a shell of kubectl exec")
    process(tmp_path, 21, 20, "its child")
    assert crash_in_pod.find_agent(str(tmp_path)) == 1
    assert crash_in_pod.offspring(1, str(tmp_path)) == [7, 8, 9]


def test_the_agent_is_found_where_it_is_not_process_1(tmp_path: Path) -> None:
    process(tmp_path, 1, 0, "/pause")
    process(tmp_path, 6, 1, "python3 -u /opt/sweepctl")
    process(tmp_path, 7, 6, "trainer")
    assert crash_in_pod.find_agent(str(tmp_path)) == 6
    assert crash_in_pod.find_agent("/proc/self/task") is None


def test_the_trainer_dies_with_all_its_children_and_the_agent_stays(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    agent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {trainer!r}], stdin=subprocess.PIPE)\n"
        "print(child.wait(), flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", agent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        deadline = time.monotonic() + 60
        while len(crash_in_pod.offspring(started.pid)) < 2 and time.monotonic() < deadline:
            os.sched_yield()
        monkeypatch.setattr(crash_in_pod, "find_agent", lambda proc: started.pid)
        assert crash_in_pod.main() == 0
        assert started.stdout.readline() == f"{-signal.SIGKILL}\n"
        assert int(capsys.readouterr().out) >= 2
        assert started.poll() is None
        started.communicate("\n", timeout=60)
