"""Post what W&B does not know yet of a run's end: the reason, the output, the exit record.

The order matters: the mark `preempting` comes before the exit record, which means something else
without it, and no state is posted twice. The exit record must get through; W&B may refuse the rest.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.run.training import TrainerEnd, Training
from sweepctl_pod.run.transcript import dated
from sweepctl_pod.run.verdict import Ending, Intervention, Verdict
from sweepctl_pod.waiting import LastCalls, NoAnswerError
from sweepctl_pod.wandb.client import ApiError, RunInfo, WandbClient
from sweepctl_pod.wandb.outputs import console_count, end_body, replace_summary
from sweepctl_pod.wandb.states import HELD_RUNS, RunState
from sweepctl_pod.wandb.summary import reason_of, value_at, with_reason

T = TypeVar("T")

_SETTLE_S = (1.0, 1.0, 2.0, 2.0)
"""Waits before a summary is read again, to see that nothing of it is still under way."""
_AGAIN_S = (1.0, 4.0)
"""Waits before a refused call is tried again: an ingress answers 404 while its server restarts."""
_LAST_LINES = 200


@dataclass(frozen=True, slots=True)
class Output:
    """What the trainer printed, for a run whose trainer's own client did not send it."""

    training: Training
    end: TrainerEnd

    def is_complete(self, verdict: Verdict, info: RunInfo | None) -> bool:
        """Say whether to add nothing: the trainer's client has sent it all, or there is no time."""
        is_off = self.training.environ.get("WANDB_CONSOLE") == "off"
        is_leaving = self.end.intervention is Intervention.LEAVING
        is_finished = verdict.ending is Ending.FINISHED
        return is_off or is_leaving or (is_finished and info is not None and info.is_started)

    def lines(self, info: RunInfo | None, count: int) -> list[str]:
        """Give the lines that W&B lacks; `count` is how many it has."""
        transcript, hide = self.training.transcript, self.training.secrets.hide
        if info is None or not info.is_started or not count:
            return transcript.lines(hide, str(self.training.log))
        if info.state not in HELD_RUNS:
            return []
        # Its client died with it, before it sent what came last.
        marker = f"… the trainer's last lines; all of them: {self.training.log} …"
        last = transcript.last_lines(_LAST_LINES, hide)
        return [dated(marker, time.time()), *last] if last else []


class Poster:
    """Posts the end of one run to W&B."""

    def __init__(
        self, client: WandbClient, last_calls: LastCalls, sweep: AssignedSweep, run: AssignedRun
    ) -> None:
        self._client = client
        self._last_calls = last_calls
        self._run = run
        self._place = (sweep.entity, sweep.project, run.id)

    def post_end(
        self,
        verdict: Verdict,
        info: RunInfo | None,
        trained_s: float = 0.0,
        output: Output | None = None,
        logged: Mapping[str, object] | None = None,
    ) -> None:
        """Post what W&B does not know yet; NoAnswerError when the exit record does not get through.

        A failed run's reason is posted before its exit record; that of a run that is handed back
        comes last, as there may be no time left. `logged` is the metric of a run that keeps it out
        of its summary. Ranking and search read the summary, so a finished run gets it there.
        """
        if verdict.ending in (Ending.UNKNOWN, Ending.LOST):
            return
        is_handed_back = verdict.ending is Ending.HANDED_BACK
        if is_handed_back:
            self._last_calls.call(
                lambda: self._client.mark_preempting(*self._place, self._run.attempt)
            )
        else:
            self._complete_summary(verdict, info, trained_s, logged or {})
        offset, lines = self._missing_lines(verdict, info, output)
        if is_handed_back or lines or not _is_known(verdict, info):
            self._post_exit(verdict.exit_code, offset, lines)
        if is_handed_back:
            self._complete_summary(verdict, info, trained_s, {})

    def _missing_lines(
        self, verdict: Verdict, info: RunInfo | None, output: Output | None
    ) -> tuple[int, list[str]]:
        """Give the lines that the run's console log lacks, and the number of the first."""
        if output is None or output.is_complete(verdict, info):
            return 0, []
        count = self._if_taken(lambda: console_count(self._client, self._place))
        return (0, []) if count is None else (count, output.lines(info, count))

    def _post_exit(self, exit_code: int, offset: int, lines: list[str]) -> None:
        def post(body: Mapping[str, object]) -> object:
            return self._client.post_file_stream(*self._place, body, self._run.attempt)

        if not lines or self._if_taken(lambda: post(end_body(exit_code, offset, lines))) is None:
            self._last_calls.call(lambda: post(end_body(exit_code)))

    def _complete_summary(
        self,
        verdict: Verdict,
        info: RunInfo | None,
        trained_s: float,
        logged: Mapping[str, object],
    ) -> None:
        """Put the reason into the run's summary, or take that of an earlier attempt out.

        W&B shows a moment later what its client has sent, so the summary is read until it no longer
        changes, and once more after it was replaced. The embedded server is never late.
        """
        is_finished = verdict.ending is Ending.FINISHED
        reason = verdict.unverified if is_finished else verdict.reason
        missing = logged if is_finished else {}
        found = info or self._read()
        if found is None or not (missing or reason or reason_of(found.summary)):
            return
        may_be_late = self._run.attempt is None and found.is_started
        is_settled = not may_be_late
        for wait_s in _SETTLE_S:
            if not is_settled:
                self._last_calls.rest(wait_s)
                later = self._read()
                if later is None:
                    return
                is_settled = _text(later.summary) == _text(found.summary)
                found = later
                if not is_settled:
                    continue
            wanted = with_reason(_completed(found.summary, missing), reason, trained_s)
            if _text(wanted) == _text(found.summary) or not self._replace(found, wanted):
                return
            if not may_be_late:
                return
            found, is_settled = replace(found, summary=wanted), False

    def _read(self) -> RunInfo | None:
        return self._if_taken(lambda: self._client.run(*self._place))

    def _replace(self, info: RunInfo, summary: Mapping[str, object]) -> bool:
        def put() -> bool:
            replace_summary(self._client, info, summary, self._run.attempt)
            return True

        return self._if_taken(put) is not None

    def _if_taken(self, work: Callable[[], T]) -> T | None:
        """Make a call that the run's end does not depend on; None when W&B refuses it."""

        def attempt() -> T | ApiError:
            try:
                return work()
            except ApiError as error:
                if error.is_transient:
                    raise
                return error

        for again_s in (*_AGAIN_S, None):
            try:
                found = self._last_calls.call(attempt)
            except NoAnswerError:
                return None
            if not isinstance(found, ApiError):
                return found
            if again_s is None or not self._last_calls.rest(again_s):
                break
        return None


def _is_known(verdict: Verdict, info: RunInfo | None) -> bool:
    """Say whether W&B has the run's state already."""
    state = info.state if info else RunState.RUNNING.value
    is_stopped = verdict.ending is Ending.STOPPED and state not in HELD_RUNS
    return verdict.ending.value == state or is_stopped


def _completed(summary: Mapping[str, object], logged: Mapping[str, object]) -> dict[str, object]:
    """Add what a summary lacks."""
    lacking = {name: value for name, value in logged.items() if value_at(summary, name) is None}
    return {**summary, **lacking}


def _text(summary: Mapping[str, object]) -> str:
    return json.dumps(summary, sort_keys=True)
