"""The texts of a page: a sweep's parameters, a run's values, why a run did not finish. Pure.

The parts of a scaled dictionary (X_cli_path, X_base_dict) and a kept type (X_type) are shown with
their parameter X, not as parameters.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweepctl.server.lifecycle import Limits
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.summary_store import sweep_metric
from sweepctl.server.store.sweep_store import Sweep
from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX
from sweepctl_pod.stored_form import part_owner
from sweepctl_pod.wandb.states import HELD_RUNS, RunState
from sweepctl_pod.wandb.summary import MetricReading, metric_trouble, reason_of, unverified_of

_MAX_VALUE = 300
_MAX_COLUMNS = 8
_SIGNAL_BASE = 128

Write = Callable[[object], str]
"""Gives a value as text, in one of the forms that a page has."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value as a page shows it."""

    text: str
    """In one line, cut where it is long."""
    whole: str | None
    """All of it, over several lines, where the text is cut."""


def parameters(given: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Value]]:
    """Give (name, what is searched) of each parameter, nested ones by their dotted names."""
    for name, config in sorted(given.items()):
        if "parameters" in config:
            yield from parameters(config["parameters"], f"{above}{name}.")
        elif above or part_owner(name, given) not in given:
            yield above + name, _value(partial(_searched_as, name, given))


def _searched_as(name: str, given: Mapping[str, Any], write: Write) -> str:
    config = given[name]
    if "value" in config:
        words = write(config["value"])
    elif "values" in config:
        words = "one of " + write(config["values"])
    else:
        rest = (f"{key} {value}" for key, value in config.items() if key != "distribution")
        words = f"{config.get('distribution', 'between')} " + ", ".join(rest)
    return words + _scales(name, given, write)


def searched(spec: Mapping[str, Any]) -> list[str]:
    """Name the parameters that differ between runs."""
    return all_searched(spec)[:_MAX_COLUMNS]


def form_of(spec: Mapping[str, Any], name: str) -> Any:
    """Give what a sweep's config says of a parameter, nested ones by their dotted names."""
    return _at(spec["parameters"], name, "parameters")


def setting_at(params: Mapping[str, Any], name: str) -> Any:
    """Give the value of a run's parameter, nested ones by their dotted names."""
    return params[name] if name in params else _at(params, name, None)


def all_searched(spec: Mapping[str, Any]) -> list[str]:
    """Name all parameters that differ between runs."""
    names = [name for name, _ in parameters(spec["parameters"])]
    return [name for name in names if not _is_constant(spec, name)]


def values(params: Mapping[str, Any]) -> dict[str, Value]:
    """Give what each parameter is in one run."""
    given = {name: {"value": value} for name, value in params.items()}
    return {
        name: _value(partial(_searched_as, name, given))
        for name in params
        if part_owner(name, given) not in given
    }


def value(value: object) -> Value:
    """Give a value of a run's config or summary."""
    return _value(lambda write: write(value))


def _value(words: Callable[[Write], str]) -> Value:
    text = words(_cut)
    return Value(text, None if text == words(_in_line) else words(_in_lines))


def values_at(params: Mapping[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """Give what the parameters of dotted names are in one run, in short; "" where one has none."""
    found = [_at(params, name, None) for name in names]
    return tuple(
        "" if value is None else short(value) if isinstance(value, float) else _cut(value)
        for value in found
    )


def _cut(value: object) -> str:
    text = _in_line(value)
    return text if len(text) <= _MAX_VALUE else text[:_MAX_VALUE] + "…"


def _in_line(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _in_lines(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def metric(reading: MetricReading | None) -> str:
    """Give a metric in short: its number, else what was logged in its place."""
    if reading is None:
        return ""
    return short(reading.number) if reading.number is not None else reading.instead or ""


def sweep_metric_trouble(sweep: Sweep | None, summary: Mapping[str, Any]) -> str | None:
    """Say what is wrong with what a run logged as its sweep's metric."""
    reading = None if sweep is None else sweep_metric(sweep, summary)
    if sweep is None or sweep.metric is None or reading is None:
        return None
    return metric_trouble(summary, sweep.metric, reading)


def short(value: float) -> str:
    """Write a number for people: six digits are enough."""
    return f"{value:.6g}"


def duration(seconds: float | None) -> str:
    """Write how long something took: 12 s, 3 min 4 s, 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def why_not_finished(
    run: Run, summary: Mapping[str, Any], limits: Limits, last_line: str = ""
) -> str | None:
    """Say why a run did not finish: the reason that its agent gave, else what the server knows.

    For a finished run: what could not be verified. None if there is nothing to say.
    """
    if run.state in HELD_RUNS:
        return None
    if run.state == RunState.FINISHED:
        return unverified_of(summary)
    said = reason_of(summary)
    is_handed_on = run.queued is not None or run.losses >= limits.attempts
    if said is not None and not is_handed_on:
        return said
    known = _why_as_known(run, limits, last_line)
    return f"{known}: {said}" if said and known else known or said


def _why_as_known(run: Run, limits: Limits, last_line: str) -> str | None:
    if run.state == RunState.KILLED:
        return "it was stopped, alone or with its sweep"
    if run.queued is not None and run.state == RunState.PREEMPTED:
        return "it was handed back; it waits to be taken again"
    if run.queued is not None and run.state == RunState.CRASHED:
        lost = "its agent fell silent" if run.is_silent else "its agent let it go"
        return f"{lost}; it waits to be taken again"
    if run.state == RunState.CRASHED:
        return "nothing was heard of it any more"
    if run.state != RunState.FAILED:
        return None
    if run.losses >= limits.attempts:
        return f"given up after {run.losses} attempts that were lost"
    if run.exit_code is None:
        if run.false_starts >= limits.false_starts:
            return f"given up: lost {run.false_starts} times in a row before its trainer began"
        return "its trainer ended before it began the run (it never came to wandb.init)"
    said = f"; its last line: {last_line}" if last_line else ""
    return f"the trainer ended with exit code {_exit_text(run.exit_code)}{said}"


def _exit_text(code: int) -> str:
    try:
        return f"{code} ({signal.Signals(code - _SIGNAL_BASE).name})"
    except ValueError:
        return str(code)


def _scales(name: str, given: Mapping[str, Any], write: Write) -> str:
    """Say what a scaled dictionary's factor multiplies; "" for any other parameter."""
    parts = (given.get(name + suffix) for suffix in (PATH_SUFFIX, TABLE_SUFFIX))
    path, table = (part.get("value") if isinstance(part, Mapping) else None for part in parts)
    return f"; scales {path}: {write(table)}" if path is not None and table is not None else ""


def _is_constant(spec: Mapping[str, Any], name: str) -> bool:
    config = _at(spec["parameters"], name, "parameters")
    return isinstance(config, Mapping) and "value" in config


def _at(place: Any, name: str, between: str | None) -> Any:
    """Find what a dotted name leads to; names of parameters may have dots themselves."""
    if not isinstance(place, Mapping):
        return None
    if name in place:
        return place[name]
    for key, inner in place.items():
        if name.startswith(f"{key}."):
            below = inner.get(between) if between and isinstance(inner, Mapping) else inner
            found = _at(below, name[len(key) + 1 :], between)
            if found is not None:
                return found
    return None
