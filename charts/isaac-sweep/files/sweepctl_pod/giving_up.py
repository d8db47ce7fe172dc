"""When an agent gives up the rest of its sweep, and what it says then.

It asks the API only when runs have failed at once and none has shown that this agent can train:
once for the runs of earlier pods of the same index, and before it gives up for the work left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.first_runs import FirstRuns
from sweepctl_pod.options import AgentOptions, Asker
from sweepctl_pod.run.verdict import Ending, Verdict
from sweepctl_pod.waiting import Retrying
from sweepctl_pod.wandb.client import ApiError, WandbClient
from sweepctl_pod.wandb.states import is_open_sweep

T = TypeVar("T")

_NEXT = {
    Asker.JOB: "when that is corrected, submit again or raise `generation`;"
    " maxInitialFailures says after how many, 0: never",
    Asker.PERSON: "when that is corrected, start again;"
    " --max-initial-failures says after how many, 0: never",
}


class GaveUpError(SweepctlError):
    """This agent's first runs all failed at once: it would fail the whole sweep."""


class GivingUp:
    """Decides from the ends of an agent's runs whether it goes on."""

    def __init__(self, options: AgentOptions, client: WandbClient, retrying: Retrying) -> None:
        self._options = options
        self._client = client
        self._retrying = retrying
        self._first_runs = FirstRuns(options.max_initial_failures)
        self._knows_earlier = not options.is_in_job
        self._endings: set[Ending] = set()

    @property
    def end(self) -> ExitCode:
        """The exit code when there is no more work; to a person it says that every run failed."""
        all_failed = self._endings == {Ending.FAILED}
        to_person = all_failed and self._options.asker is Asker.PERSON
        return ExitCode.FAILED_RUNS if to_person else ExitCode.DONE

    def note(
        self, sweep: AssignedSweep, run: AssignedRun, verdict: Verdict, lasted_s: float
    ) -> None:
        """Note a run's end; GaveUpError when it is time to give up."""
        self._endings.add(verdict.ending)
        self._first_runs.note(verdict.ending, lasted_s)
        name = (sweep.entity, sweep.project, sweep.id)
        if self._first_runs.is_in_doubt and not self._knows_earlier:
            # The same index may have had other pods before this one.
            self._knows_earlier = True
            host = self._options.host
            found = self._ask(lambda: list(self._client.runs(*name, host)))
            earlier = [each for each in found or [] if each.id != run.id and each.host == host]
            self._first_runs.note_earlier(earlier)
        if self._first_runs.is_hopeless and self._has_work_left(name):
            asker = self._options.asker
            error = GaveUpError(self._first_runs.reason(verdict.reason), _NEXT[asker])
            is_job = asker is Asker.JOB
            error.exit_code = ExitCode.CONFIGURATION if is_job else ExitCode.FAILED_RUNS
            raise error

    def _has_work_left(self, name: tuple[str, str, str]) -> bool:
        """Say whether giving up saves any run: at the end of a sweep the agent just ends."""
        info = self._ask(lambda: self._client.sweep(*name))
        if info is None or info.run_count is None or info.run_count_expected is None:
            return info is None or is_open_sweep(info.state)
        return is_open_sweep(info.state) and info.run_count < info.run_count_expected

    def _ask(self, question: Callable[[], T]) -> T | None:
        """Ask the API, however long it takes; None where it refuses."""
        try:
            return self._retrying.call(question, is_final=lambda error, _: not error.is_transient)
        except ApiError:
            return None
