"""Where the GPU-hours went, and what each agent did when: from the attempts that runs record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sweepctl.figures.axes import axis_over, category_axis, short
from sweepctl.figures.curves import kind_of
from sweepctl.figures.drawing import LETTER, panel, picture
from sweepctl.figures.facts import RunFacts, SweepFacts, counted, is_number
from sweepctl.figures.figure import Figure
from sweepctl.figures.thinning import thinned
from sweepctl_pod.run_record import Attempt
from sweepctl_pod.wandb.states import HELD_RUNS

_MOST_AGENTS, _MOST_BARS = 40, 2500
_END_WIDE = 4.0
_ENDS = {"finished": "finished", "failed": "failed", "stopped": "other"}
_PHASES = ("waiting", "starting", "training", "closing")
_WORDS = {
    "finished": "attempts that finished their run",
    "failed": "attempts that failed",
    "back": "attempts handed back or lost",
    "training": "attempts under way",
    "other": "attempts stopped, or whose end is not recorded",
}


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of an agent's time: one of waiting, starting, training and closing."""

    agent: str
    phase: str
    began_s: float
    ended_s: float
    run: str = ""


@dataclass(frozen=True, slots=True)
class _Try:
    """An attempt with the run it is of, and what became of it."""

    run: RunFacts
    agent: str
    began_s: float
    ended_s: float
    kind: str

    @property
    def hours(self) -> float:
        return (self.ended_s - self.began_s) / 3600

    @property
    def title(self) -> str:
        return f"{self.run.label}: {_WORDS[self.kind].replace('attempts', 'attempt')}"


def gpu_hours(facts: SweepFacts) -> Figure:
    """Draw how many GPU-hours went into what."""
    name, title = "gpu-hours", "Where the GPU-hours went"
    tries = _tries(facts)
    if not tries:
        return Figure(name, title, _why_none(facts))
    hours: dict[str, float] = defaultdict(float)
    for each in tries:
        hours[each.kind] += each.hours * (each.run.gpus or 1)
    kinds = [kind for kind in _WORDS if kind in hours]
    count = Counter(each.kind for each in tries)
    total = sum(hours.values())
    labels = [_WORDS[kind] for kind in kinds]
    plot = panel(
        axis_over(hours.values(), "GPU-hours", from_zero=True),
        category_axis(labels[::-1], ""),
        34.0 * len(kinds) + 8,
        left=max(map(len, labels)) * LETTER + 24,
    )
    plot.frame(y_ticks=len(kinds))
    for at, kind in enumerate(reversed(kinds)):
        plot.bar(0, hours[kind], at, 20, kind, f"{_WORDS[kind]}: {short(hours[kind])}")
    lost = total - hours.get("finished", 0.0) - hours.get("training", 0.0)
    share = f", {lost / total:.0%} of them without a result" if total > 0 else ""
    notes = (
        []
        if all(run.gpus for run in facts.runs)
        else ["How many GPUs an agent has is not recorded for all: it counts as one."]
    )
    return Figure(
        name,
        title,
        f"{short(total)} GPU-hours went into {counted(len(tries), 'attempt')}{share}.",
        picture([plot], title),
        [
            *notes,
            "The time between attempts, when agents wait, is not recorded.",
            *_unrecorded(facts),
        ],
        ("went into", "GPU-hours", "share", "attempts"),
        [
            (_WORDS[kind], hours[kind], hours[kind] / total if total else 0.0, count[kind])
            for kind in kinds
        ],
    )


