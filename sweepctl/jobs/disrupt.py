"""Disrupting the agents of a submitted sweep: whom it may hit, and how each kind is carried out.

Only pods of the sweep's own Job that train a run now: never the server's pod, a pod of another
release, or one that has come in the place of the pod that was chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from sweepctl import manifest
from sweepctl.jobs import crash_in_pod
from sweepctl.jobs.agents import AgentRow, IndexState, job_status
from sweepctl.jobs.submission import get_submission, job_end
from sweepctl.kube.client import Cluster, Object
from sweepctl.kube.kinds import Access
from sweepctl.kube.pod_reasons import agent_end
from sweepctl.kube.pods import BudgetError, PodRef, delete_pod, evict, execute
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.disrupt import NoTargetError, NotNowError
from sweepctl.sweeps.disruption import Disruption, Kind, Look, Target
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.progress import whole_number
from sweepctl.sweeps.seen import read_status
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.wandb.client import SweepInfo
from sweepctl_pod.wandb.states import RunState

_FORCE_GRACE_S = 0

_WITH_PYTHON = """\
for python in "$SWEEPCTL_PYTHON" /opt/isaaclab-venv/bin/python \
    /isaac-sim/kit/python/bin/python3 python3; do
  if "$python" -E -S -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    exec "$python" -E -S -c "$1"
  fi
done
echo "no Python 3.10 or later in this image" >&2
exit 1
"""
"""Runs its argument by the pod's Python, found as `start.sh` finds it."""


@dataclass(frozen=True, slots=True)
class ClusterScene:
    """The agents of a submitted sweep; its server is reached for as long as the scene is open."""

    cluster: Cluster
    submitted: str
    """The name under which the sweep was submitted."""
    namespace: str
    api: WandbApi
    name: SweepName
    info: SweepInfo

    def check(self, kind: Kind) -> None:
        """Every kind can be done to pods."""

    def targets(self) -> list[Target]:
        """Give the pods that train a run now."""
        submission = get_submission(self.cluster, self.submitted, self.namespace)
        job = submission.job
        if job is None or job_end(job) is not None:
            how = f"has ended ({job_end(job)})" if job else "is not there yet"
            raise NoTargetError(f"the Job of '{self.submitted}' {how}: nothing is trained")
        selector = manifest.selector_text(self.submitted, "agent")
        pods = self.cluster.list("Pod", self.namespace, selector=selector)
        status = read_status(self.api, self.name).status
        if status.has_ended:
            raise NoTargetError(f"sweep {status.sweep} has ended: nothing is trained")
        now = datetime.now(timezone.utc)
        agents = job_status(self.submitted, job, pods, status.runs, now).agents
        return training_pods(agents, pods)

    def strike(self, kind: Kind, target: Target, *, is_dry: bool) -> bool:
        """Take a pod away, or the trainer in it."""
        pod = PodRef(target.pod or "", self.namespace, target.uid or "")
        if kind is Kind.CRASH:
            return self._crash(pod, is_dry)
        if kind is not Kind.EVICT:
            grace_s = _FORCE_GRACE_S if kind is Kind.FORCE else None
            return delete_pod(self.cluster, pod, grace_s=grace_s, dry_run=is_dry)
        try:
            return evict(self.cluster, pod, dry_run=is_dry)
        except BudgetError as error:
            raise NotNowError(error.message, error.hint) from error

    def look(self, disruption: Disruption) -> Look:
        """See how a run does that was hit, and whether its pod is still there."""
        target = disruption.target
        run = self.api.run(self.info, target.run)
        if run is None:
            raise SweepctlError(f"run {target.run} is gone from sweep {self.info.full_name}")
        pod = self.cluster.get("Pod", target.pod or "", self.namespace)
        step = whole_number(run.summary.get("_step"))
        # Only where nothing else can tell one attempt from the next: it costs requests.
        is_doubtful = disruption.has_landed and not disruption.was_let_go
        asks = is_doubtful and step != disruption.step and run.host == target.agent
        record = self.record(target.run) if asks else None
        return Look(
            state=run.state,
            agent=run.host,
            step=step,
            has_pod=pod is not None and is_same_and_alive(pod, target),
            attempt=record.attempt if record else None,
        )

    def record(self, run: str) -> RunRecord | None:
        """Give a run's record, if there is one."""
        return self.api.run_record(self.info.full_name, run)

    def _crash(self, pod: PodRef, is_dry: bool) -> bool:
        if is_dry:
            access = Access("get", "pods", subresource="exec")
            if not self.cluster.may(access, pod.namespace):
                raise SweepctlError(f"you may not get pods/exec in namespace '{pod.namespace}'")
            return True
        command = ["sh", "-c", _WITH_PYTHON, "sh", Path(crash_in_pod.__file__).read_text("utf-8")]
        ran = execute(self.cluster, pod, manifest.CONTAINER, command)
        if ran.exit_code == 0:
            return ran.out.strip() != "0"
        said = (ran.errors.strip().splitlines() or ["it said nothing"])[-1]
        raise SweepctlError(
            f"cannot crash the trainer in pod {pod.name}: {said}",
            f"how is it? kubectl describe pod {pod.name} -n {pod.namespace}",
        )


def training_pods(agents: Iterable[AgentRow], pods: Sequence[Object]) -> list[Target]:
    """Give the pods of a Job's agents that train a run at this moment. Pure."""
    uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in pods}
    return [
        Target(agent.name, agent.run.id, agent.index, agent.pod, uids[agent.pod], agent.node)
        for agent in agents
        if agent.state is IndexState.RUNNING
        and agent.pod in uids
        and agent.pod is not None
        and agent.run is not None
        and agent.run.state == RunState.RUNNING
    ]


def is_same_and_alive(pod: Object, target: Target) -> bool:
    """Say whether a pod is the one that was hit, and its agent has not ended. Pure."""
    if pod["metadata"].get("uid") != target.uid or agent_end(pod) is not None:
        return False
    return (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
