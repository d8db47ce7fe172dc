"""What a sweep is doing: metric values, ranking, changes, ages."""

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from sweepctl.errors import ExitCode
from sweepctl.status import (
    Metric,
    changes,
    metric_of,
    metric_value,
    ranked,
    sweep_status,
)
from sweepctl.wandb_http import RunInfo, SweepInfo

NOW = datetime(2026, 5, 1, 12, 0, 30, tzinfo=timezone.utc)
CONFIG = {"method": "random", "metric": {"name": "reward", "goal": "maximize"}, "run_cap": 4}


def sweep() -> SweepInfo:
    return SweepInfo(
        entity="local",
        project="legs",
        id="s1",
        node_id="n",
        state="RUNNING",
        method="random",
        config_text="",
        description=None,
        display_name="Legs",
        created_at=None,
        run_count=None,
        run_count_expected=None,
    )


def run(run_id: str, state: str = "finished", **fields: Any) -> RunInfo:
    form: dict[str, Any] = {
        "node_id": "n",
        "display_name": None,
        "config": {},
        "summary": {},
        "created_at": f"2026-05-01T12:00:0{run_id[-1]}",
        "heartbeat_at": None,
        "sweep_id": "s1",
        "is_started": True,
        "host": "host-0",
        "exit_code": None,
        **fields,
    }
    return RunInfo(id=run_id, state=state, **form)


@pytest.mark.parametrize(
    ("summary", "name", "value"),
    [
        ({"reward": 1.5}, "reward", 1.5),
        ({"reward": 2}, "reward", 2.0),
        ({"Train/mean_reward": 0.25}, "Train/mean_reward", 0.25),
        ({"a": {"b": 3.0}}, "a.b", 3.0),
        ({"a.b": 1.0, "a": {"b": 3.0}}, "a.b", 1.0),
        ({"reward": {"min": 0.5}}, "reward", 0.5),
        ({}, "reward", None),
        ({"reward": "NaN"}, "reward", None),
        ({"reward": float("nan")}, "reward", None),
        ({"reward": float("inf")}, "reward", None),
        ({"reward": True}, "reward", None),
        ({"reward": None}, "reward", None),
    ],
    ids=str,
)
def test_metric_is_read_as_wandb_writes_it(
    summary: dict[str, Any], name: str, value: float | None
) -> None:
    assert metric_value(summary, name) == value


@pytest.mark.parametrize(
    ("config", "metric"),
    [
        ({"metric": {"name": "loss"}}, Metric("loss", "minimize")),
        ({"metric": {"name": "r", "goal": "maximize"}}, Metric("r", "maximize")),
        ({"metric": {}}, None),
        ({}, None),
    ],
    ids=str,
)
def test_metric_defaults_to_minimize_as_in_wandb(
    config: dict[str, Any], metric: Metric | None
) -> None:
    assert metric_of(config) == metric


@pytest.mark.parametrize(
    ("goal", "order"), [("maximize", ["r2", "r1"]), ("minimize", ["r1", "r2"])]
)
def test_only_finished_runs_with_the_metric_are_ranked(goal: str, order: list[str]) -> None:
    config = {**CONFIG, "metric": {"name": "reward", "goal": goal}}
    runs = [
        run("r1", summary={"reward": 1.0}),
        run("r2", summary={"reward": 2.0}),
        run("r3", state="failed", summary={"reward": 9.0}),
        run("r4", state="running", summary={"reward": -9.0}),
        run("r5"),
    ]
    status = sweep_status(sweep(), config, runs, NOW)
    assert [row.id for row in ranked(status.runs, status.metric)] == order
    assert status.best is not None
    assert status.best.id == order[0]
    assert status.counts == {"finished": 3, "failed": 1, "running": 1}
    assert status.has_bad_ends


@pytest.mark.parametrize(
    ("state", "runs", "code"),
    [
        ("FINISHED", ["finished", "finished"], ExitCode.DONE),
        ("FINISHED", [], ExitCode.DONE),
        ("CANCELED", ["finished", "killed"], ExitCode.FAILED_RUNS),
        ("FINISHED", ["finished", "failed"], ExitCode.FAILED_RUNS),
        ("FINISHED", ["failed", "crashed"], ExitCode.FAILED_RUNS),
        ("FINISHED", ["finished", "running"], ExitCode.FAILED),
        ("FINISHED", ["failed", "preempted"], ExitCode.FAILED),
        ("RUNNING", ["finished"], ExitCode.FAILED),
        ("PAUSED", ["failed"], ExitCode.FAILED),
    ],
)
def test_the_exit_code_tells_failed_runs_from_a_sweep_that_has_not_ended(
    state: str, runs: list[str], code: ExitCode
) -> None:
    rows = [run(f"r{number}", state) for number, state in enumerate(runs, 1)]
    status = sweep_status(replace(sweep(), state=state), CONFIG, rows, NOW)
    assert status.exit_code is code
    assert status.has_ended == (code is not ExitCode.FAILED)


def test_runs_stand_in_the_order_of_their_creation_with_their_age() -> None:
    status = sweep_status(sweep(), CONFIG, [run("r2"), run("r1")], NOW)
    assert [(row.id, row.age_s) for row in status.runs] == [("r1", 29.0), ("r2", 28.0)]


def test_changes_are_new_runs_and_new_states() -> None:
    before = sweep_status(sweep(), CONFIG, [run("r1", "running"), run("r2", "running")], NOW)
    after = sweep_status(
        sweep(), CONFIG, [run("r1", "running"), run("r2"), run("r3", "pending")], NOW
    )
    assert [row.id for row in changes(None, before)] == ["r1", "r2"]
    assert [row.id for row in changes(before, after)] == ["r2", "r3"]
    assert changes(after, after) == []
