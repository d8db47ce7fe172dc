"""When a run that was hit goes on, what that cost, and how a plan of disruptions is carried out."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from sweepctl.sweeps.disrupt import (
    Disrupted,
    NoTargetError,
    NotNowError,
    Plan,
    disrupt,
    rehearse,
)
from sweepctl.sweeps.disruption import (
    Disruption,
    Kind,
    Look,
    Outcome,
    Target,
    choose,
    late,
    repeated_after,
    seen,
    with_cost,
)
from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.run_record import Attempt, RunRecord

AGENT = "legs-1a2b3c4d-0"
TARGET = Target(AGENT, "r1", 0, f"{AGENT}-abcde", "uid-0", "node-1")
HIT = Disruption(1, Kind.DELETE, TARGET, began_at=100.0, attempt=1)


def look(
    state: str = "running",
    step: int | None = 10,
    *,
    pod: bool = False,
    agent: str | None = AGENT,
    attempt: int | None = None,
) -> Look:
    return Look(state, agent, step, pod, attempt)


def watched(disruption: Disruption, *looks: Look) -> Disruption:
    for seconds, each in enumerate(looks, start=1):
        disruption = seen(disruption, each, 100.0 + seconds)
    return disruption


@pytest.mark.parametrize(
    ("kind", "looks", "outcome", "took_s"),
    [
        (Kind.DELETE, [look(pod=True), look(step=11, pod=True)], Outcome.UNDER_WAY, None),
        (
            Kind.DELETE,
            [look("preempting", pod=True), look("preempted"), look("pending"), look(step=10)],
            Outcome.UNDER_WAY,
            None,
        ),
        (
            Kind.DELETE,
            [look("preempting", pod=True), look("preempted"), look("pending"), look(step=11)],
            Outcome.AGAIN,
            4.0,
        ),
        (Kind.FORCE, [look(step=10), look(step=11)], Outcome.UNDER_WAY, None),
        (Kind.FORCE, [look(step=10), look(step=11, attempt=1)], Outcome.UNDER_WAY, None),
        (Kind.FORCE, [look(step=10), look(step=11, attempt=2)], Outcome.AGAIN, 2.0),
        (Kind.FORCE, [look(step=10), look(step=11, agent="legs-1a2b3c4d-2")], Outcome.AGAIN, 2.0),
        (Kind.FORCE, [look(step=10), look("crashed"), look(step=0)], Outcome.AGAIN, 3.0),
        (Kind.CRASH, [look(pod=True), look("preempted", pod=True)], Outcome.UNDER_WAY, None),
        (
            Kind.CRASH,
            [look(pod=True), look("preempted", pod=True), look(step=12, pod=True)],
            Outcome.AGAIN,
            3.0,
        ),
        (Kind.CRASH, [look(pod=True), look("failed", pod=True)], Outcome.FAILED, 2.0),
        (Kind.DELETE, [look("finished", pod=True)], Outcome.FINISHED, 1.0),
        (
            Kind.DELETE,
            [look(step=None), look("preempted", step=None), look(step=None)],
            Outcome.AGAIN,
            3.0,
        ),
    ],
    ids=[
        "its pod still lives",
        "taken again and not trained yet",
        "handed back and trained again",
        "running as far as W&B knows",
        "a step that came late",
        "a new attempt",
        "another agent",
        "begun anew",
        "crashed",
        "crashed and trained again",
        "crashed for good",
        "over before the blow",
        "no steps are logged",
    ],
)
def test_a_run_trains_again_when_somebody_logs_a_new_step_of_it(
    kind: Kind, looks: list[Look], outcome: Outcome, took_s: float | None
) -> None:
    after = watched(replace(HIT, kind=kind), *looks)
    assert (after.outcome, after.took_s) == (outcome, took_s)


def test_without_a_record_a_new_step_is_proof_enough_once_the_pod_is_gone() -> None:
    unrecorded = replace(HIT, kind=Kind.FORCE, attempt=None)
    assert watched(unrecorded, look(step=10), look(step=11)).outcome is Outcome.AGAIN


def test_a_run_that_does_not_go_on_is_given_up_after_the_limit() -> None:
    assert late(HIT, 159.0, 60.0).outcome is Outcome.UNDER_WAY
    assert late(HIT, 160.0, 60.0).outcome is Outcome.LATE


def attempts(*known: tuple[int | None, int | None]) -> RunRecord:
    found = [
        Attempt(number, AGENT, first=first, last=last)
        for number, (first, last) in enumerate(known, start=1)
    ]
    return RunRecord(("train",), "literal", AGENT, len(found), attempts=tuple(found))


@pytest.mark.parametrize(
    ("record", "ended", "repeated"),
    [
        (attempts((0, 41), (42, None)), 1, 0),
        (attempts((0, 41), (30, None)), 1, 12),
        (attempts((0, 41), (30, 50), (41, None)), 2, 10),
        (attempts((0, 41), (30, 35), (20, None)), 2, 22),
        (attempts((0, 41), (None, None)), 1, None),
        (attempts((0, None), (30, None)), 1, None),
        (attempts((0, 41), (30, None), (31, None)), 2, None),
        (attempts((0, 41)), 1, None),
        (attempts((0, 41), (30, None)), None, None),
    ],
    ids=[
        "goes on",
        "since its checkpoint",
        "the second of two",
        "back beyond an earlier end",
        "the new one has not told",
        "the old one was silent",
        "an old one was silent",
        "there is no new one",
        "which attempt it was is not known",
    ],
)
def test_what_was_trained_again_is_counted_or_unknown(
    record: RunRecord, ended: int | None, repeated: int | None
) -> None:
    assert repeated_after(record, ended) == repeated


def test_the_targets_are_drawn_without_preference_and_never_one_that_is_hit_already() -> None:
    found = [replace(TARGET, run=f"r{number}") for number in range(5)]
    rng = random.Random(1)
    drawn = [choose(found, 1, rng, {"r0"})[0].run for _ in range(4000)]
    assert set(drawn) == {"r1", "r2", "r3", "r4"}
    assert all(900 < drawn.count(run) < 1100 for run in set(drawn))
    assert len(choose(found, 9, rng)) == 5


class Bench:
    """A scene of a few agents whose runs go on some seconds after they were hit."""

    def __init__(self, agents: int = 2, *, back_after_s: float = 7.0) -> None:
        self.time = 1000.0
        self.hits: list[tuple[float, str]] = []
        self.dry: list[str] = []
        self.said: list[str] = []
        self.back_after_s = back_after_s
        self.refusals = 0
        self.on_sleep: Callable[[], None] = lambda: None
        self.runs = {f"r{number}": f"job-{number}" for number in range(agents)}

    def check(self, kind: Kind) -> None:
        pass

    def targets(self) -> Sequence[Target]:
        if not self.runs:
            raise NoTargetError("the sweep has ended")
        return [Target(agent, run, pod=f"{agent}-x") for run, agent in self.runs.items()]

    def strike(self, kind: Kind, target: Target, *, is_dry: bool) -> bool:
        if is_dry:
            self.dry.append(target.run)
            return True
        if self.refusals:
            self.refusals -= 1
            raise NotNowError("the budget allows none")
        self.hits.append((self.time, target.run))
        return True

    def look(self, disruption: Disruption) -> Look:
        is_back = self.time - disruption.began_at >= self.back_after_s
        return Look("running" if is_back else "preempted", "job-9", 3 if is_back else 2, False)

    def record(self, run: str) -> RunRecord | None:
        count = 1 + sum(hit == run for _, hit in self.hits)
        return attempts(*[(10 * number, 10 * number + 11) for number in range(count)])

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.on_sleep()

    def run(self, count: int, every_s: float | None = None, limit_s: float = 60.0) -> Disrupted:
        return disrupt(
            self,
            Plan(Kind.DELETE, count, every_s, limit_s),
            random.Random(3),
            say=self.said.append,
            sleep=self.sleep,
            now=lambda: self.time,
        )


def test_the_next_one_comes_when_the_run_of_the_last_has_gone_on() -> None:
    bench = Bench()
    done = bench.run(3)
    assert [at - 1000.0 for at, _ in bench.hits] == [0.0, 7.0, 14.0]
    assert [each.took_s for each in done.disruptions] == [7.0] * 3
    assert [each.outcome for each in done.disruptions] == [Outcome.AGAIN] * 3
    assert done.exit_code is ExitCode.DONE
    assert [each.repeated for each in done.disruptions] == [2, 2, 2]
    assert bench.said[:2] == [
        "1 of 3: delete pod job-0-x, which trains run r0",
        "run r0: trains again after 7 s at job-9",
    ]


def test_with_a_time_between_them_several_runs_are_watched_at_once() -> None:
    bench = Bench(4, back_after_s=30.0)
    done = bench.run(3, every_s=10.0)
    assert [at - 1000.0 for at, _ in bench.hits] == [0.0, 10.0, 20.0]
    assert len({run for _, run in bench.hits}) == 3
    assert bench.time == 1050.0
    assert done.exit_code is ExitCode.DONE


def test_an_interruption_ends_with_what_was_done() -> None:
    bench = Bench()

    def interrupt() -> None:
        if bench.time >= 1009.0:
            raise KeyboardInterrupt

    bench.on_sleep = interrupt
    done = bench.run(5)
    assert (done.is_interrupted, done.exit_code) == (True, ExitCode.INTERRUPTED)
    assert [each.outcome for each in done.disruptions] == [Outcome.AGAIN, Outcome.UNDER_WAY]


def test_a_budget_that_allows_none_is_said_once_and_asked_again_until_the_limit() -> None:
    bench = Bench()
    bench.refusals = 2
    assert bench.run(1).exit_code is ExitCode.DONE
    assert bench.hits[0][0] == 1010.0
    assert bench.said[0] == "the budget allows none; trying again …"
    assert "which trains run" in bench.said[1]
    bench.refusals = 99
    done = bench.run(1, limit_s=30.0)
    assert (done.problem, done.exit_code) == ("the budget allows none", ExitCode.FAILED)


def test_a_sweep_that_ends_meanwhile_ends_it_with_what_was_done() -> None:
    bench = Bench()
    bench.on_sleep = bench.runs.clear
    done = bench.run(2)
    assert (len(done.disruptions), done.problem) == (1, "the sweep has ended")
    assert done.exit_code is ExitCode.FAILED


def test_an_api_that_is_away_for_a_moment_costs_a_look_and_no_more() -> None:
    bench = Bench()
    real = bench.look

    class Away(SweepctlError):
        is_transient = True

    def look(disruption: Disruption) -> Look:
        if bench.time < 1004.0:
            raise Away("nobody answers")
        return real(disruption)

    bench.look = look  # type: ignore[method-assign]
    assert bench.run(1).exit_code is ExitCode.DONE


def test_a_rehearsal_hits_nothing_and_asks_the_api_only_when_told_to() -> None:
    bench = Bench(3)
    plan = Plan(Kind.EVICT, 2, None, 60.0)
    chosen = rehearse(bench, plan, random.Random(1), is_asked=False)
    assert (len(chosen), bench.dry, bench.hits) == (2, [], [])
    chosen = rehearse(bench, plan, random.Random(1), is_asked=True)
    assert bench.dry == [target.run for target in chosen]
    assert not bench.hits


def test_a_run_that_failed_makes_it_exit_3_and_one_that_never_went_on_1() -> None:
    def code(*outcomes: Outcome) -> ExitCode:
        return Disrupted(tuple(replace(HIT, outcome=each) for each in outcomes)).exit_code

    assert code(Outcome.AGAIN, Outcome.FINISHED) is ExitCode.DONE
    assert code(Outcome.AGAIN, Outcome.FAILED) is ExitCode.FAILED_RUNS
    assert code(Outcome.FAILED, Outcome.LATE) is ExitCode.FAILED


def test_attempts_come_from_the_record_whether_it_lists_them_or_only_counts() -> None:
    counted = RunRecord(("train",), "literal", AGENT, 4)
    assert with_cost(HIT, counted).attempts == 4
    assert with_cost(HIT, attempts((0, 5), (6, None))).attempts == 2
    assert with_cost(HIT, None).attempts is None
