"""A submitted sweep as it is now: its Job, its pods, its runs; and waiting for its end.

Reads the cluster and the sweep's server at the same time. It changes nothing.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from sweepctl import manifest
from sweepctl.jobs.agents import LIVE, JobStatus, job_status, needs_events, troubles
from sweepctl.jobs.submission import (
    Submission,
    get_submission,
    job_end,
    open_submission_api,
    sweep_name,
)
from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.errors import ClusterError
from sweepctl.sweeps.records import RecordReader
from sweepctl.sweeps.seen import READ_EVERY_S, SeenSweep, counted_runs, read_status, runs_verdict
from sweepctl.sweeps.status import SweepStatus
from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.wandb.states import ENDED_SWEEPS

T = TypeVar("T")

_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class SubmittedState:
    """A submitted sweep at one moment; what could not be read is None, and `unread` says why."""

    submission: Submission
    job: JobStatus | None
    sweep: SweepStatus | None
    config: Mapping[str, Any]
    unread: str | None

    @property
    def work_left(self) -> str | None:
        """Say how to go on where the Job has ended and the sweep has not."""
        job = self.submission.job
        if job is None or not job_end(job) or self.sweep is None:
            return None
        if self.sweep.state in ENDED_SWEEPS or self.sweep.has_ended:
            return None
        return f"has work left: {next_job(self.submission)} starts another"


def next_job(submission: Submission) -> str:
    """Say what starts another Job on the same sweep: what is typed, or set."""
    higher = f"generation={submission.generation + 1}"
    release = submission.helm_release
    if release is not None:
        return f"helm upgrade {release} … --set {higher}"
    if submission.is_from_chart:
        return f"{higher} where it is rendered"
    return "the same submit again"


@dataclass(frozen=True, slots=True)
class JobLine:
    """One Job in a list."""

    name: str
    namespace: str
    job: str
    state: str
    ready: int
    wanted: int
    sweep: str | None
    manager: str
    age_s: float | None


def list_jobs(cluster: Cluster, namespace: str | None, selector: str | None) -> list[JobLine]:
    """List the submitted sweeps of a namespace, or of all when it is None; one request."""
    found = cluster.list(
        "Job",
        namespace,
        selector=",".join(filter(None, [manifest.selector_text(component="agent"), selector])),
    )
    now = datetime.now(timezone.utc)
    lines = [_job_line(job, now) for job in found]
    return sorted(lines, key=lambda line: (line.namespace, line.name, -(line.age_s or 0)))


def read_state(
    cluster: Cluster,
    name: str,
    namespace: str,
    say: Callable[[str], None],
    *,
    records: RecordReader | None = None,
    has_records: bool = False,
) -> SubmittedState:
    """Read a submitted sweep: cluster and server at the same time.

    With `records` the records of its runs are read as well, if they are wanted, or if an index has
    failed: they tell who goes on with its run.
    """
    submission = get_submission(cluster, name, namespace)
    has_failed = bool(((submission.job or {}).get("status") or {}).get("failedIndexes"))
    reader = records if has_records or has_failed else None
    asked = _begun(lambda: _read_sweep(cluster, submission, say, reader))
    pods = cluster.list("Pod", namespace, selector=manifest.selector_text(name, "agent"))
    now = datetime.now(timezone.utc)
    events = _events(cluster, submission, pods, now)
    seen, unread = asked.result()
    runs = seen.status.runs if seen else ()
    job = submission.job
    return SubmittedState(
        submission=submission,
        job=job_status(name, job, pods, runs, now, events) if job is not None else None,
        sweep=seen.status if seen else None,
        config=seen.config if seen else {},
        unread=unread,
    )


def wait_for_end(
    cluster: Cluster,
    name: str,
    namespace: str,
    *,
    timeout_s: float | None,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[ExitCode, str]:
    """Wait until a sweep has ended; give the exit code and what to say.

    It has ended when its Job has, or when its server says so and no run is under way: an agent
    that never found a GPU must not hold up those who wait.
    """
    deadline = clock() + timeout_s if timeout_s is not None else math.inf
    late = f"'{name}' has not ended after {timeout_s or 0:g} s"

    def patiently(read: Callable[[], T]) -> T:
        return _patiently(read, say, deadline, sleep, clock)

    told: tuple[str, ...] = ()
    look_at = clock()
    submission = get_submission(cluster, name, namespace)
    try:
        while True:
            if submission.job is None:
                return ExitCode.FAILED, f"the Job of '{name}' was deleted"
            is_over = job_end(submission.job) is not None
            if is_over or clock() >= look_at:
                began = clock()
                state = patiently(lambda: read_state(cluster, name, namespace, say))
                told = _tell(state, told, say)
                if is_over or (state.sweep is not None and state.sweep.has_ended):
                    return verdict(state)
                # Thousands of runs take seconds to read: a wait must not keep the API busy.
                look_at = clock() + max(READ_EVERY_S, 10 * (clock() - began))
            if clock() >= deadline:
                return ExitCode.FAILED, late
            sleep(min(_EVERY_S, deadline - clock()))
            submission = patiently(lambda: get_submission(cluster, name, namespace))
    except ClusterError as error:
        if not error.is_transient:
            raise
        return ExitCode.FAILED, f"{late}: {error.message}"


def verdict(state: SubmittedState) -> tuple[ExitCode, str]:
    """Judge a sweep whose Job has ended, or that its server has ended."""
    name = state.submission.name
    job = state.job
    if state.sweep is None:
        words = f"the Job has ended ({job.end if job else 'gone'}); its runs are not known"
        return ExitCode.FAILED, f"{words}: {state.unread}"
    if not state.sweep.has_ended:
        why = f": {job.end_reason.words}" if job and job.end_reason else ""
        more = "".join(f"\n{trouble.text()}" for trouble in troubles(job)[:5]) if job else ""
        left = state.work_left or (
            f"was ended with runs under way, which nobody finishes: {counted_runs(state.sweep)}"
        )
        words = f"the Job of '{name}' has ended{why}, and sweep {state.sweep.sweep} {left}{more}"
        # Agents that gave up, since whatever they tried has failed: as if that were all there was.
        is_hopeless = state.work_left is not None and state.sweep.has_only_bad_ends
        return (ExitCode.FAILED_RUNS if is_hopeless else ExitCode.FAILED), words
    return runs_verdict(state.sweep)


def _read_sweep(
    cluster: Cluster,
    submission: Submission,
    say: Callable[[str], None],
    records: RecordReader | None,
) -> tuple[SeenSweep | None, str | None]:
    try:
        with open_submission_api(cluster, submission, say) as api:
            return read_status(api, sweep_name(submission, api), records=records), None
    except SweepctlError as error:
        return None, error.message


def _events(
    cluster: Cluster, submission: Submission, pods: list[Object], now: datetime
) -> list[Object]:
    job = submission.job
    if job is None or not needs_events(job, pods, now):
        return []
    try:
        fields = f"involvedObject.name={job['metadata']['name']}"
        found = cluster.list("Event", submission.namespace, fields=fields)
        slow = [
            pod
            for pod in pods
            if (pod.get("status") or {}).get("phase") == "Pending" and pod["spec"].get("nodeName")
        ]
        if slow:
            found += cluster.list("Event", submission.namespace, fields="involvedObject.kind=Pod")
    except ClusterError as error:
        if error.is_forbidden:
            return []
        raise
    return found


def _tell(
    state: SubmittedState, told: tuple[str, ...], say: Callable[[str], None]
) -> tuple[str, ...]:
    """Say what is new while waiting: counts, and why agents do not run."""
    lines = []
    if state.job is not None:
        busy = sum(agent.state in LIVE for agent in state.job.agents)
        here = f"{state.job.name} -n {state.job.namespace}"
        lines.append(
            f"the Job is paused: sweepctl resume {here}"
            if state.job.is_paused
            else f"{state.job.ready} of {busy} agents run"
        )
        lines += [
            f"agents {trouble.state.value}: {trouble.reason.words}"
            for trouble in troubles(state.job)[:3]
        ]
    if state.sweep is not None:
        lines.append(f"runs: {counted_runs(state.sweep) or 'none yet'}")
    for line in lines:
        if line not in told:
            say(line)
    return tuple(lines)


def _begun(read: Callable[[], T]) -> Future[T]:
    """Begin to read in a thread, which nobody has to wait for after Ctrl-C or an error."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(read())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer


def _patiently(
    read: Callable[[], T],
    say: Callable[[str], None],
    deadline: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> T:
    """Read again while the API is away: a wait outlives a restart of the control plane."""
    delay_s, told = 1.0, False
    while True:
        try:
            return read()
        except ClusterError as error:
            left_s = deadline - clock()
            if not error.is_transient or left_s <= 0:
                raise
            if not told:
                say(f"{error.message}; trying again …")
                told = True
        sleep(min(delay_s, left_s))
        delay_s = min(2 * delay_s, 30.0)


def _job_line(job: Object, now: datetime) -> JobLine:
    metadata = job["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    facts = job_status(labels.get(manifest.INSTANCE_LABEL, metadata["name"]), job, [], [], now)
    return JobLine(
        name=facts.name,
        namespace=facts.namespace,
        job=facts.job,
        state="Deleting" if metadata.get("deletionTimestamp") else facts.state,
        ready=facts.ready,
        wanted=facts.wanted,
        sweep=annotations.get(manifest.SWEEP_ANNOTATION),
        manager=str(labels.get(manifest.MANAGER_LABEL) or "unknown"),
        age_s=facts.age_s,
    )
