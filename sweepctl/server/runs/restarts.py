"""What becomes of a run's lines when its trainer starts anew: the first history line tells.

A trainer that says that it resumes continues the numbers of the lines. One that does not either
begins the run again, at a step that was there before, or is the next segment of a run that went on
elsewhere, which W&B's client up to 0.29 sends by `wandb sync` as if it were alone: each counts its
lines from 0. Until that is known, its lines are kept after those that are there.
"""

from __future__ import annotations

from sweepctl.server.runs.messages import StreamMessage
from sweepctl.server.store import lines, run_store, summary_store, writers
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import Rows


def writer_now(tx: Rows, run: Run, message: StreamMessage) -> int | None:
    """Give the writer whose lines a message brings; None for one that numbers the run's own."""
    if message.writer:
        return writers.writer_of(tx, run.pk, message.writer)
    return writers.segment_of(tx, run.pk)


def settled(tx: Rows, run: Run, message: StreamMessage, now: float) -> Run:
    """Decide about the lines of a run whose trainer started anew, as soon as a message tells."""
    if not run.is_restarted:
        return run
    blocks = {name: block for name, block in message.files.items() if block[1]}
    history = blocks.get(lines.HISTORY)
    is_continued = _is_continued(tx, run, blocks)
    if message.writer is None and not history and not is_continued:
        if blocks:
            writers.begin_segment(tx, run.pk)
        return run
    fields: dict[str, object] = {"is_restarted": 0}
    if is_continued:
        # Older clients resume without saying so at their start.
        writers.end_segment(tx, run.pk)
    elif message.writer is None and history and lines.step_in(history[1][0]) > run.last_step:
        writers.begin_segment(tx, run.pk)
    elif any(lines.count(tx, run.pk, name) for name in blocks if name != lines.SUMMARY):
        writers.keep_segment_alone(tx, run.pk)
        summary_store.write_summary(tx, run.pk, "{}")
        fields |= {"last_step": -1, "history_keys": "{}"}
    else:
        return run
    run_store.update_run(tx, run.pk, fields, now)
    return run_store.run_by_pk(tx, run.pk)


def _is_continued(tx: Rows, run: Run, blocks: dict[str, tuple[int, list[str]]]) -> bool:
    """Say whether a message goes on with lines of the run that its sender knows to be there."""
    return any(
        offset > 0 and not writers.has_segment_of(tx, run.pk, name)
        for name, (offset, _) in blocks.items()
        if name in lines.STREAMS
    )
