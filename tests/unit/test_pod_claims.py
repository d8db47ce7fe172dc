"""Who may take up an abandoned run, and that of several that try exactly one remains."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from sweepctl_pod.claims import (
    Abandoned,
    Standing,
    adoptable_after_s,
    best_claim,
    new_claim,
    release_of,
    standing,
    takes_up_runs,
    with_claim,
)
from sweepctl_pod.run_record import Attempt, Claim, RunRecord

A, B = Claim("job-0/a", 3, 10.0), Claim("job-1/b", 3, 11.0)
NEWER = Claim("job-2/c", 4, 12.0)


@pytest.mark.parametrize(
    ("claims", "own", "expected"),
    [
        ([A], A, Standing.BEST),
        ([replace(A, at=5.0)], A, Standing.BEST),
        ([A, B], A, Standing.BEST),
        ([A, B], B, Standing.LOST),
        ([A], B, Standing.LOST),
        ([B], A, Standing.MISSING),
        ([], A, Standing.MISSING),
        ([NEWER], A, Standing.LOST),
        ([A, NEWER], NEWER, Standing.BEST),
        ([replace(A, fence=2)], B, Standing.MISSING),
    ],
    ids=str,
)
def test_of_the_newest_fence_the_lowest_agent_wins(
    claims: list[Claim], own: Claim, expected: Standing
) -> None:
    assert standing(claims, own) is expected


def test_claim_that_is_added_or_renewed_stands_beside_those_of_its_fence_alone() -> None:
    assert with_claim([], A) == (A,)
    assert with_claim([B], A) == (A, B)
    renewed = replace(A, at=99.0)
    assert with_claim([A, B], renewed) == (renewed, B)
    assert with_claim([A, B], NEWER) == (NEWER,)
    assert new_claim([A, B], "x", 1.0) == Claim("x", 4, 1.0)
    assert new_claim([], "x", 1.0).fence == 1
    assert best_claim([B, A, replace(NEWER, fence=1)]) == A


@dataclass
class Claimer:
    """One agent as the protocol has it: every `step` is one read or one write of the whole file."""

    agent: str
    own: Claim
    needs_looks: int = 2
    read: "tuple[Claim, ...] | None" = None
    looks: int = 0
    state: str = "claiming"

    def step(self, file: "list[Claim]") -> None:
        if self.read is None:
            self.read = tuple(file)
            return
        found, self.read = self.read, None
        if self.state == "claiming" and self.looks == 0 and self.own.fence == 0:
            self.own = new_claim(found, self.agent, 0.0)
            file[:] = with_claim(found, self.own)
            return
        now = standing(found, self.own)
        if now is Standing.LOST:
            self.state = "left"
        elif now is Standing.MISSING:
            self.looks = 0
            file[:] = with_claim(found, self.own)
        else:
            self.looks += 1
            if self.state == "claiming" and self.looks >= self.needs_looks:
                self.state = "trains"


def orders(counts: "tuple[int, ...]") -> Iterator["tuple[int, ...]"]:
    """List every order in which agents can take so many steps each."""
    if not any(counts):
        yield ()
        return
    for who, count in enumerate(counts):
        if count:
            left = tuple(c - (n == who) for n, c in enumerate(counts))
            for rest in orders(left):
                yield (who, *rest)


def claimers(*names: str) -> list[Claimer]:
    return [Claimer(name, Claim(name, 0, 0.0)) for name in names]


def holder(name: str, fence: int) -> Claimer:
    """Give one that trains since long, and looks again."""
    return Claimer(name, Claim(name, fence, 0.0), state="trains", looks=2)


SCENES: "list[tuple[Callable[[], list[Claimer]], list[Claim], tuple[int, ...]]]" = [
    (lambda: claimers("a", "b"), [Claim("dead", 1, 0.0)], (8, 8)),
    (lambda: claimers("b", "a"), [], (8, 8)),
    (lambda: [*claimers("a", "b"), holder("c", 1)], [Claim("c", 1, 0.0)], (5, 4, 4)),
    (lambda: [*claimers("b"), holder("a", 1)], [Claim("a", 1, 0.0)], (8, 8)),
    (lambda: claimers("a", "b", "c"), [Claim("dead", 7, 0.0)], (4, 4, 4)),
]


@pytest.mark.parametrize(
    "scene",
    # Of three claimers there are many orders.
    [pytest.param(n, marks=[pytest.mark.slow] if n in (2, 4) else []) for n in range(len(SCENES))],
)
def test_in_every_order_of_reads_and_writes_exactly_one_agent_remains(scene: int) -> None:
    make, before, counts = SCENES[scene]
    for order in orders(counts):
        agents, file = make(), list(before)
        for who in order:
            if agents[who].state != "left":
                agents[who].step(file)
        for _ in range(8):  # each goes on to look now and then, one after the other
            for agent in agents:
                if agent.state != "left":
                    agent.step(file)
                    if agent.read is not None:
                        agent.step(file)
        left = [agent.agent for agent in agents if agent.state != "left"]
        assert [agent.state for agent in agents].count("trains") == 1, order
        assert len(left) == 1, order
        assert best_claim(file) is not None
        assert best_claim(file).agent == left[0], order  # type: ignore[union-attr]


def record(*claims: Claim, ended: "tuple[str, ...]" = ()) -> RunRecord:
    attempts = tuple(
        Attempt(number, "job-0", ended_by=word) for number, word in enumerate(ended, start=1)
    )
    return RunRecord(("train",), "", "job-0", 1, claims, attempts)


OLD = Claim("job-0/old", 1, 1000.0)
NOW = 5000.0


@pytest.mark.parametrize(
    ("theirs", "ours", "expected"),
    [
        ("robots/legs", "robots/legs", 0.0),
        ("robots/arms", "robots/legs", None),
        ("a-laptop", "robots/legs", None),
        ("robots/legs", "a-laptop", None),
        ("a-laptop", "a-laptop", 0.0),
        ("", "robots/legs", 0.0),
    ],
)
def test_runs_of_another_release_or_machine_are_left_alone(
    theirs: str, ours: str, expected: float | None
) -> None:
    run = Abandoned("crashed", 1000.0, record(replace(OLD, release=theirs)))
    for replaces_host, agent in ((False, "job-1/x"), (True, "job-0/x")):
        due_s = adoptable_after_s(run, agent, NOW, 600.0, replaces_host=replaces_host, release=ours)
        assert due_s == expected


@pytest.mark.parametrize(
    ("environ", "release"),
    [
        ({"SWEEPCTL_NAMESPACE": "robots", "SWEEPCTL_NAME": "legs"}, "robots/legs"),
        ({"SWEEPCTL_NAME": "legs"}, "a-laptop"),
        ({}, "a-laptop"),
    ],
)
def test_a_release_is_named_by_its_namespace_and_name(
    environ: dict[str, str], release: str
) -> None:
    assert release_of(environ, "a-laptop") == release


@pytest.mark.parametrize(
    ("run", "agent", "expected"),
    [
        pytest.param(Abandoned("running", 4000.0, record(OLD)), "job-1/x", 0.0, id="silent"),
        pytest.param(Abandoned("crashed", 4000.0, record(OLD)), "job-1/x", 0.0, id="crashed"),
        pytest.param(Abandoned("preempting", 4000.0, record(OLD)), "job-1/x", 0.0, id="marked"),
        pytest.param(Abandoned("preempted", 4000.0, record(OLD)), "job-1/x", 0.0, id="forgotten"),
        pytest.param(Abandoned("pending", 4000.0, record(OLD)), "job-1/x", 0.0, id="begun"),
        pytest.param(Abandoned("running", 4900.0, record(OLD)), "job-1/x", 500.0, id="soon"),
        pytest.param(
            Abandoned("running", 0.0, record(replace(OLD, at=4900.0))),
            *("job-1/x", 500.0),
            id="its-claim-is-fresh",
        ),
        pytest.param(
            Abandoned("running", 4000.0, record(replace(OLD, at=5100.0))),
            *("job-1/x", 700.0),
            id="a-clock-that-is-ahead",
        ),
        pytest.param(Abandoned("finished", 4000.0, record(OLD)), "job-1/x", None, id="finished"),
        pytest.param(Abandoned("failed", 4000.0, record(OLD)), "job-1/x", None, id="failed"),
        pytest.param(
            Abandoned("failed", 4999.0, record(OLD, ended=("SIGTERM", "failed"))),
            *("job-0/x", None),
            id="failed-says-its-agent",
        ),
        pytest.param(
            Abandoned("failed", 4000.0, record(OLD, ended=("SIGTERM", ""))),
            *("job-1/x", 0.0),
            id="failed-says-nobody",
        ),
        pytest.param(
            Abandoned("failed", 4900.0, record(OLD, ended=("",))),
            *("job-1/x", 500.0),
            id="failed-and-its-agent-may-live",
        ),
        pytest.param(
            Abandoned("failed", 4999.0, record(OLD, ended=("",))),
            *("job-0/x", 0.0),
            id="own-failed-says-nobody",
        ),
        pytest.param(
            Abandoned("failed", 4000.0, record(OLD, ended=("silence", "silence", ""))),
            *("job-0/x", None),
            id="fails-each-time",
        ),
        pytest.param(
            Abandoned("killed", 4000.0, record(OLD, ended=("",))),
            *("job-1/x", None),
            id="stopped",
        ),
        pytest.param(Abandoned("running", 4000.0, None), "job-1/x", None, id="not-ours"),
        pytest.param(Abandoned("running", 4000.0, record()), "job-0/x", None, id="never-claimed"),
        pytest.param(Abandoned("running", 4999.0, record(OLD)), "job-0/x", 0.0, id="own-host"),
        pytest.param(Abandoned("pending", 4999.0, record(OLD)), "job-0/x", 0.0, id="own-pending"),
        pytest.param(
            Abandoned("preempted", 4999.0, record(OLD)), "job-0/x", 599.0, id="own-but-W&B's"
        ),
        pytest.param(Abandoned("running", 4999.0, record(OLD)), "job-00/x", 599.0, id="like-own"),
        pytest.param(
            Abandoned("running", 4000.0, record(replace(OLD, at=4999.0))),
            *("job-0/old", 0.0),
            id="its-own-claim-in-vain",
        ),
        pytest.param(
            Abandoned("running", 4000.0, record(OLD, ended=("SIGKILL", "silence", ""))),
            *("job-0/x", None),
            id="lost-too-often",
        ),
        pytest.param(
            Abandoned("running", 4000.0, record(OLD, ended=("SIGTERM", "SIGTERM", "silence", ""))),
            *("job-0/x", 0.0),
            id="handed-back-often",
        ),
    ],
)
def test_run_is_taken_up_when_its_agent_is_certainly_gone(
    run: Abandoned, agent: str, expected: "float | None"
) -> None:
    assert adoptable_after_s(run, agent, NOW, 600.0, replaces_host=True) == expected


@pytest.mark.parametrize(
    ("ahead_s", "expected"), [(-700.0, 500.0), (30.0, 630.0), (3600.0, 500.0), (1e9, 500.0)]
)
def test_clock_that_was_far_ahead_does_not_keep_others_from_taking_a_run_up(
    ahead_s: float, expected: float
) -> None:
    run = Abandoned("running", 4900.0, record(replace(OLD, at=NOW + ahead_s)))
    assert adoptable_after_s(run, "job-1/x", NOW, 600.0, replaces_host=False) == expected


@pytest.mark.parametrize(("first", "expected"), [(None, None), (0, 0.0)])
def test_silent_attempt_that_may_have_come_further_is_not_counted_as_lost(
    first: "int | None", expected: "float | None"
) -> None:
    lost = record(OLD, ended=("SIGKILL", "silence"))
    lost = lost.with_attempt(Attempt(3, "job-0", "n", "job-0/y", 1.0, first=first))
    run = Abandoned("running", 4000.0, lost)
    assert adoptable_after_s(run, "job-1/x", NOW, 600.0, replaces_host=False) == expected


def test_host_alone_says_nothing_where_several_agents_have_the_same() -> None:
    run = Abandoned("running", 4900.0, record(OLD))
    assert adoptable_after_s(run, "job-0/x", NOW, 600.0, replaces_host=False) == 500.0


def test_runs_of_a_sweep_that_was_cancelled_or_paused_are_left_alone() -> None:
    states = ("RUNNING", "PENDING", "FINISHED", "PAUSED", "CANCELED", "CANCELLED")
    assert [takes_up_runs(state) for state in states] == [True, True, True, False, False, False]
