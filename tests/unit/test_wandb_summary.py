"""The one reader of a metric, the agent's reason in a summary, and how long a run took."""

import json
import math
from typing import Any

import pytest

from sweepctl_pod.wandb.summary import (
    REASON_KEY,
    MetricKind,
    duration_s,
    metric_keys,
    metric_trouble,
    read_metric,
    reason_of,
    with_reason,
)

HISTOGRAM = {"_type": "histogram", "values": [1, 0], "bins": [1, 2, 3]}


@pytest.mark.parametrize(
    ("summary", "name", "goal", "number"),
    [
        ({"loss": 1.5}, "loss", "minimize", 1.5),
        ({"loss": 2}, "loss", "minimize", 2.0),
        ({"loss": 0}, "loss", "minimize", 0.0),
        ({"Train/mean_reward": 0.25}, "Train/mean_reward", "maximize", 0.25),
        ({"a": {"b": 3.0}}, "a.b", "minimize", 3.0),
        ({"a": {"b": {"max": 3.0}}}, "a.b", "maximize", 3.0),
        ({"a.b": 1.0, "a": {"b": 3.0}}, "a.b", "minimize", 1.0),
        ({"a.b": None, "a": {"b": 3.0}}, "a.b", "minimize", 3.0),
        ({"a": {"max": 9}}, "a.max", "maximize", 9.0),
        ({"loss": {"min": 1, "max": 9}}, "loss", "maximize", 9.0),
        ({"loss": {"min": 1, "max": 9}}, "loss", "minimize", 1.0),
        ({"loss": {"last": 3, "max": 9, "min": 1, "mean": 4.3}}, "loss", "maximize", 3.0),
        ({"loss": {"best": 9, "last": 3}}, "loss", None, 9.0),
        ({"loss": {"mean": 4.5}}, "loss", "maximize", 4.5),
        ({"loss": 10**30}, "loss", "minimize", 1e30),
    ],
    ids=str,
)
def test_number_is_read_as_the_client_writes_it(
    summary: dict[str, Any], name: str, goal: str | None, number: float
) -> None:
    reading = read_metric(summary, name, goal)
    assert (reading.kind, reading.number, reading.instead) == (MetricKind.NUMBER, number, None)
    assert metric_trouble(summary, name, reading) is None


@pytest.mark.parametrize(
    ("summary", "kind", "instead", "trouble"),
    [
        ({}, MetricKind.MISSING, None, None),
        ({"loss": None}, MetricKind.MISSING, None, None),
        ({"loss": {}}, MetricKind.MISSING, None, None),
        ({"loss": math.nan, "_step": 4}, MetricKind.NAN, "NaN", "is NaN at step 4: the training"),
        ({"loss": "NaN"}, MetricKind.NAN, "NaN", "is NaN: the training diverged"),
        ({"loss": {"max": math.nan, "min": "NaN"}}, MetricKind.NAN, "NaN", "is NaN"),
        ({"loss": "Infinity"}, MetricKind.INFINITE, "Infinity", "is Infinity: "),
        ({"loss": -math.inf, "_step": 0}, MetricKind.INFINITE, "-Infinity", "-Infinity at step 0"),
        ({"loss": 10**400}, MetricKind.INFINITE, "Infinity", "is Infinity"),
        ({"loss": "7.5"}, MetricKind.OTHER, '"7.5"', 'is the text "7.5", no number: log float(…)'),
        ({"loss": ""}, MetricKind.OTHER, '""', "is the text"),
        ({"loss": True}, MetricKind.OTHER, "true", "is true, no number: log 1.0 or 0.0"),
        ({"loss": [3.5, 1]}, MetricKind.OTHER, "[3.5, 1]", "is [3.5, 1], no number"),
        ({"loss": {"knee": 1.0}}, MetricKind.OTHER, '{"knee": 1.0}', "metric.name: loss.knee"),
        ({"loss": HISTOGRAM}, MetricKind.OTHER, None, "is a map, no number: log a number"),
    ],
    ids=str,
)
def test_what_is_no_number_is_told_as_what_it_is(
    summary: dict[str, Any], kind: MetricKind, instead: str | None, trouble: str | None
) -> None:
    reading = read_metric(summary, "loss")
    assert (reading.kind, reading.number) == (kind, None)
    assert instead is None or reading.instead == instead
    said = metric_trouble(summary, "loss", reading)
    assert said is None if trouble is None else trouble in (said or "")


def test_metric_stands_under_one_of_its_keys() -> None:
    assert set(metric_keys("a.b")) == {
        "a.b",
        *(f"a.b.{k}" for k in ["best", "last", "min", "max", "mean"]),
    }


def test_reason_keeps_what_the_trainer_logged_and_comes_once() -> None:
    logged = {"loss": math.nan, "a": {"b": 1}, "_runtime": 7, "_wandb": {"runtime": 8}}
    told = with_reason(logged, "boom", trained_s=12.4)
    assert told == {**logged, REASON_KEY: "boom"}
    assert with_reason(told, "boom", trained_s=99) == told
    assert reason_of(told) == "boom"
    assert with_reason(told, None, trained_s=1) == logged
    assert len(with_reason({}, "x" * 10_000, 0)[REASON_KEY]) == 2000
    json.dumps(told)


@pytest.mark.parametrize(
    ("summary", "is_live", "duration"),
    [
        pytest.param({}, False, 60.0, id="never-logged: until it was last heard of"),
        pytest.param({}, True, 100.0, id="under-way: until now"),
        pytest.param({"_runtime": 12.5}, False, 12.5, id="by-its-own-reckoning"),
        pytest.param({"_runtime": 12, "_wandb": {"runtime": 15}}, False, 15.0, id="its-last-word"),
        pytest.param({"_runtime": 12.0, "_timestamp": 1090}, True, 22.0, id="and-what-came-since"),
        pytest.param({"_runtime": "12", "_wandb": 3}, False, 60.0, id="nonsense"),
    ],
)
def test_duration_is_what_the_trainer_says_else_what_the_server_saw(
    summary: dict[str, Any], is_live: bool, duration: float
) -> None:
    told = duration_s(summary, is_live=is_live, created_s=1000, heard_s=1060, now_s=1100)
    assert told == duration


def test_reason_of_a_run_that_never_logged_tells_how_long_it_trained() -> None:
    told = with_reason({}, "no file", trained_s=3.6)
    assert duration_s(told, is_live=False, created_s=0, heard_s=900, now_s=1000) == 4.0
