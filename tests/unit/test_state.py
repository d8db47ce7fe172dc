"""Waiting for the end of a sweep, and reading one while its server or the API is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sweepctl.jobs import state
from sweepctl.jobs.state import SubmittedState, read_state, verdict, wait_for_end
from sweepctl.jobs.submission import Submission
from sweepctl.kube.errors import ClusterError
from sweepctl.sweeps.seen import wait_for_sweep_end
from sweepctl.sweeps.status import RunRow, SweepStatus
from sweepctl_pod.errors import ExitCode
from tests.unit.kubernetes_objects import ended, job

AWAY = ClusterError("cannot reach the Kubernetes API")


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds

    def clock(self) -> float:
        return self.now_s


class Jobs:
    """A cluster with one Job; `answers` are given in turn, the last one again and again."""

    context = "test"

    def __init__(self, *answers: dict[str, Any] | ClusterError) -> None:
        self.answers = list(answers)

    def get(self, *_: Any) -> None:
        return None

    def list(self, kind: str, *_: Any, **__: Any) -> list[dict[str, Any]]:
        if kind != "Job":
            return []
        found = self.answers.pop(0) if self.answers[1:] else self.answers[0]
        if isinstance(found, ClusterError):
            raise found
        return [found]


def open_sweep(state: str = "RUNNING") -> SweepStatus:
    return SweepStatus("local/p/s", None, state, "random", None, None, ())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said while waiting for a sweep that goes on."""
    monkeypatch.setattr(
        state,
        "_read_sweep",
        lambda *_: (SimpleNamespace(status=open_sweep(), config={}), None),
    )
    return []


def wait(
    cluster: Jobs, said: list[str], time: Time, timeout_s: float | None
) -> tuple[ExitCode, str]:
    fake: Any = cluster
    return wait_for_end(
        fake,
        "legs",
        "robots",
        timeout_s=timeout_s,
        say=said.append,
        sleep=time.sleep,
        clock=time.clock,
    )


@pytest.mark.parametrize("timeout_s", [0.0, 0.5, 7.0, 60.0])
def test_wait_ends_at_its_limit_and_not_later(said: list[str], timeout_s: float) -> None:
    time = Time()
    code, words = wait(Jobs(job()), said, time, timeout_s)
    assert (code, time.now_s) == (ExitCode.FAILED, 1000 + timeout_s)
    assert words == f"'legs' has not ended after {timeout_s:g} s"


@pytest.mark.parametrize("timeout_s", [0.0, 0.5, 7.0, 25.0])
def test_wait_for_a_servers_sweep_ends_at_its_limit_and_not_later(timeout_s: float) -> None:
    time = Time()
    api: Any = SimpleNamespace(where="the server")
    read: Callable[[], Any] = lambda: SimpleNamespace(status=open_sweep())  # noqa: E731
    code, _ = wait_for_sweep_end(api, read, timeout_s=timeout_s, sleep=time.sleep, clock=time.clock)
    assert (code, time.now_s) == (ExitCode.FAILED, 1000 + timeout_s)


def test_wait_ends_at_its_limit_also_while_the_api_is_away(said: list[str]) -> None:
    time = Time()
    code, words = wait(Jobs(job(), job(), AWAY), said, time, 60)
    assert (code, time.now_s) == (ExitCode.FAILED, 1060)
    assert words == "'legs' has not ended after 60 s: cannot reach the Kubernetes API"
    assert said.count("cannot reach the Kubernetes API; trying again …") == 1


def test_wait_outlives_an_api_that_comes_back(said: list[str]) -> None:
    done = job(**ended("Failed", "BackoffLimitExceeded", "no more"))
    code, words = wait(Jobs(job(), job(), AWAY, AWAY, AWAY, done), said, Time(), None)
    assert code is ExitCode.FAILED
    assert words.startswith("the Job of 'legs' has ended: BackoffLimitExceeded no more")


def test_wait_for_a_cluster_that_was_never_there_does_not_begin(said: list[str]) -> None:
    with pytest.raises(ClusterError, match="cannot reach"):
        wait(Jobs(AWAY), said, Time(), None)


