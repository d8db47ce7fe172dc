"""In which order W&B is told of a run's end, and that a summary which comes late is not lost."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.run.posting import Output, Poster
from sweepctl_pod.run.verdict import Ending, Verdict
from sweepctl_pod.waiting import LastCalls, NoAnswerError
from sweepctl_pod.wandb.client import ApiError, RunInfo, WandbClient
from sweepctl_pod.wandb.connection import Connection, Transport
from sweepctl_pod.wandb.summary import REASON_KEY, reason_of

FAILED = Verdict(Ending.FAILED, "boom", 3)
HANDED_BACK = Verdict(Ending.HANDED_BACK, "killed", 137)
FINISHED = Verdict(Ending.FINISHED, "loss = 1", 0)

Summary = dict[str, Any]


def info(summary: Summary, state: str = "running", *, is_started: bool = True) -> RunInfo:
    return RunInfo(
        id="r1",
        node_id="node",
        state=state,
        display_name=None,
        config={},
        summary=summary,
        created_at=None,
        heartbeat_at=None,
        sweep_id="s1",
        is_started=is_started,
    )


class FakeWandb:
    """W&B as one run sees it: each read gives the next of `reads`, then what was stored last."""

    def __init__(self, *reads: Summary, refuses: tuple[str, ...] = (), status: int = 400) -> None:
        self.reads = list(reads)
        self.transport = Transport(Connection("http://api"))
        self.summary: Summary = {}
        self.told: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.refuses = refuses
        self.status = status
        self.refused = 0

    def _take(self, what: str) -> None:
        if what in self.refuses:
            self.refused += 1
            raise ApiError(f"no {what}", status=self.status)
        self.told.append(what)

    def run(self, *place: str) -> RunInfo:
        if self.reads:
            self.summary = self.reads.pop(0)
        return info(self.summary)

    def graphql(
        self, query: str, variables: dict[str, Any], attempt: int | None = None
    ) -> dict[str, Any]:
        if "logLineCount" in query:
            self._take("count")
            return {"project": {"run": {"logLineCount": 7}}}
        assert variables["id"] == "node"
        self._take("summary")
        self.summary = json.loads(variables["summaryMetrics"])
        return {}

    def mark_preempting(self, *place: object) -> None:
        self._take("mark")

    def post_file_stream(
        self, entity: str, project: str, run: str, body: dict[str, Any], attempt: int | None
    ) -> dict[str, Any]:
        self._take("console" if "files" in body else "exit")
        self.bodies.append(body)
        return {}


class Calls:
    """A last_calls that loses no time."""

    def __init__(self) -> None:
        self.rested: list[float] = []

    def call(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except ApiError as error:
            raise NoAnswerError(error.message) from None

    def rest(self, seconds: float) -> bool:
        self.rested.append(seconds)
        return True


class Lines:
    """An output that is always to be told."""

    def is_complete(self, verdict: Verdict, info: RunInfo | None) -> bool:
        return False

    def lines(self, info: RunInfo | None, count: int) -> list[str]:
        return [f"a line behind {count}"]


def poster(wandb: FakeWandb, attempt: int | None = None) -> Poster:
    sweep = AssignedSweep("e", "p", "s1", (), None, "loss")
    run = AssignedRun("r1", {}, attempt)
    return Poster(cast(WandbClient, wandb), cast(LastCalls, Calls()), sweep, run)


@pytest.mark.parametrize(
    ("verdict", "state", "told"),
    [
        pytest.param(FAILED, "running", ["summary", "exit"], id="failed"),
        pytest.param(FAILED, "failed", ["summary"], id="failed-as-its-client-said"),
        pytest.param(HANDED_BACK, "running", ["mark", "exit", "summary"], id="handed-back"),
        pytest.param(FINISHED, "running", ["exit"], id="finished"),
        pytest.param(FINISHED, "finished", [], id="finished-as-its-client-said"),
        pytest.param(replace(FAILED, ending=Ending.UNKNOWN), "running", [], id="unknown"),
    ],
)
def test_reason_comes_before_a_failure_and_after_a_hand_back(
    verdict: Verdict, state: str, told: list[str]
) -> None:
    wandb = FakeWandb()
    poster(wandb, attempt=1).post_end(verdict, info({"loss": 1}, state), 4.0)
    assert wandb.told == told


def test_summary_that_comes_late_is_waited_for() -> None:
    logged = {"_step": 2, "loss": "NaN", "reward": 1.5}
    wandb = FakeWandb({"_step": 1}, logged, logged)
    poster(wandb).post_end(FAILED, info({}), 4.0)
    assert wandb.summary == {
        **logged,
        REASON_KEY: "boom",
        "_runtime": 4,
        "_wandb": {"runtime": 4},
    }
    assert wandb.told == ["summary", "exit"]


def test_summary_that_overwrites_the_reason_gets_it_again() -> None:
    early, late = {"_step": 1}, {"_step": 9, "reward": 2.0}
    wandb = FakeWandb(early, late, late)
    poster(wandb).post_end(FAILED, info(early), 4.0)
    assert wandb.summary["reward"] == 2.0
    assert reason_of(wandb.summary) == "boom"
    assert wandb.told == ["summary", "summary", "exit"]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        pytest.param([{"_step": 2, "reward": 1.5}], {"loss": 0.5, "reward": 1.5}, id="lacks-it"),
        pytest.param([{"_step": 2, "loss": {"min": 0.1}}], {"loss": {"min": 0.1}}, id="came-late"),
        pytest.param([{"_step": 2, "loss": None}], {"loss": 0.5}, id="null"),
    ],
)
def test_metric_of_the_history_is_put_into_a_summary_that_lacks_it(
    reads: list[Summary], expected: Summary
) -> None:
    wandb = FakeWandb(*reads * 2)
    poster(wandb).post_end(FINISHED, info({}), 4.0, None, {"loss": 0.5})
    assert wandb.summary == {"_step": 2, **expected}


def test_failed_run_gets_no_metric_of_its_history() -> None:
    wandb = FakeWandb()
    poster(wandb, attempt=1).post_end(FAILED, info({}), 4.0, None, {"loss": "NaN"})
    assert "loss" not in wandb.summary


def test_reason_is_told_once_and_taken_away_by_a_good_end() -> None:
    wandb = FakeWandb()
    first = poster(wandb, attempt=1)
    first.post_end(FAILED, info({"loss": 1}), 4.0)
    first.post_end(FAILED, info(wandb.summary, "failed"), 9.0)
    assert wandb.told == ["summary", "exit"]
    first.post_end(FINISHED, info(wandb.summary, "finished"), 9.0)
    assert wandb.told == ["summary", "exit", "summary"]
    assert REASON_KEY not in wandb.summary
    assert wandb.summary["loss"] == 1


@pytest.mark.parametrize("status", [400, 403, 404, 413])
@pytest.mark.parametrize("refuses", [("summary",), ("count",), ("console",), ("summary", "count")])
def test_what_is_refused_beside_it_never_holds_up_the_runs_end(
    refuses: tuple[str, ...], status: int
) -> None:
    wandb = FakeWandb(refuses=refuses, status=status)
    poster(wandb, attempt=1).post_end(FAILED, info({}), 4.0, cast(Output, Lines()))
    assert wandb.bodies[-1]["exitcode"] == 3
    assert ("summary" in wandb.told) == ("summary" not in refuses)
    assert ("console" in wandb.told) == (not {"count", "console"} & set(refuses))
    assert wandb.refused <= 3 * len(refuses)


def test_lines_go_behind_those_that_are_there_in_the_post_that_ends_the_run() -> None:
    wandb = FakeWandb()
    poster(wandb, attempt=1).post_end(FAILED, info({}), 4.0, cast(Output, Lines()))
    assert wandb.bodies == [
        {
            "complete": True,
            "exitcode": 3,
            "files": {"output.log": {"offset": 7, "content": ["a line behind 7"]}},
        }
    ]


def test_run_that_is_not_there_is_told_its_end_and_nothing_else() -> None:
    wandb = FakeWandb(refuses=("summary",))
    poster(wandb).post_end(FAILED, None)
    assert wandb.told == ["exit"]
