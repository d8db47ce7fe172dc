"""Where the GPU-hours went, and what each agent did when: from the attempts that runs record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain

from sweepctl.figures.axes import axis_over, category_axis, short
from sweepctl.figures.drawing import LETTER, panel, picture
from sweepctl.figures.facts import SweepFacts, counted, is_number
from sweepctl.figures.figure import Figure
from sweepctl.figures.phases import PHASES, TRAINING, WAITING, Span, Try, tries_of, waits_of
from sweepctl.figures.thinning import thinned

_MOST_AGENTS, _MOST_BARS = 40, 2500
_END_WIDE = 4.0
_REPEATED, _WHOLE = "repeated", "whole"
_WORDS = {
    "finished": "attempts that finished their run",
    "failed": "attempts that failed",
    "back": "attempts handed back or lost",
    _REPEATED: "iterations trained again after a loss",
    "training": "attempts under way",
    "other": "attempts stopped, or whose end is not recorded",
    WAITING: "agents that waited for a run",
}
_COLOUR = {_REPEATED: "back"}
_SHORT = {
    "finished": "finished",
    "failed": "failed",
    "back": "handed back or lost",
    "training": "under way",
    "other": "stopped or unknown",
}


def gpu_hours(facts: SweepFacts) -> Figure:
    """Draw how many GPU-hours went into what, and into which phases of it."""
    name, title = "gpu-hours", "Where the GPU-hours went"
    tries = tries_of(facts)
    waits = waits_of(facts, tries)
    if not tries and not waits:
        return Figure(name, title, _why_none(facts))
    hours = _hours(tries, waits)
    kinds = [kind for kind in _WORDS if kind in hours]
    count = Counter(each.kind for each in tries)
    count[_REPEATED] = sum(each.repeated > 0 for each in tries)
    sums = {kind: sum(hours[kind].values()) for kind in kinds}
    total = sum(sums.values())
    labels = [_WORDS[kind] for kind in kinds]
    plot = panel(
        axis_over(sums.values(), "GPU-hours", from_zero=True),
        category_axis(labels[::-1], ""),
        34.0 * len(kinds) + 8,
        left=max(map(len, labels)) * LETTER + 24,
    )
    plot.frame(y_ticks=len(kinds))
    for at, kind in enumerate(reversed(kinds)):
        from_h = 0.0
        for part in (*PHASES, _WHOLE):
            if part in hours[kind]:
                until_h = from_h + hours[kind][part]
                colour = _COLOUR.get(kind, kind) if part == _WHOLE else part
                words = f"{_WORDS[kind]}: {short(hours[kind][part])}"
                plot.bar(from_h, until_h, at, 20, colour, words + _of(part), least=0.0)
                from_h = until_h
    lost = total - sum(sums.get(kind, 0.0) for kind in ("finished", "training"))
    share = f", {lost / total:.0%} of them without a result" if total > 0 else ""
    trained = sum(hours[kind].get(TRAINING, 0.0) for kind in kinds if kind != _REPEATED)
    has_phases = any(each.spans for each in tries)
    spent = f"; {trained / total:.0%} were training" if has_phases and total > 0 else ""
    return Figure(
        name,
        title,
        f"{short(total)} GPU-hours went into {counted(len(tries), 'attempt')}{share}{spent}.",
        picture(
            [plot],
            title,
            [part for part in PHASES if any(part in hours[kind] for kind in kinds)],
        ),
        [*_gpu_notes(tries), *_phase_notes(tries, waits), *_unrecorded(facts)],
        ("went into", "GPU-hours", "share", "attempts", *PHASES, "phases not recorded"),
        [
            (
                _WORDS[kind],
                sums[kind],
                sums[kind] / total if total else 0.0,
                "" if kind == WAITING else count[kind],
                *(hours[kind].get(part, 0.0) for part in (*PHASES, _WHOLE)),
            )
            for kind in kinds
        ],
    )


def _hours(tries: Iterable[Try], waits: Iterable[Span]) -> dict[str, dict[str, float]]:
    """Add up the GPU-hours by what became of them and by phase."""
    hours: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for each in tries:
        hours[each.kind][_WHOLE] += 0.0  # a kind of no length is a kind too
        if not each.spans:
            hours[each.kind][_WHOLE] += each.gpu_hours * (1 - each.repeated)
            if each.repeated:
                hours[_REPEATED][_WHOLE] += each.gpu_hours * each.repeated
        for span in each.spans:
            again = each.repeated if span.phase == TRAINING else 0.0
            hours[each.kind][span.phase] += span.gpu_hours * (1 - again)
            if again:
                hours[_REPEATED][span.phase] += span.gpu_hours * again
    for wait in waits:
        hours[WAITING][WAITING] += wait.gpu_hours
    return hours


def _of(part: str) -> str:
    return ", phases not recorded" if part == _WHOLE else f", {part}"


def fleet_timeline(facts: SweepFacts, spans: Sequence[Span] = ()) -> Figure:
    """Draw what each agent did over time; `spans` are phases that are known from elsewhere."""
    name, title = "fleet", "The agents over time"
    tries = [each for each in tries_of(facts) if each.agent]
    own = chain(waits_of(facts, tries), *(each.spans for each in tries))
    known = [
        each
        for each in (*own, *spans)
        if each.agent and is_number(each.began_s) and is_number(each.ended_s)
    ]
    if not tries and not known:
        return Figure(name, title, _why_none(facts))
    both: list[Try | Span] = [*tries, *known]
    zero = min(each.began_s for each in both)
    first: dict[str, float] = {}
    for one in sorted(both, key=lambda each: each.began_s):
        first.setdefault(one.agent, one.began_s)
    agents = thinned(list(first), _MOST_AGENTS, best=0)
    row = {agent: len(agents) - 1 - at for at, agent in enumerate(agents)}
    lasted_s = max(each.ended_s for each in both) - zero
    unit, unit_s = _unit(lasted_s)
    plot = panel(
        axis_over([0.0, lasted_s / unit_s], f"{unit} {_SINCE[bool(known)]}", from_zero=True),
        category_axis(agents[::-1], ""),
        max(16.0 * len(agents), 40.0) + 8,
        left=min(max(map(len, agents)) * LETTER + 24, 220),
    )
    plot.frame(y_ticks=len(agents))
    drawn = thinned([each for each in tries if each.agent in row], _MOST_BARS, best=0)
    shown = thinned([each for each in known if each.agent in row], 2 * _MOST_BARS, best=0)
    for each in drawn:
        if not each.spans:
            began, ended = (each.began_s - zero) / unit_s, (each.ended_s - zero) / unit_s
            plot.bar(began, ended, row[each.agent], 10, "training", _title(each))
    for span in shown:
        words = f"{span.run}: {span.phase}" if span.run else span.phase
        kind = span.phase if span.phase in PHASES else "other"
        began, ended = (span.began_s - zero) / unit_s, (span.ended_s - zero) / unit_s
        plot.bar(began, ended, row[span.agent], 10, kind, words)
    for each in drawn:
        if each.kind != "training":  # how it ended: a short mark, across the bar
            ended = (each.ended_s - zero) / unit_s
            plot.bar(ended, ended, row[each.agent], 14, each.kind, _title(each), _END_WIDE)
    kinds = {each.kind for each in drawn} | {span.phase for span in shown} | {"training"}
    notes = _phase_notes(tries, [each for each in known if each.phase == WAITING], len(spans))
    if len(agents) < len(first):
        notes.append(f"{len(agents)} of {len(first):,} agents are drawn, evenly chosen.")
    if len(drawn) < sum(each.agent in row for each in tries):
        notes.append(f"{len(drawn):,} attempts are drawn, evenly chosen.")
    ends = Counter(each.kind for each in tries)
    legend = [
        (kind, _SIGNS.get(kind, kind))
        for kind in (*PHASES, "finished", "back", "failed", "other")
        if kind in kinds
    ]
    told = ", ".join(f"{ends[kind]:,} × {word}" for kind, word in _SHORT.items() if ends[kind])
    return Figure(
        name,
        title,
        f"{counted(len(first), 'agent')} over {short(lasted_s / unit_s)} {unit}"
        + (f"; {counted(len(tries), 'attempt')}: {told}." if tries else "."),
        picture([plot], title, legend),
        [*notes, *_unrecorded(facts)],
        (
            *("agent", "attempts", "hours in attempts"),
            *("finished", "failed", "handed back or lost"),
            *(f"hours {phase}" for phase in PHASES),
        ),
        _agent_rows(first, tries, known),
    )


_SINCE = ("since the first attempt", "since the first agent began")
_SIGNS = {"other": "stopped or unknown", "back": "handed back"}


def _unit(lasted_s: float) -> tuple[str, float]:
    """Give the unit in which a stretch of time is easy to read, and its seconds."""
    if lasted_s < 120:
        return "seconds", 1.0
    return ("minutes", 60.0) if lasted_s < 7200 else ("hours", 3600.0)


def _title(each: Try) -> str:
    return f"{each.run.label}: {_WORDS[each.kind].replace('attempts', 'attempt')}"


def _agent_rows(
    agents: Iterable[str], tries: Iterable[Try], spans: Iterable[Span]
) -> list[tuple[str | int | float, ...]]:
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    hours: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for each in tries:
        kinds[each.agent][each.kind] += 1
        hours[each.agent][_WHOLE] += (each.ended_s - each.began_s) / 3600
    for span in spans:
        hours[span.agent][span.phase] += (span.ended_s - span.began_s) / 3600
    return [
        (
            *(agent, sum(kinds[agent].values()), hours[agent][_WHOLE]),
            *(kinds[agent][kind] for kind in ("finished", "failed", "back")),
            *(hours[agent][phase] for phase in PHASES),
        )
        for agent in agents
    ]


def _gpu_notes(tries: Sequence[Try]) -> list[str]:
    notes = []
    if any(each.gpus is None for each in tries):
        notes.append("How many GPUs an agent has is not recorded for all: it counts as one.")
    if any(each.gpus == 0 for each in tries):
        notes.append("An agent without a GPU counts as one that has one.")
    return notes


def _phase_notes(tries: Sequence[Try], waits: Sequence[Span], given: int = 0) -> list[str]:
    """Say which phases are not recorded."""
    if not any(each.spans for each in tries) and not waits and not given:
        return ["Waiting, starting and closing are not recorded: a bar is a whole attempt."]
    notes = []
    # One that is under way tells its phases as they come.
    lacking = sum(not each.spans and each.kind != "training" for each in tries)
    if lacking and not given:
        notes.append(f"The phases of {counted(lacking, 'attempt')} are not recorded.")
    if not waits:
        notes.append("When agents waited is not recorded.")
    return notes


def _unrecorded(facts: SweepFacts) -> list[str]:
    lacking = sum(not run.attempts for run in facts.runs)
    if not lacking:
        return []
    return [f"The attempts of {counted(lacking, 'run')} are not recorded."]


def _why_none(facts: SweepFacts) -> str:
    if not facts.runs:
        return "The sweep has no runs yet."
    return "The times of its runs and attempts are not recorded."
