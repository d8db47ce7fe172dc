"""Which runs are given back, and how at a server that has no operation for it, as W&B."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweepctl.sweeps.names import SweepName
from sweepctl.sweeps.retry import (
    NOT_TAKEN,
    OPENED,
    QUEUED,
    RETRIED,
    UNCHANGED,
    Retry,
    retry_runs,
    runs_to_retry,
)
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.run_record import Attempt, Claim, RunRecord
from sweepctl_pod.wandb.client import ApiError, RunInfo, SweepInfo
from tests.unit.test_cli_verbs import run_info, sweep_info

SWEEP = sweep_info()


def run(id: str, state: str) -> RunInfo:
    return replace(run_info(id), state=state)


RUNS = [
    run("a", "finished"),
    run("b", "failed"),
    run("c", "crashed"),
    run("d", "running"),
    run("e", "killed"),
    run("f", "failed"),
]


@pytest.mark.parametrize(
    ("named", "states", "chosen"),
    [
        ([], RETRIED, "bcf"),
        ([], ["failed"], "bf"),
        ([], ["crashed"], "c"),
        (["f", "b", "f"], RETRIED, "fb"),
        (["e"], RETRIED, "e"),
    ],
    ids=["all", "failed", "crashed", "named", "somebody killed it"],
)
def test_runs_are_chosen_by_name_or_by_how_they_ended(
    named: list[str], states: list[str], chosen: str
) -> None:
    assert "".join(each.id for each in runs_to_retry(SWEEP, RUNS, named, states)) == chosen


def test_a_run_that_has_not_ended_badly_is_refused_with_its_state() -> None:
    with pytest.raises(UsageError, match="run a is finished; run d is running"):
        runs_to_retry(SWEEP, RUNS, ["a", "b", "d"], RETRIED)
    with pytest.raises(SweepctlError, match="has no run z") as unknown:
        runs_to_retry(SWEEP, RUNS, ["z"], RETRIED)
    assert unknown.value.hint == "those that have ended badly: b, c, e, f"


class Cloud:
    """A server that has no operation of its own for it, and takes a run back or does not."""

    def __init__(self, sweep: SweepInfo, *, takes: bool = True) -> None:
        self.info = sweep
        self.takes = takes
        self.done: list[str] = []
        self.states = {each.id: each.state for each in RUNS}
        self.written: dict[str, RunRecord] = {}
        self.known: RunRecord | None = RunRecord(("train", "a b"), "literal", "h", 1)

    def sweep(self, *_: str) -> SweepInfo:
        return self.info

    def runs(self, _: SweepInfo) -> list[RunInfo]:
        return [run(id, state) for id, state in self.states.items()]

    def run(self, _: SweepInfo, id: str) -> RunInfo:
        return run(id, self.states[id])

    def retry_run(self, given: RunInfo) -> bool | None:
        return None

    def run_record(self, _: str, id: str) -> RunRecord | None:
        return self.known

    def write_record(self, _: SweepInfo, id: str, record: RunRecord) -> None:
        self.written[id] = record

    def set_state(self, _: SweepInfo, state: str) -> None:
        self.done.append(state)

    def open_run(self, given: RunInfo) -> None:
        self.done.append(f"open {given.id}")
        self.states[given.id] = "running"

    def hand_back(self, _: SweepInfo, given: RunInfo) -> None:
        self.done.append(given.id)
        self.states[given.id] = "preempted" if self.takes else "failed"


def retried(api: Any, *named: str, is_dry: bool = False) -> Retry:
    name = SweepName("e", "p", "s1")
    slept: list[float] = []
    return retry_runs(
        api, name, named, RETRIED, is_dry=is_dry, sleep=slept.append, now=lambda: 77.0
    )


def test_at_wandb_a_run_is_handed_back_as_its_agent_would_and_its_record_asks_for_it() -> None:
    cloud = Cloud(SWEEP)
    done = retried(cloud, "b")
    assert [(each.run, each.was, each.result) for each in done.runs] == [("b", "failed", QUEUED)]
    assert cloud.done == ["open b", "b"]
    assert cloud.written["b"].retry_asked_at == 77.0


def test_a_finished_sweep_is_opened_as_well() -> None:
    cloud = Cloud(replace(SWEEP, state="FINISHED", run_count=6, run_count_expected=6))
    retried(cloud, "b")
    assert cloud.done == ["open b", "b", "RUNNING"]


def test_what_wandb_does_not_queue_is_left_open_for_the_agents_that_have_a_claim_in_it() -> None:
    cloud = Cloud(SWEEP, takes=False)
    cloud.known = RunRecord(("train",), "", "h", 1, (Claim("h/a", 1, 5.0),))
    done = retried(cloud, "b")
    assert [each.result for each in done.runs] == [OPENED]
    assert cloud.done == ["open b", "b", "open b"]
    assert done.notes == (
        "W&B queued none that is opened: an agent that is there in 10 min takes it up",
    )


def test_a_run_is_not_taken_from_an_agent_that_may_only_be_cut_off() -> None:
    cloud = Cloud(SWEEP)
    attempt = Attempt(1, "h", began_at=5.0)
    cloud.known = RunRecord(("train",), "", "h", 1, (Claim("h/a", 1, 37.0),), (attempt,))
    (each,) = retried(cloud, "c").runs
    assert each.result == NOT_TAKEN
    assert each.why == "agent h has renewed its claim 40 s ago: it may still train it"
    assert cloud.done == []


@pytest.mark.parametrize(
    ("state", "count", "expected", "why"),
    [
        ("FINISHED", 3, 6, "was stopped with runs left"),
        ("FINISHED", 3, None, "was stopped with runs left"),
        ("CANCELED", 6, 6, "is CANCELED: it hands out no run any more"),
    ],
    ids=["runs are left", "there is no end to them", "cancelled"],
)
def test_a_sweep_that_somebody_ended_is_not_opened(
    state: str, count: int, expected: int | None, why: str
) -> None:
    cloud = Cloud(replace(SWEEP, state=state, run_count=count, run_count_expected=expected))
    (each,) = retried(cloud, "b").runs
    assert each.result == NOT_TAKEN
    assert why in (each.why or "")
    assert cloud.done == []


def test_what_the_server_leaves_as_it_is_is_told_with_the_command_to_type() -> None:
    done = retried(Cloud(SWEEP, takes=False))
    assert [each.run for each in done.not_taken] == ["b", "c", "f"]
    assert done.not_taken[0].command == ("train", "a b")
    assert "W&B shows it as failed" in (done.not_taken[0].why or "")


def test_a_dry_run_changes_nothing() -> None:
    cloud = Cloud(SWEEP)
    assert [each.run for each in retried(cloud, is_dry=True).runs] == ["b", "c", "f"]
    assert (cloud.done, cloud.written) == ([], {})


def test_the_embedded_servers_own_word_counts_and_one_refusal_does_not_end_the_others() -> None:
    class Embedded(Cloud):
        def retry_run(self, given: RunInfo) -> bool | None:
            if given.id == "c":
                raise ApiError("run c is crashed, and its agent still has it", status=400)
            return given.id == "b"

    cloud = Embedded(SWEEP)
    done = retried(cloud)
    assert [each.result for each in done.runs] == [QUEUED, NOT_TAKEN, UNCHANGED]
    assert cloud.done == []


def test_an_older_sweepctl_server_is_named_as_such() -> None:
    cloud = Cloud(replace(SWEEP, entity="local"))
    (each,) = retried(cloud, "b").runs
    assert each.why == "this sweepctl server is of a version that gives no runs back"
    assert cloud.done == []


def test_losses_from_before_a_run_was_given_back_count_no_more() -> None:
    lost = tuple(
        Attempt(number, "h", began_at=10.0 * number, ended_by="SIGKILL") for number in (1, 2, 3)
    )
    record = RunRecord(("train",), "literal", "h", 3, attempts=lost)
    assert record.losses == 3
    asked = replace(record, retry_asked_at=35.0)
    assert asked.losses == 0
    begun = asked.with_attempt(Attempt(4, "h", began_at=40.0, ended_by="SIGKILL"))
    assert begun.losses == 1
