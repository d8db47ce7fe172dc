"""The end of a run: ask W&B what it knows, judge, and post what it lacks (posting.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.run.posting import Output, Poster
from sweepctl_pod.run.training import TrainerEnd, Training
from sweepctl_pod.run.verdict import (
    Ending,
    Facts,
    Intervention,
    Verdict,
    judge,
    lost_ending,
    unknown_ending,
)
from sweepctl_pod.waiting import (
    BackgroundCall,
    InterruptedBySignalError,
    LastCalls,
    NoAnswerError,
)
from sweepctl_pod.wandb.client import ApiError, RunInfo, WandbClient
from sweepctl_pod.wandb.outputs import last_logged
from sweepctl_pod.wandb.summary import read_metric

RunQuestion = BackgroundCall["RunInfo | None"]

_LAG_S = (0.5, 1.0, 2.0, 4.0)
"""Waits before a summary without the metric is read again: W&B stores what it gets a bit later."""


def ask_run(client: WandbClient, training: Training) -> RunQuestion:
    """Ask in the background what W&B knows of a run, while there is other work to do."""
    sweep, run_id = training.sweep, training.run.id
    return BackgroundCall(
        lambda: client.run(sweep.entity, sweep.project, run_id), training.pod.wake_up
    )


def end_run(
    client: WandbClient,
    last_calls: LastCalls,
    training: Training,
    end: TrainerEnd,
    question: RunQuestion,
    attempts: int,
    is_ours: Callable[[], bool] = lambda: True,
) -> Verdict:
    """Judge a run and post its end to W&B; give the verdict.

    `question` was asked while the trainer was still being cleaned up. Its answer is used first;
    then W&B is asked anew. `attempts` counts this one as well. `is_ours` says, before anything is
    posted, whether the run's end is still this agent's to tell.
    """
    if end.intervention is Intervention.LOST:
        return lost_ending()
    sweep, run = training.sweep, training.run
    asked = [question]

    def ask_once() -> RunInfo | None:
        begun = asked.pop() if asked else None
        if begun is not None and begun.wait(client.timeout_s):
            return begun.result()
        return client.run(sweep.entity, sweep.project, run.id)

    info, silence = None, None
    logged: Mapping[str, object] = {}
    try:
        info = _believable(last_calls, ask_once, training.pod.believed_after_s)
        if info is None:
            return Verdict(Ending.STOPPED, "it was deleted at W&B", 0)
        logged = _logged(client, last_calls, training, end, info)
        for lag_s in _LAG_S:
            if logged or not _may_lag(sweep, end, info) or not last_calls.rest(lag_s):
                break
            info = last_calls.call(ask_once) or info
            logged = _logged(client, last_calls, training, end, info)
    except NoAnswerError as error:
        silence = error.message
    verdict = judge(_facts(training, end, info, logged, silence, attempts))
    verdict = replace(verdict, reason=training.secrets.hide(verdict.reason))
    if not is_ours():
        return lost_ending()
    if verdict.ending is Ending.FAILED and info is not None and info.host is None and training.host:
        # Its trainer never got so far as to store it, and a later pod of this index counts by host.
        with suppress(ApiError, InterruptedBySignalError):
            last_calls.retrying.call(
                lambda: _name_host(client, sweep, run, training.host),
                is_final=lambda error, lasted_s: True,
            )
    poster = Poster(client, last_calls, sweep, run)
    try:
        poster.post_end(verdict, info, end.trained_s, Output(training, end), logged)
    except NoAnswerError as error:
        return unknown_ending(verdict, error.message)
    return verdict


def _believable(
    last_calls: LastCalls, ask: Callable[[], RunInfo | None], believed_after_s: float
) -> RunInfo | None:
    """Ask for a run; None when W&B says for so long, at every try, that there is none."""
    until = time.monotonic() + believed_after_s
    while True:
        found = last_calls.call(ask)
        if found is not None or time.monotonic() >= until:
            return found
        if not last_calls.rest(min(believed_after_s / 10, until - time.monotonic())):
            raise NoAnswerError(
                "W&B says that there is no such run, and there is no time to ask on"
            )


def _name_host(client: WandbClient, sweep: AssignedSweep, run: AssignedRun, host: str) -> None:
    """Store a run's host, as `wandb.init` does; before its end, which this would undo."""
    client.graphql(
        "mutation UpsertBucket($name: String, $project: String, $entity: String, $host: String) {"
        " upsertBucket(input: {name: $name, modelName: $project, entityName: $entity,"
        " host: $host}) { bucket { id } } }",
        {"name": run.id, "project": sweep.project, "entity": sweep.entity, "host": host},
    )


def _may_lag(sweep: AssignedSweep, end: TrainerEnd, info: RunInfo | None) -> bool:
    return (
        info is not None
        and info.is_started
        and end.exit_code == 0
        and end.intervention is Intervention.NONE
        and sweep.metric is not None
        and read_metric(info.summary, sweep.metric).is_missing
    )


def _logged(
    client: WandbClient,
    last_calls: LastCalls,
    training: Training,
    end: TrainerEnd,
    info: RunInfo,
) -> dict[str, object]:
    """Read the metric from a run's history when its summary lacks it.

    `define_metric(…, summary="none")` keeps it out. What is not asked for can change no verdict.
    """
    sweep = training.sweep
    name = sweep.metric
    is_good = end.exit_code == 0 and end.intervention is Intervention.NONE
    if name is None or not (is_good or training.evidence.proves_end()):
        return {}
    if not (info.is_started or info.summary) or not read_metric(info.summary, name).is_missing:
        return {}
    place = (sweep.entity, sweep.project, info.id)
    value = last_calls.call(lambda: last_logged(client, place, name))
    return {} if value is None else {name: value}


def _facts(
    training: Training,
    end: TrainerEnd,
    info: RunInfo | None,
    logged: Mapping[str, object],
    silence: str | None,
    attempts: int,
) -> Facts:
    return Facts(
        program=training.resolved.argv[0] if training.resolved.argv else "",
        exit_code=end.exit_code,
        start_error=end.start_error,
        node_error=end.node_error,
        intervention=end.intervention,
        complaint=end.complaint,
        has_shown_end=training.evidence.shows_end(),
        has_proven_end=training.evidence.proves_end(),
        unverified=end.unverified,
        settings_required=training.settings_required,
        disk_full=end.disk_full,
        undying=end.undying,
        metric=training.sweep.metric,
        goal=training.sweep.goal,
        silence=silence,
        summary={**info.summary, **logged} if info else None,
        is_started=info.is_started if info else False,
        has_saved=end.has_saved,
        attempts=attempts,
        last_line=training.evidence.last_line,
        advice=training.advice(),
        unlogged=str(training.resolved.unlogged) if training.resolved.unlogged else None,
    )
