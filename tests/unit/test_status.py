"""What a sweep is doing: metric values, ranking, changes, ages."""

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from sweepctl.search.metric import Metric
from sweepctl.sweeps.progress import Phase
from sweepctl.sweeps.status import by_interest, changes, metric_of, ranked, sweep_status
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.wandb.client import RunInfo, SweepInfo
from sweepctl_pod.wandb.summary import REASON_KEY

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


@pytest.mark.parametrize(
    ("state", "summary", "exit_code", "reason"),
    [
        ("failed", {REASON_KEY: "boom"}, 1, "boom"),
        ("failed", {}, 3, "the trainer ended with exit code 3"),
        ("crashed", {}, None, "nothing was heard of it any more"),
        ("preempted", {REASON_KEY: "killed, attempt 1 of 3"}, 137, "killed, attempt 1 of 3"),
        ("running", {REASON_KEY: "of an earlier attempt"}, None, None),
        ("finished", {REASON_KEY: "of an earlier attempt"}, 0, None),
        ("killed", {}, None, None),
    ],
)
def test_reason_is_the_agents_else_what_the_server_knows(
    state: str, summary: dict[str, Any], exit_code: int | None, reason: str | None
) -> None:
    runs = [run("r1", state, summary=summary, exit_code=exit_code)]
    (row,) = sweep_status(sweep(), CONFIG, runs, NOW).runs
    assert row.reason == reason


def test_a_run_that_failed_before_it_began_says_so() -> None:
    runs = [run("r1", "failed", is_started=False)]
    (row,) = sweep_status(sweep(), CONFIG, runs, NOW).runs
    assert row.reason is not None
    assert "never came to wandb.init" in row.reason


def test_row_tells_what_was_logged_in_place_of_a_number_and_how_long_it_took() -> None:
    summary = {"reward": "NaN", "_wandb": {"runtime": 17}}
    runs = [run("r1", summary=summary), run("r2", heartbeat_at="2026-05-01T12:00:12Z")]
    first, second = sweep_status(sweep(), CONFIG, runs, NOW).runs
    assert (first.metric, first.metric_instead, first.duration_s) == (None, "NaN", 17.0)
    assert (second.metric, second.metric_instead, second.duration_s) == (None, None, 10.0)


def test_changes_are_new_runs_and_new_states() -> None:
    before = sweep_status(sweep(), CONFIG, [run("r1", "running"), run("r2", "running")], NOW)
    after = sweep_status(
        sweep(), CONFIG, [run("r1", "running"), run("r2"), run("r3", "pending")], NOW
    )
    assert [row.id for row in changes(None, before)] == ["r1", "r2"]
    assert [row.id for row in changes(before, after)] == ["r2", "r3"]
    assert changes(after, after) == []


def test_who_watches_sees_runs_under_way_then_the_best_then_the_newest_of_the_others() -> None:
    runs = [
        run("r1", "failed"),
        run("r2", summary={"reward": 1.0}),
        run("r3", "preempted"),
        run("r4", summary={"reward": 2.0}),
        run("r5", "running"),
        run("r6"),
        run("r7", "pending"),
    ]
    rows = by_interest(sweep_status(sweep(), CONFIG, runs, NOW))
    assert [row.id for row in rows] == ["r5", "r7", "r3", "r4", "r2", "r6", "r1"]


def test_a_row_tells_how_long_and_how_far_and_only_the_sweeps_own_parameters() -> None:
    config = {
        **CONFIG,
        "command": ["isaaclab", "train", "--max_iterations", "9"],
        "parameters": {"a.b": {"min": 0.0, "max": 1.0}, "c": {"value": 3}},
    }
    given = {"a.b": 0.5, "c": 3, "env_cfg": {"scene": {}}, "train_cfg": {"max_iterations": 8}}
    runs = [
        run("r1", config=given, summary={"_step": 7}, heartbeat_at="2026-05-01T12:00:21"),
        run("r2", "running", config=given, summary={"_step": 3}),
        run("r3", "failed"),
    ]
    status = sweep_status(replace(sweep(), run_count_expected=6), config, runs, NOW)
    first, second, third = status.runs
    assert (first.duration_s, first.done, first.steps, first.phase) == (20.0, 8, 8, None)
    assert (second.duration_s, second.done, second.phase) == (28.0, 4, Phase.TRAINING)
    assert third.duration_s is None
    assert first.parameters == {"a.b": 0.5, "c": 3}
    assert status.searched == ("a.b",)
    assert (status.ended_count, status.expected, status.eta_s) == (2, 6, 60.0)


def test_the_end_of_a_sweep_that_does_not_run_or_has_no_end_is_unknown() -> None:
    runs = [run("r1", heartbeat_at="2026-05-01T12:00:21"), run("r2", "running")]
    known = replace(sweep(), run_count_expected=9)
    for found in (replace(known, state="PAUSED"), replace(known, state="FINISHED"), sweep()):
        assert sweep_status(found, {**CONFIG, "run_cap": None}, runs, NOW).eta_s is None
