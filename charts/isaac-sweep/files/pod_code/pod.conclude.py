"""Telling W&B what became of a run: what to ask, what the verdict is, what to post.

The order matters: the mark `preempting` comes before the exit record that it gives its meaning, and
nothing is posted that the trainer's own SDK has said already.
"""

from __future__ import annotations

from collections.abc import Callable

from sweepctl.pod.calls import Bell, Call
from sweepctl.pod.run import End, RunTask, SweepTask, Training
from sweepctl.pod.verdict import Ending, Facts, Intervention, Verdict, judge
from sweepctl.wandb_http import RunInfo, WandbClient
from sweepctl.wandb_summary import read_metric

Look = Call["RunInfo | None"]

_LAG_S = (0.5, 1.0, 2.0, 4.0)
"""When a summary without the metric is asked for again: W&B stores what it was sent a bit later."""
_LIVE = ("pending", "running", "preempting")


def look(client: WandbClient, sweep: SweepTask, run: RunTask, bell: Bell) -> Look:
    """Begin to ask what W&B knows of a run, while there is other work to do at its end."""
    return Call(lambda: client.run(sweep.entity, sweep.project, run.id), bell)


def conclude(
    client: WandbClient,
    call: Callable[[Callable[[], object]], object],
    sleep: Callable[[float], None],
    sweep: SweepTask,
    training: Training,
    end: End,
    looks: list[Look],
    attempts: int,
) -> Verdict:
    """Judge a run and tell W&B; `call` makes an API call with the caller's patience.

    `looks` are questions begun before the trainer's end was complete: used first, then asked anew.
    """
    run = training.run

    answered = False

    def ask_once() -> object:
        nonlocal answered
        begun = looks.pop() if looks else None
        if begun is not None and begun.wait(client.timeout_s):
            found = begun.result()
        else:
            found = client.run(sweep.entity, sweep.project, run.id)
        answered = True
        return found

    def ask() -> RunInfo | None:
        found = call(ask_once)
        return found if isinstance(found, RunInfo) else None

    info = ask()
    if info is None and answered:
        return Verdict(Ending.STOPPED, "it was deleted at W&B", 0)
    for lag_s in _LAG_S:
        if not _may_lag(sweep, end, info):
            break
        sleep(lag_s)
        info = ask()
    verdict = judge(_facts(sweep, training, end, info, attempts))
    tell(client, call, sweep, run, verdict, info)
    return verdict


def tell(
    client: WandbClient,
    call: Callable[[Callable[[], object]], object],
    sweep: SweepTask,
    run: RunTask,
    verdict: Verdict,
    info: RunInfo | None,
) -> None:
    """Post what W&B does not know yet about the run's end."""
    place = (sweep.entity, sweep.project, run.id)
    state = info.state if info else "running"
    if verdict.ending is Ending.HANDED_BACK:
        call(lambda: client.mark_preempting(*place, run.attempt))
    elif verdict.ending.value == state or (verdict.ending is Ending.STOPPED and state not in _LIVE):
        return
    call(lambda: client.post_exit_code(*place, verdict.exit_code, run.attempt))


def _may_lag(sweep: SweepTask, end: End, info: RunInfo | None) -> bool:
    return (
        info is not None
        and info.is_started
        and end.exit_code == 0
        and end.intervention is Intervention.NONE
        and sweep.metric is not None
        and read_metric(info.summary, sweep.metric).is_missing
    )


def _facts(
    sweep: SweepTask, training: Training, end: End, info: RunInfo | None, attempts: int
) -> Facts:
    trainer = training.resolved.trainer
    return Facts(
        program=training.resolved.argv[0] if training.resolved.argv else "",
        exit_code=end.exit_code,
        start_error=end.start_error,
        intervention=end.intervention,
        complaint=end.complaint,
        shows_its_end=trainer.shows_its_end,
        has_shown_end=training.evidence.shows_end(),
        disk_full=end.disk_full,
        undying=end.undying,
        metric=sweep.metric,
        goal=sweep.goal,
        summary=info.summary if info else None,
        is_started=info.is_started if info else False,
        attempts=attempts,
        last_line=training.evidence.last_line,
    )
