"""What the records of runs tell people: read at once or run by run, and who has taken a run up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sweepctl.jobs.agents import job_status
from sweepctl.jobs.handed_on import handed_on
from sweepctl.sweeps.records import MOST_ASKED, RecordReader
from sweepctl.sweeps.status import RunRow, SweepStatus
from sweepctl_pod.run_record import Attempt, RunRecord
from sweepctl_pod.wandb.client import ApiError
from tests.unit.kubernetes_objects import NOW, job, pod

HOST = "legs-1a2b3c4d-"


def row(run: str, state: str = "running", *attempts: Attempt) -> RunRow:
    record = RunRecord((), "", "h", 1, attempts=attempts) if attempts else None
    return RunRow(run, state, None, None, 5, 10.0, {}, record=record)


def status(*rows: RunRow) -> SweepStatus:
    return SweepStatus("e/p/s", None, "RUNNING", "random", None, None, rows)


class Source:
    """A source of records that counts what it is asked."""

    def __init__(self, at_once: dict[str, RunRecord] | None) -> None:
        self.at_once = at_once
        self.asked: list[str] = []
        self.broken: set[str] = set()

    def run_records(self, _: str) -> dict[str, RunRecord] | None:
        if "all" in self.broken:
            raise ApiError("nobody answers")
        return self.at_once

    def run_record(self, _: str, run: str) -> RunRecord | None:
        self.asked.append(run)
        if run in self.broken:
            raise ApiError("nobody answers")
        return RunRecord((run,), "", "h", 1)


def test_records_that_come_at_once_are_not_asked_for_one_by_one() -> None:
    source: Any = Source({"b": RunRecord(("x",), "", "h", 2)})
    seen = RecordReader().add_to(status(row("a"), row("b")), source)
    assert [each.record is not None for each in seen.runs] == [False, True]
    assert source.asked == []


def test_at_wandb_a_run_is_asked_for_again_only_when_something_can_have_changed() -> None:
    source: Any = Source(None)
    now = [0.0]
    reader = RecordReader(lambda: now[0])
    before = status(row("a", "finished"), row("b"), row("c", "pending"))
    seen = reader.add_to(before, source)
    assert [each.record.argv if each.record else None for each in seen.runs] == [
        *(("a",), ("b",), None),
    ]
    assert sorted(source.asked) == ["a", "b"]
    reader.add_to(before, source)
    assert len(source.asked) == 2
    now[0] = 61.0
    reader.add_to(before, source)
    assert source.asked[2:] == ["b"]
    reader.add_to(status(row("a", "finished"), row("b", "finished")), source)
    assert source.asked[3:] == ["b"]


def test_at_wandb_no_more_runs_are_asked_for_than_it_bears_those_under_way_first() -> None:
    source: Any = Source(None)
    rows = [row(f"old-{number}", "failed") for number in range(100)]
    RecordReader().add_to(status(*rows, row("now")), source)
    assert len(source.asked) == MOST_ASKED
    assert "now" in source.asked


def test_a_record_that_cannot_be_had_leaves_the_rest_of_the_picture() -> None:
    source: Any = Source(None)
    source.broken = {"a"}
    seen = RecordReader().add_to(status(row("a"), row("b")), source)
    assert [each.record is not None for each in seen.runs] == [False, True]
    source.broken = {"all"}
    whole = status(row("a"))
    assert RecordReader().add_to(whole, source) == whole


LOST = Attempt(1, f"{HOST}3", began_at=10.0, ended_by="silence")


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        (
            [row("x", "running", LOST, Attempt(2, f"{HOST}1", began_at=20.0))],
            "index 3 failed; its run x goes on at agent 1",
        ),
        (
            [row("x", "finished", LOST, Attempt(2, "another-job-0", began_at=20.0))],
            "index 3 failed; its run x was finished at agent another-job-0",
        ),
        (
            [row("x", "failed", LOST, Attempt(2, f"{HOST}1", began_at=20.0))],
            "index 3 failed; its run x is failed at agent 1",
        ),
        ([row("x", "crashed", LOST)], "index 3 failed; its run x waits for another agent"),
        (
            [
                row("early", "running", LOST, Attempt(2, f"{HOST}0", began_at=20.0)),
                row("x", "preempted", replace(LOST, began_at=15.0)),
            ],
            "index 3 failed; its run x waits for another agent",
        ),
        ([row("x", "running")], None),
    ],
    ids=["goes on", "in another Job", "failed there", "nobody has it", "the last one", "untold"],
)
def test_whose_index_failed_is_told_where_the_run_goes_on(
    runs: list[RunRow], said: str | None
) -> None:
    sent = job(4, failedIndexes="3")
    seen = job_status("legs", sent, [pod(0), pod(1), pod(2)], runs, NOW)
    assert [each.text() for each in handed_on(seen, runs)] == ([said] if said else [])


def test_an_index_that_did_not_fail_has_handed_nothing_on() -> None:
    runs = [row("x", "running", LOST, Attempt(2, f"{HOST}1", began_at=20.0))]
    seen = job_status("legs", job(4), [pod(3)], runs, NOW)
    assert handed_on(seen, runs) == []