def test_wait_for_a_paused_sweep_says_so(said: list[str]) -> None:
    wait(Jobs(job(suspend=True)), said, Time(), 1)
    assert "the Job is paused: sweepctl resume legs -n robots" in said
    assert not [line for line in said if "0 of 0" in line]


def test_error_of_the_cluster_does_not_wait_for_the_sweeps_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_up, answered = threading.Event(), threading.Event()

    def slow(*_: Any) -> tuple[None, str]:
        given_up.wait(5)
        answered.set()
        return None, "the server does not answer"

    monkeypatch.setattr(state, "_read_sweep", slow)
    cluster: Any = Jobs(job())
    listed = cluster.list

    def refuse(kind: str, *args: Any, **options: Any) -> Any:
        if kind == "Pod":
            raise ClusterError("you may not list pods", status=403)
        return listed(kind, *args, **options)

    cluster.list = refuse
    with pytest.raises(ClusterError, match="may not list pods"):
        read_state(cluster, "legs", "robots", lambda line: None)
    assert not answered.is_set()
    given_up.set()


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("RUNNING", "sweep local/p/s has work left: the same submit again starts another"),
        (
            "FINISHED",
            "sweep local/p/s was ended with runs under way, which nobody finishes: 1 preempted",
        ),
    ],
)
def test_verdict_promises_a_successor_only_of_a_sweep_that_is_open(state: str, words: str) -> None:
    run = RunRow("r", "preempted", None, None, None, None, {})
    sweep = SweepStatus("local/p/s", None, state, "random", None, None, (run,))
    submission = Submission("legs", "robots", None, (job(**ended("Complete")),))
    assert verdict(SubmittedState(submission, None, sweep, {}, None)) == (
        ExitCode.FAILED,
        f"the Job of 'legs' has ended, and {words}",
    )


@pytest.mark.parametrize(
    ("states", "code"),
    [
        pytest.param(["failed", "failed"], ExitCode.FAILED_RUNS, id="all failed"),
        pytest.param(["failed", "finished"], ExitCode.FAILED, id="some finished"),
        pytest.param([], ExitCode.FAILED, id="no run was begun"),
    ],
)
def test_a_job_whose_agents_gave_up_ends_like_a_sweep_whose_runs_failed(
    states: list[str], code: ExitCode
) -> None:
    runs = tuple(RunRow(f"r{n}", each, None, None, None, None, {}) for n, each in enumerate(states))
    sweep = SweepStatus("local/p/s", None, "RUNNING", "random", None, None, runs)
    submission = Submission("legs", "robots", None, (job(**ended("Failed")),))
    assert verdict(SubmittedState(submission, None, sweep, {}, None))[0] == code


@pytest.mark.parametrize(
    ("annotations", "labels", "words"),
    [
        ({}, {"app.kubernetes.io/managed-by": "sweepctl"}, "the same submit again starts another"),
        (
            {"meta.helm.sh/release-name": "legs", "sweepctl/generation": "4"},
            {"app.kubernetes.io/managed-by": "Helm"},
            "helm upgrade legs … --set generation=5 starts another",
        ),
        (
            {"sweepctl/generation": "1"},
            {"app.kubernetes.io/managed-by": "Helm"},
            "generation=2 where it is rendered starts another",
        ),
    ],
    ids=["submitted", "a release", "helm template"],
)
def test_work_that_a_job_has_left_comes_with_the_command_that_goes_on(
    annotations: dict[str, str], labels: dict[str, str], words: str
) -> None:
    ended_job = job(**ended("Failed"))
    ended_job["metadata"] |= {"annotations": annotations, "labels": labels}
    submission = Submission("legs", "robots", None, (ended_job,))
    seen = SubmittedState(submission, None, open_sweep(), {}, None)
    assert seen.work_left == f"has work left: {words}"
    for going_on in (open_sweep("FINISHED"), None):
        assert SubmittedState(submission, None, going_on, {}, None).work_left is None
    live_job = Submission("legs", "robots", None, (job(),))
    assert SubmittedState(live_job, None, open_sweep(), {}, None).work_left is None