def fleet_timeline(facts: SweepFacts, spans: Sequence[Span] = ()) -> Figure:
    """Draw what each agent did over time; `spans` are its phases, where they are recorded."""
    name, title = "fleet", "The agents over time"
    tries = [each for each in _tries(facts) if each.agent]
    known = [each for each in spans if is_number(each.began_s) and is_number(each.ended_s)]
    if not tries and not known:
        return Figure(name, title, _why_none(facts))
    both: list[_Try | Span] = [*tries, *known]
    zero = min(each.began_s for each in both)
    first: dict[str, float] = {}
    for one in sorted(both, key=lambda each: each.began_s):
        first.setdefault(one.agent, one.began_s)
    agents = thinned(list(first), _MOST_AGENTS, best=0)
    row = {agent: len(agents) - 1 - at for at, agent in enumerate(agents)}
    end = max(each.ended_s for each in both)
    plot = panel(
        axis_over([0.0, (end - zero) / 3600], "hours since the first attempt", from_zero=True),
        category_axis(agents[::-1], ""),
        max(16.0 * len(agents), 40.0) + 8,
        left=min(max(map(len, agents)) * LETTER + 24, 220),
    )
    plot.frame(y_ticks=len(agents))
    drawn = thinned([each for each in tries if each.agent in row], _MOST_BARS, best=0)
    for each in drawn:
        began, ended = (each.began_s - zero) / 3600, (each.ended_s - zero) / 3600
        plot.bar(began, ended, row[each.agent], 10, "training", each.title)
    for span in known[:_MOST_BARS]:
        if span.agent in row:
            words = f"{span.run}: {span.phase}" if span.run else span.phase
            kind = span.phase if span.phase in _PHASES else "other"
            hours = ((span.began_s - zero) / 3600, (span.ended_s - zero) / 3600)
            plot.bar(*hours, row[span.agent], 10, kind, words)
    for each in drawn:
        if each.kind != "training":  # how it ended: a short mark, across the bar
            ended = (each.ended_s - zero) / 3600
            plot.bar(ended, ended, row[each.agent], 14, each.kind, each.title, _END_WIDE)
    kinds = {each.kind for each in drawn} | {span.phase for span in known} | {"training"}
    lacking = [phase for phase in _PHASES if phase not in {each.phase for each in known}]
    notes = []
    if not known:
        notes.append("Waiting, starting and closing are not recorded: a bar is a whole attempt.")
    elif lacking:
        notes.append(f"Not recorded: {', '.join(lacking)}.")
    if len(agents) < len(first):
        notes.append(f"{len(agents)} of {len(first):,} agents are drawn, evenly chosen.")
    if len(drawn) < sum(each.agent in row for each in tries):
        notes.append(f"{len(drawn):,} attempts are drawn, evenly chosen.")
    ends = Counter(each.kind for each in tries)
    legend = [
        kind
        for kind in (
            "waiting",
            "starting",
            "training",
            "closing",
            "finished",
            "back",
            "failed",
            "other",
        )
        if kind in kinds
    ]
    signs = {"other": "stopped or unknown", "back": "handed back"}
    told = ", ".join(f"{ends[kind]:,} × {_SHORT[kind]}" for kind in _WORDS if ends[kind])
    return Figure(
        name,
        title,
        f"{counted(len(first), 'agent')} over {short((end - zero) / 3600)} hours"
        + (f"; {counted(len(tries), 'attempt')}: {told}." if tries else "."),
        picture(
            [plot],
            title,
            [(kind, signs.get(kind, kind)) for kind in legend],
        ),
        [*notes, *_unrecorded(facts)],
        ("agent", "attempts", "hours in attempts", "finished", "failed", "handed back or lost"),
        [_agent_row(agent, tries) for agent in first],
    )


_SHORT = {
    "finished": "finished",
    "failed": "failed",
    "back": "handed back or lost",
    "training": "under way",
    "other": "stopped or unknown",
}


def _agent_row(agent: str, tries: Sequence[_Try]) -> tuple[str | int | float, ...]:
    own = [each for each in tries if each.agent == agent]
    kinds = Counter(each.kind for each in own)
    hours = sum(each.hours for each in own)
    return (agent, len(own), hours, kinds["finished"], kinds["failed"], kinds["back"])


def _tries(facts: SweepFacts) -> list[_Try]:
    """Give the attempts of all runs; a run that records none counts as one, where it can."""
    found = []
    for run in facts.runs:
        known = [each for each in run.attempts if is_number(each.began_at) and each.began_at > 0]
        for at, attempt in enumerate(known):
            ended = attempt.ended_at
            if not is_number(ended):
                later = known[at + 1].began_at if at + 1 < len(known) else None
                ended = later if later is not None else _end_of(run, facts, attempt.began_at)
            assert ended is not None
            kind = _kind(attempt, run, is_last=at + 1 == len(known))
            begun = attempt.began_at
            found.append(_Try(run, attempt.host or run.agent, begun, max(ended, begun), kind))
        if not known and is_number(run.created_s) and is_number(run.duration_s):
            begun, lasted = float(run.created_s or 0), max(float(run.duration_s or 0), 0.0)
            found.append(_Try(run, run.agent, begun, begun + lasted, kind_of(run)))
    return found


def _kind(attempt: Attempt, run: RunFacts, *, is_last: bool) -> str:
    if attempt.ended_by:
        return _ENDS.get(attempt.ended_by, "other" if attempt.ended_by == "unknown" else "back")
    if is_last:
        return "training" if run.state in HELD_RUNS else kind_of(run)
    return "back"


def _end_of(run: RunFacts, facts: SweepFacts, began_s: float) -> float:
    """Give the end of an attempt that told none: now, or as long as the run lasted."""
    if run.state in HELD_RUNS and is_number(facts.now_s):
        return float(facts.now_s or 0)
    return began_s + (float(run.duration_s or 0) if is_number(run.duration_s) else 0.0)


def _unrecorded(facts: SweepFacts) -> list[str]:
    lacking = sum(not run.attempts for run in facts.runs)
    if not lacking:
        return []
    return [f"The attempts of {counted(lacking, 'run')} are not recorded."]


def _why_none(facts: SweepFacts) -> str:
    if not facts.runs:
        return "The sweep has no runs yet."
    return "The times of its runs and attempts are not recorded."
