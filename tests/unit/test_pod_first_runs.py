"""When an agent gives up: by its first runs alone, and only while none has shown that it trains."""

from __future__ import annotations

import pytest

from sweepctl_pod.first_runs import FirstRuns, default_limit, limit_of
from sweepctl_pod.run.verdict import Ending
from sweepctl_pod.wandb.client import RunInfo

FAILED, FINISHED = (Ending.FAILED, 5.0), (Ending.FINISHED, 5.0)
STOPPED, HANDED_BACK = (Ending.STOPPED, 5.0), (Ending.HANDED_BACK, 5.0)
SLOWLY = (Ending.FAILED, 61.0)


@pytest.mark.parametrize(
    ("ends", "is_hopeless"),
    [
        pytest.param([FAILED] * 2, False, id="fewer"),
        pytest.param([FAILED] * 3, True, id="the first three"),
        pytest.param([FAILED] * 2 + [(Ending.FAILED, 59.9)], True, id="just within the minute"),
        pytest.param([FINISHED] + [FAILED] * 9, False, id="one has finished before"),
        pytest.param([FAILED] * 2 + [FINISHED] + [FAILED] * 9, False, id="one in between"),
        pytest.param([SLOWLY] * 9, False, id="they fail slowly"),
        pytest.param([FAILED] * 2 + [SLOWLY] + [FAILED] * 9, False, id="one fails slowly"),
        pytest.param([STOPPED] * 9, False, id="a person stops them"),
        pytest.param([HANDED_BACK] * 9, False, id="they are handed back"),
        pytest.param([FAILED, STOPPED, FAILED, HANDED_BACK], False, id="others do not count"),
        pytest.param([FAILED, STOPPED, FAILED, HANDED_BACK, FAILED], True, id="nor do they save"),
        pytest.param([(Ending.STOPPED, 300.0)] + [FAILED] * 9, False, id="one trained for long"),
        pytest.param([], False, id="none"),
    ],
)
def test_first_runs_that_all_fail_at_once_are_hopeless(
    ends: list[tuple[Ending, float]], is_hopeless: bool
) -> None:
    runs = FirstRuns(3)
    for ending, lasted_s in ends:
        runs.note(ending, lasted_s)
    assert runs.is_hopeless is is_hopeless


@pytest.mark.parametrize(("limit", "after"), [(1, 1), (2, 2), (7, 7), (0, None)])
def test_the_limit_is_the_users(limit: int, after: int | None) -> None:
    runs = FirstRuns(limit)
    found = None
    for count in range(1, 20):
        runs.note(*FAILED)
        if runs.is_hopeless:
            found = count
            break
    assert found == after


def earlier(state: str, begun: str | None = "00:00", heard: str | None = "00:07") -> RunInfo:
    day = "2026-02-03T10:"
    return RunInfo(
        id="r",
        node_id="n",
        state=state,
        display_name=None,
        config={},
        summary={},
        created_at=begun and f"{day}{begun}Z",
        heartbeat_at=heard and f"{day}{heard}Z",
        sweep_id="s",
        is_started=False,
    )


@pytest.mark.parametrize(
    ("before", "is_hopeless"),
    [
        pytest.param(["failed", "failed"], True, id="two failed in pods before"),
        pytest.param(["failed"], False, id="one failed"),
        pytest.param(["failed", "finished"], False, id="a pod before had success"),
        pytest.param(["finished", "failed", "failed"], False, id="and failures after it"),
        pytest.param(["failed", "killed", "crashed"], False, id="stopped and crashed are none"),
        pytest.param(["failed", "running", "pending", "preempted"], False, id="nor are others"),
        pytest.param([("failed", "00:00", "03:00"), "failed"], False, id="one failed slowly"),
        pytest.param([("killed", "00:00", "03:00"), "failed"], False, id="one trained for long"),
        pytest.param([("failed", "00:00", None), "failed"], True, id="one was never heard of"),
    ],
)
def test_what_earlier_pods_of_the_index_had_counts(
    before: list[str | tuple[str, str, str]], is_hopeless: bool
) -> None:
    runs = FirstRuns(3)
    runs.note(*FAILED)
    assert runs.is_in_doubt
    runs.note_earlier(earlier(each) if isinstance(each, str) else earlier(*each) for each in before)
    assert runs.is_hopeless is is_hopeless


def test_nobody_is_asked_about_earlier_runs_without_need() -> None:
    runs = FirstRuns(3)
    assert not runs.is_in_doubt
    runs.note(*FINISHED)
    runs.note(*FAILED)
    assert not runs.is_in_doubt


def test_the_reason_tells_the_last_runs_and_how_many() -> None:
    runs = FirstRuns(1)
    runs.note(*FAILED)
    assert runs.reason("exit code 3") == (
        "gave up after a run that failed within 60 s of its start: exit code 3"
    )
    more = FirstRuns(3)
    for _ in range(3):
        more.note(*FAILED)
    assert more.reason("exit code 3") == (
        "gave up after 3 runs that all failed within 60 s of their start; the last: exit code 3"
    )


@pytest.mark.parametrize(("text", "limit"), [("3", 3), ("0", 0), ("off", 0), (" OFF ", 0)])
def test_limit_is_a_number_or_off(text: str, limit: int) -> None:
    assert limit_of(text) == limit


@pytest.mark.parametrize("text", ["-1", "three", "", "2.5"])
def test_other_limits_are_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any words
        limit_of(text)


@pytest.mark.parametrize(
    ("environ", "limit"),
    [
        ({}, "3"),
        ({"WANDB_AGENT_MAX_INITIAL_FAILURES": "8"}, "8"),
        ({"WANDB_AGENT_DISABLE_FLAPPING": "true"}, "off"),
        ({"WANDB_AGENT_DISABLE_FLAPPING": "false"}, "3"),
    ],
)
def test_the_stock_agents_variables_are_known(environ: dict[str, str], limit: str) -> None:
    assert default_limit(environ) == limit
