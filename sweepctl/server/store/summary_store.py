"""The summaries of runs, whole and by value, and the sweep's metric in them.

A summary is stored twice: as the text that the trainer sent, and as rows of its numbers and short
texts, so that SQL can order and filter by them.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweepctl.server.json_texts import parsed, storable
from sweepctl.server.store.run_store import OF_SWEEP
from sweepctl.server.store.sweep_store import IS_HELD, Rows, Sweep
from sweepctl_pod.wandb.states import RunState
from sweepctl_pod.wandb.summary import MetricReading, metric_keys, read_metric

_LARGEST = 10**308
"""A whole number from there on is in the text alone: no number of SQLite is as large."""


def write_summary(tx: Rows, run: int, text: str) -> None:
    """Store a run's summary, and its values for ordering and filtering."""
    old = dict(tx.execute("SELECT key, value FROM summary_values WHERE run = ?", (run,)).fetchall())
    new = dict(_flat(parsed(text, is_stored=True)))
    tx.execute("UPDATE runs SET summary = ? WHERE pk = ?", (text, run))
    gone = [(run, key) for key in old.keys() - new.keys()]
    tx.executemany("DELETE FROM summary_values WHERE run = ? AND key = ?", gone)
    changed = [(run, key, value) for key, value in new.items() if old.get(key) != value]
    tx.executemany("INSERT OR REPLACE INTO summary_values VALUES (?, ?, ?)", changed)


def summaries(rows: Rows, sweep: int) -> dict[int, dict[str, Any]]:
    """Give the summaries of a sweep's runs, by run."""
    query = f"SELECT pk, summary FROM runs WHERE {OF_SWEEP} AND summary != '{{}}'"
    return {pk: json.loads(text) for pk, text in rows.execute(query, (sweep, sweep))}


def metric_numbers(rows: Rows, sweep: Sweep) -> dict[int, float]:
    """Give the sweep's metric of its runs where it is a finite number, by run.

    A fraction under the metric's own name is the metric: only other summaries have to be read. What
    is stored as a whole number may have been a truth value.
    """
    if sweep.metric is None:
        return {}
    names = metric_keys(sweep.metric)
    of_sweep = f"(SELECT pk FROM runs WHERE {OF_SWEEP})"
    found = rows.execute(
        "SELECT run, key, value, typeof(value) FROM summary_values"
        f" WHERE key IN ({', '.join('?' * len(names))}) AND run IN {of_sweep} ORDER BY run",
        (*names, sweep.pk, sweep.pk),
    )
    numbers: dict[int, float] = {}
    unclear: list[int] = []
    for run, values in itertools.groupby(found, key=lambda row: int(row[0])):
        (_, key, value, kind), *more = values
        is_plain = key == sweep.metric and "." not in key and not more
        if is_plain and kind == "real" and math.isfinite(value):
            numbers[run] = value
        else:
            unclear.append(run)
    for run in unclear:
        number = metric_number(sweep, summary_of(rows, run))
        if number is not None:
            numbers[run] = number
    return numbers


def trainer_times(rows: Rows, sweep: int) -> dict[int, dict[str, Any]]:
    """Give how long the trainers of a sweep's runs say that they ran, and when, by run.

    They are the entries of the summary that say so.
    """
    query = (
        "SELECT pk, value FROM runs JOIN summary_values ON run = pk AND key = ?"
        f" WHERE {OF_SWEEP} AND (? OR {IS_HELD})"
    )
    told = rows.execute(query, ("_runtime", sweep, sweep, True))
    found: dict[int, dict[str, Any]] = {run: {"_runtime": value} for run, value in told}
    # When it spoke last tells of those alone how long they have run since.
    for run, value in rows.execute(query, ("_timestamp", sweep, sweep, False)):
        found.setdefault(run, {})["_timestamp"] = value
    return found


def summary_of(rows: Rows, run: int) -> dict[str, Any]:
    """Give the summary of a run; an empty one of a run that was deleted meanwhile."""
    row = rows.execute("SELECT summary FROM runs WHERE pk = ?", (run,)).fetchone()
    return dict(json.loads(row[0])) if row else {}


def summaries_of(rows: Rows, runs: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Give the summaries of some runs, by run."""
    query = "SELECT pk, summary FROM runs WHERE pk IN (SELECT value FROM json_each(?))"
    return {pk: json.loads(text) for pk, text in rows.execute(query, (json.dumps(runs),))}


def sweep_metric(sweep: Sweep, summary: Mapping[str, Any]) -> MetricReading | None:
    """Read the sweep's metric from the summary of a run; None when the sweep has no metric."""
    return read_metric(summary, sweep.metric, sweep.goal) if sweep.metric else None


def metric_number(sweep: Sweep, summary: Mapping[str, Any]) -> float | None:
    """Give the sweep's metric of a run where it is a finite number."""
    reading = sweep_metric(sweep, summary)
    return reading.number if reading else None


def best_loss(rows: Rows, sweep: Sweep, *, only_finished: bool = False) -> float | None:
    """Give the best value of the sweep's metric among its runs' summaries."""
    if sweep.metric is None:
        return None
    order, sign = ("DESC", 1) if sweep.goal == "maximize" else ("ASC", -1)
    names = metric_keys(sweep.metric)
    found = rows.execute(
        "SELECT value, summary FROM summary_values JOIN runs ON runs.pk = run"
        f" WHERE {OF_SWEEP} AND key IN ({', '.join('?' * len(names))})"
        " AND typeof(value) IN ('integer', 'real') AND (runs.state = ? OR NOT ?)"
        f" ORDER BY value {order}",
        (sweep.pk, sweep.pk, *names, RunState.FINISHED.value, only_finished),
    )
    best: float | None = None
    for value, summary in found:
        if best is not None and sign * value <= sign * best:
            break  # a metric is never better than the best of what stands under its keys
        number = metric_number(sweep, json.loads(summary))
        if number is not None and (best is None or sign * number > sign * best):
            best = number
    return best


def _flat(document: object, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Give the numbers and short texts of a summary by dotted key; W&B's own part is left out."""
    if not isinstance(document, Mapping) or depth > 8:
        return
    for name, value in document.items():
        key = storable(name)
        if key == "_wandb":
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.", depth + 1)
        elif isinstance(value, bool):
            yield f"{prefix}{key}", int(value)
        elif isinstance(value, int) and abs(value) >= 2**63:
            if abs(value) < _LARGEST:
                yield f"{prefix}{key}", float(value)
        elif (isinstance(value, int | float) and value == value) or (
            isinstance(value, str) and len(value) <= 200
        ):
            yield f"{prefix}{key}", storable(value) if isinstance(value, str) else value
