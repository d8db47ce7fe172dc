"""The handle of a sweep that was submitted to a cluster: what the verbs can do with it there.

The cluster is asked about pods, the sweep's server about runs; the submission says where that
server is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweepctl.jobs.change import pause, resume, scale
from sweepctl.jobs.logs import follow_logs, read_logs
from sweepctl.jobs.state import SubmittedState, next_job, read_state, wait_for_end
from sweepctl.jobs.submission import (
    Submission,
    find_submission,
    get_submission,
    job_end,
    open_submission_api,
    sweep_name,
)
from sweepctl.kube.client import Cluster
from sweepctl.kube.errors import ClusterError
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.handle import STOP, Change, StateChange, set_server_state
from sweepctl.sweeps.log_lines import Line, LogOptions
from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.place import find_sweep
from sweepctl.sweeps.records import RecordReader
from sweepctl.sweeps.retry import Retry, retry_runs
from sweepctl.sweeps.run_output import RunOutput, chosen_runs, run_outputs
from sweepctl.sweeps.seen import read_best
from sweepctl.sweeps.status import SweepStatus
from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.wandb.states import ENDED_SWEEPS

if TYPE_CHECKING:
    from sweepctl.sweeps.best import RankedRun
    from sweepctl.sweeps.disrupt import Scene
    from sweepctl.sweeps.page import Page
    from sweepctl_pod.overrides import Grammar


@dataclass(frozen=True, slots=True)
class ClusterSweep:
    """A submitted sweep, and the cluster that it is in."""

    cluster: Cluster
    name: str
    namespace: str
    say: Callable[[str], None]

    @property
    def here(self) -> str:
        """Its name as a command takes it: NAME -n NAMESPACE."""
        return f"{self.name} -n {self.namespace}"

    def submission(self) -> Submission:
        """Read what is in the cluster."""
        return get_submission(self.cluster, self.name, self.namespace)

    def status(self, *, has_records: bool) -> Iterator[SubmittedState]:
        """Read it, again and again for as long as somebody looks."""
        records = RecordReader()
        while True:
            yield read_state(
                self.cluster,
                self.name,
                self.namespace,
                self.say,
                records=records,
                has_records=has_records,
            )

    def logs(self, options: LogOptions) -> Iterator[Line | RunOutput]:
        """Give the lines of all agents; for a run that no pod has lines of, what was uploaded."""
        if options.is_followed:
            if options.run is not None:
                self._check_run(options.run)
            lines = self.follow(options)
        else:
            lines = self._with_job(read_logs(self.cluster, self.name, self.namespace, options))
        line = None
        for line in lines:
            yield line
        if line is None:
            yield from self._uploaded(options)

    def follow(self, options: LogOptions) -> Iterator[Line]:
        """Give lines as they come, until the Job has ended and all of them are read."""

        def is_over() -> bool:
            try:
                seen = find_submission(self.cluster, self.name, self.namespace)
            except ClusterError:
                return False
            return seen.job is None or job_end(seen.job) is not None

        lines = follow_logs(
            self.cluster, self.name, self.namespace, options, say=self.say, is_over=is_over
        )
        return self._with_job(lines)

    def wait(self, timeout_s: float | None) -> tuple[ExitCode, str]:
        """Wait until it has ended, and say meanwhile why agents do not run."""
        watch = f"sweepctl status {self.name} -w -n {self.namespace}"
        self.say(f"waiting for {self.name}; watch it: {watch}")
        return wait_for_end(
            self.cluster, self.name, self.namespace, timeout_s=timeout_s, say=self.say
        )

    def set_state(self, change: StateChange, *, ask: Callable[[str], None], is_dry: bool) -> Change:
        """Pause or resume its Job; stop it at its server."""
        if change is STOP:
            with self.api() as (api, name):
                return set_server_state(api, name, change, ask=ask, is_dry=is_dry)
        ask(self.here)
        act = pause if change.verb == "pause" else resume
        return act(self.cluster, self.submission(), dry_run=is_dry)

    def scale(self, agents: int, *, is_dry: bool) -> Change:
        """Change the number of agents."""
        submission = self.submission()
        return scale(self.cluster, submission, agents, is_open=self._is_open, dry_run=is_dry)

    @contextmanager
    def scene(self) -> Iterator[Scene]:
        """Open where its agents can be disrupted: its pods."""
        from sweepctl.jobs.disrupt import ClusterScene

        with self.api() as (api, name):
            info = find_sweep(api, name)
            yield ClusterScene(self.cluster, self.name, self.namespace, api, name, info)

    def retry(self, named: Sequence[str], states: Collection[str], *, is_dry: bool) -> Retry:
        """Give runs back that have ended badly; say how agents come to them where none is left."""
        with self.api() as (api, name):
            done = retry_runs(api, name, named, states, is_dry=is_dry)
        submission = self.submission()
        job = submission.job
        notes = list(done.notes)
        if done.runs and (job is None or job_end(job) is not None):
            notes.append(f"no agent is left: {next_job(submission)} starts another Job")
        elif done.runs and job is not None and job["spec"].get("suspend"):
            notes.append(f"the Job is paused: sweepctl resume {self.here}")
        return replace(done, notes=tuple(notes))

    def best(
        self, top: int, grammar: Grammar | None, recorded: int
    ) -> tuple[SweepStatus, Sequence[RankedRun]]:
        """Rank its finished runs."""
        with self.api() as (api, name):
            return read_best(api, name, top, grammar, recorded)

    @contextmanager
    def page(self, listen: str, allowed_hosts: Sequence[str]) -> Iterator[Page]:
        """Give its page at its server: through a port-forward where that is in the cluster."""
        from sweepctl.sweeps.page import page_at, until_interrupted  # only here: the web's rules

        submission = self.submission()
        with open_submission_api(self.cluster, submission, self.say) as api:
            page = page_at(api, sweep_name(submission, api))
            if api.base_url == (submission.api_url or "").rstrip("/"):
                yield page
                return
            notes = [*page.notes, f"through a port-forward to {api.where}"]
            secret = submission.secret_key
            if secret is not None and not page.logs_in:
                notes.append(
                    "it asks for a password, the API key: kubectl get secret"
                    f" {secret.name} -n {submission.namespace}"
                    f" -o go-template='{{{{index .data \"{secret.key}\" | base64decode}}}}'"
                )
            yield replace(page, notes=tuple(notes), await_end=until_interrupted)

    @contextmanager
    def api(self) -> Iterator[tuple[WandbApi, SweepName]]:
        """Open the API of its server, and give its name there."""
        submission = self.submission()
        with open_submission_api(self.cluster, submission, self.say) as api:
            yield api, sweep_name(submission, api)

    @contextmanager
    def source(self) -> Iterator[tuple[WandbApi, SweepName]]:
        """Open the API of its server, to read it, and give its name there."""
        with self.api() as opened:
            yield opened

    def _is_open(self) -> bool:
        """Ask the sweep's server whether there is work left."""
        with self.api() as (api, name):
            return find_sweep(api, name).state not in ENDED_SWEEPS

    def _with_job(self, lines: Iterator[Line]) -> Iterator[Line]:
        job = self.submission().job
        name = job["metadata"]["name"] if job else ""
        return (replace(line, job=name) for line in lines)

    def _check_run(self, run: str) -> None:
        """Refuse to wait for the lines of a run that the sweep does not have."""
        submission = self.submission()
        try:
            with open_submission_api(self.cluster, submission, self.say) as api:
                wanted = sweep_name(submission, api)
                sweep = api.sweep(wanted.entity or "", wanted.project or "", wanted.id or "")
                runs = api.runs(sweep)
        except SweepctlError:
            return  # not known now; the lines may come all the same
        chosen_runs(sweep, runs, run)

    def _uploaded(self, options: LogOptions) -> Iterator[RunOutput]:
        """Give what was uploaded with a run that no pod has lines of; else say where to look."""
        advice = f"what the agents do: sweepctl status {self.here}"
        if options.run is None:
            raise SweepctlError("no such lines", advice)
        with self.api() as (api, name):
            sweep = find_sweep(api, name)
            chosen = chosen_runs(sweep, api.runs(sweep), options.run)
            yield from run_outputs(
                api, sweep, chosen, kept=None, is_one=True, advice=advice, say=self.say
            )
