"""The phases of attempts, as figures are made of them: of records of all versions, and odd ones."""

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepctl.figures import RunFacts, SweepFacts, fleet_timeline, gpu_hours, tries_of
from sweepctl.figures.phases import spans_of, waits_of
from sweepctl_pod.run_record import Attempt, RunRecord, read_record

WHOLE = Attempt(
    *(1, "legs-0"),
    agent="legs-0/a",
    began_at=100.0,
    ended_at=1000.0,
    ended_by="finished",
    first=0,
    last=9,
    waited_from=40.0,
    started_at=110.0,
    trained_from=200.0,
    trained_until=950.0,
    gpus=2,
    gpu="NVIDIA L40S",
)
OLD = replace(
    WHOLE, waited_from=None, started_at=None, trained_from=None, trained_until=None, gpus=None
)
NEVER_TRAINED = replace(WHOLE, trained_from=None, trained_until=None, first=None, last=None)


@pytest.mark.parametrize(
    ("attempt", "expected"),
    [
        (WHOLE, [("starting", 100), ("training", 750), ("closing", 50)]),
        (replace(WHOLE, trained_from=None), [("starting", 10), ("training", 840), ("closing", 50)]),
        (replace(WHOLE, trained_until=None), [("starting", 100), ("training", 800)]),
        (replace(NEVER_TRAINED, ended_by="failed"), [("starting", 900)]),
        (replace(NEVER_TRAINED, ended_by="failed", started_at=None), [("starting", 900)]),
        (replace(NEVER_TRAINED, ended_by="finished"), []),
        (replace(NEVER_TRAINED, ended_by="", ended_at=None), []),
        (replace(NEVER_TRAINED, ended_by="", ended_at=None, first=5), [("starting", 900)]),
        (OLD, []),
        (replace(WHOLE, trained_from=950.0), [("starting", 850), ("closing", 50)]),
        (replace(WHOLE, trained_from=2000.0), [("starting", 900)]),
        (replace(WHOLE, trained_until=50.0), [("starting", 100), ("closing", 800)]),
        (
            replace(WHOLE, trained_from=math.nan),
            [("starting", 10), ("training", 840), ("closing", 50)],
        ),
        (replace(WHOLE, trained_from=math.inf, started_at=-math.inf), []),
    ],
)
def test_phases_follow_from_what_the_record_tells(
    attempt: Attempt, expected: list[tuple[str, float]]
) -> None:
    spans = spans_of(attempt, 1000.0, "legs-0")
    assert [(each.phase, each.ended_s - each.began_s) for each in spans] == expected


def test_phases_are_read_as_they_were_written_and_left_out_by_earlier_readers() -> None:
    record = RunRecord((), "", "legs-0", 1, attempts=(WHOLE, replace(OLD, number=2, agent="b")))
    assert read_record(record.text()) == record


def test_gpu_hours_are_told_by_what_became_of_them_and_by_phase() -> None:
    again = replace(WHOLE, number=2, agent="legs-1/b", host="legs-1", began_at=1100.0)
    again = replace(again, waited_from=1000.0, started_at=1110.0, trained_from=1200.0)
    again = replace(again, trained_until=1950.0, ended_at=2000.0, first=5, last=14)
    lost = replace(WHOLE, ended_by="SIGTERM")
    facts = SweepFacts(None, [RunFacts("r", "finished", attempts=[lost, again])])
    figure = gpu_hours(facts)
    table = {row[0]: dict(zip(figure.columns, row, strict=True)) for row in figure.rows}
    gpu_s = {
        name: {key: round(value * 3600) for key, value in row.items() if isinstance(value, float)}
        for name, row in table.items()
    }
    finished = gpu_s["attempts that finished their run"]
    assert (finished["starting"], finished["training"], finished["closing"]) == (200, 750, 100)
    assert gpu_s["iterations trained again after a loss"]["training"] == 750
    assert gpu_s["attempts handed back or lost"]["GPU-hours"] == 1800
    assert gpu_s["agents that waited for a run"]["waiting"] == (60 + 100) * 2
    assert not any("not recorded" in note for note in figure.notes)


@pytest.mark.parametrize(
    ("lasted_s", "words"),
    [(90.0, "90 seconds"), (600.0, "10 minutes"), (36_000.0, "10 hours")],
)
def test_timeline_is_told_in_the_unit_that_is_easy_to_read(lasted_s: float, words: str) -> None:
    attempt = replace(OLD, ended_at=OLD.began_at + lasted_s)
    figure = fleet_timeline(SweepFacts(None, [RunFacts("r", "finished", attempts=[attempt])]))
    assert figure.says.startswith(f"1 agent over {words}; ")
    assert f"{words.split()[1]} since the first attempt" in figure.svg


def test_agent_that_was_heard_after_its_last_run_has_waited_since() -> None:
    facts = SweepFacts(
        None, [RunFacts("r", "finished", attempts=[WHOLE])], heard_s={"legs-0": 1300}
    )
    waits = waits_of(facts, tries_of(facts))
    assert [(each.began_s, each.ended_s) for each in waits] == [(40.0, 100.0), (1000.0, 1300.0)]
    for odd in (math.nan, 10.0, -5.0):
        told = waits_of(replace(facts, heard_s={"legs-0": odd}), tries_of(facts))
        assert len(told) == 1


def test_old_and_new_attempts_stand_in_one_figure_and_what_lacks_is_told() -> None:
    runs = [
        RunFacts("new", "finished", attempts=[WHOLE]),
        RunFacts("old", "finished", attempts=[replace(OLD, host="legs-1")]),
    ]
    for figure in (fleet_timeline(SweepFacts(None, runs)), gpu_hours(SweepFacts(None, runs))):
        assert "The phases of 1 attempt are not recorded." in figure.notes


NUMBERS = st.none() | st.floats() | st.floats(0, 1e4)
ATTEMPTS = st.builds(
    Attempt,
    number=st.integers(0, 9),
    host=st.sampled_from(["", "legs-0", "legs-1", "<b>"]),
    began_at=st.floats() | st.floats(0, 1e4),
    ended_at=NUMBERS,
    ended_by=st.sampled_from(["", "finished", "failed", "SIGTERM", "silence", "<i>"]),
    first=st.none() | st.integers(-5, 20),
    last=st.none() | st.integers(-5, 20),
    waited_from=NUMBERS,
    started_at=NUMBERS,
    trained_from=NUMBERS,
    trained_until=NUMBERS,
    gpus=st.none() | st.integers(-1, 8),
)


@settings(deadline=None)
@given(
    st.lists(st.lists(ATTEMPTS, max_size=4), max_size=5),
    st.sampled_from(["running", "finished", "failed", "?"]),
    NUMBERS,
)
def test_phases_of_any_record_are_in_order_and_within_their_attempt(
    runs: list[list[Attempt]], state: str, now_s: float | None
) -> None:
    facts = SweepFacts(
        None,
        [RunFacts(str(at), state, attempts=each) for at, each in enumerate(runs)],
        now_s=now_s,
    )
    for each in tries_of(facts):
        marks = [mark for span in each.spans for mark in (span.began_s, span.ended_s)]
        assert marks == sorted(marks)
        assert not marks or (marks[0], marks[-1]) == (each.began_s, each.ended_s)
        assert all(a.ended_s == b.began_s for a, b in itertools.pairwise(each.spans))
        assert 0 <= each.repeated <= 1
    for figure in (gpu_hours(facts), fleet_timeline(facts)):
        assert "nan" not in figure.svg.lower()
