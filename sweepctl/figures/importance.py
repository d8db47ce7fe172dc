"""Which parameters the metric depends on, how certain that is, and the words for it.

The measure is Optuna's PED-ANOVA (https://arxiv.org/abs/2304.10255): how differently a parameter is
distributed among the best runs and among all. Its interval is a bootstrap over the runs. A ranking
is only told where it is beyond chance: shuffled metrics give less, and resampled runs the same.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweepctl.figures.axes import Axis, category_axis, short
from sweepctl.figures.drawing import LETTER, panel, picture
from sweepctl.figures.facts import SweepFacts, counted, number
from sweepctl.figures.figure import Figure
from sweepctl.figures.thinning import thinned
from sweepctl.figures.values import Parameter, parameters

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_BEST_SHARE = 0.3
"""The best runs are these. Of 0.1, 0.2, 0.3 and 0.5 it ranked a known function rightly most often
at 60 runs: in 12, 17, 19 and 14 of 20 seeds."""
_FEWEST_RUNS = 4
_RESAMPLED = 40
_MOST_RUNS = 400
"""Of more runs an even choice by rank is measured: the interval is narrow then."""
_COSTLY = 16
"""More parameters are resampled less often."""
_WHICH = "an even choice by rank, of those with a value of each parameter"
_CERTAIN = 0.9
"""A leader must lead in this share of the resampled sweeps."""
_MOST_BARS = 20


@dataclass(frozen=True, slots=True)
class Share:
    """A parameter's share of what all parameters matter, with its 95 % interval."""

    name: str
    share: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Importance:
    """The shares of the parameters, the largest first, and what may be said of them."""

    shares: tuple[Share, ...]
    words: str
    """A sentence: `learning_rate matters most (…).` or why there is nothing to say."""
    is_certain: bool
    runs: int
    notes: tuple[str, ...] = ()


def importance_of(facts: SweepFacts, seed: int = 0, repeats: int = _RESAMPLED) -> Importance:
    """Measure the parameters of the finished runs; the same runs give the same answer.

    The runs are resampled `repeats` times, and their metrics shuffled half as often. That costs a
    quarter to one second of CPU for a few parameters, so pages keep what it gave.
    """
    ranked = thinned(facts.ranked, _MOST_RUNS, best=0)
    found, notes = parameters(facts, ranked)
    found = [each for each in found if 2 * len(each.values) > len(ranked)]
    whole = [run for run in ranked if all(run.id in each.values for each in found)]
    of = len(facts.finished)
    if found and len(whole) < of:
        notes.append(f"{len(whole):,} of {counted(of, 'finished run')} are measured: {_WHICH}.")
    why = facts.why_nothing_ranked()
    if not why and not facts.searched:
        why = "The sweep searches no parameter."
    elif not why and not found:
        why = "No parameter varies among the finished runs."
    elif not why and len({run.metric for run in ranked}) == 1:
        why = f"All finished runs have the same {facts.metric_name}: no parameter matters."
    elif not why and len(whole) < _FEWEST_RUNS:
        why = _too_few(len(whole))
    if why:
        return Importance((), why, False, of, tuple(notes))
    if len(found) == 1:
        name = found[0].name
        words = f"{name} is the only parameter that varies: there is nothing to compare it with."
        return Importance((Share(name, 1.0, 1.0, 1.0),), words, False, of, tuple(notes))
    # The rank stands for the metric: PED-ANOVA asks for no more, and no number is too large.
    points = [{each.name: _unit(each, run.id) for each in found} for run in whole]
    return _measured(points, found, of, tuple(notes), repeats, random.Random(seed))


def importance(facts: SweepFacts, measured: Importance | None = None) -> Figure:
    """Draw the shares with their intervals; `measured` where it was measured before."""
    name, title = "importance", "What matters"
    found = measured or importance_of(facts)
    if len(found.shares) < 2:
        return Figure(name, title, found.words, notes=found.notes)
    shown = found.shares[:_MOST_BARS]
    notes = list(found.notes)
    if len(found.shares) > len(shown):
        notes.append(f"The first {len(shown)} of {len(found.shares)} parameters are drawn.")
    names = [each.name for each in shown]
    left = min(max(max(map(len, names)) * LETTER + 24, 66.0), 260.0)
    height = 24.0 * len(shown) + 12
    plot = panel(
        Axis("share of what the parameters matter, with its 95 % interval", 0.0, 1.0),
        category_axis(names[::-1], ""),
        height,
        left=left,
    )
    plot.frame(y_ticks=len(names))
    for at, each in enumerate(reversed(shown)):
        words = f"{each.name}: {short(each.share)} ({short(each.low)} to {short(each.high)})"
        plot.line([(each.low, at), (each.high, at)], "trend", words, "bold")
        plot.mark(each.share, at, "trend", words)
    return Figure(
        name,
        title,
        found.words,
        picture([plot], title, [("trend", "share, and its interval by resampling the runs")]),
        [
            *notes,
            f"PED-ANOVA: how differently the best {_BEST_SHARE:.0%} choose a parameter.",
        ],
        ("parameter", "share", "from", "to"),
        [(each.name, each.share, each.low, each.high) for each in found.shares],
    )


def _measured(
    points: Sequence[Mapping[str, float | str]],
    found: Sequence[Parameter],
    of: int,
    notes: tuple[str, ...],
    repeats: int,
    dice: random.Random,
) -> Importance:
    evaluate = _evaluator(found)
    order = list(range(len(points)))
    measured = evaluate(points, order)
    if not any(measured.values()):
        return Importance((), _too_few(len(points)), False, of, notes)
    repeats = repeats if len(found) <= _COSTLY else (repeats + 1) // 2
    resampled = []
    for _ in range(repeats):
        drawn = [dice.randrange(len(points)) for _ in points]
        resampled.append(evaluate([points[at] for at in drawn], drawn))
    shuffled = []
    for _ in range(max(repeats // 2, 1)):
        dice.shuffle(order)
        shuffled.append(max(evaluate(points, order).values()))
    shares = _shares(measured, resampled)
    leaders = [max(each, key=lambda name: each[name]) for each in resampled]
    is_beyond = measured[shares[0].name] > max(shuffled)
    words, is_certain = _words(shares, leaders, is_beyond, len(points))
    return Importance(shares, words, is_certain, of, notes)


def _shares(
    measured: Mapping[str, float], resampled: Sequence[Mapping[str, float]]
) -> tuple[Share, ...]:
    total = sum(measured.values())
    found = []
    for name, value in measured.items():
        parts = sorted(each[name] / (sum(each.values()) or 1.0) for each in resampled)
        low, high = parts[int(0.025 * len(parts))], parts[-1 - int(0.025 * len(parts))]
        share = value / total
        found.append(Share(name, share, min(low, share), max(high, share)))
    return tuple(sorted(found, key=lambda each: -each.share))


def _words(
    shares: Sequence[Share], leaders: Sequence[str], is_beyond: bool, runs: int
) -> tuple[str, bool]:
    """Say what is certain enough to be said, and whether that names a parameter."""
    first, second = shares[0], shares[1]
    if not is_beyond:
        return f"{_too_few(runs)[:-1]}: none stands out from chance.", False
    led = leaders.count(first.name) / len(leaders)
    if led >= _CERTAIN:
        between = f"{first.low:.0%} to {first.high:.0%} of what the parameters matter"
        return f"{first.name} matters most ({between}, {counted(runs, 'run')}).", True
    if len(shares) > 2 and led + leaders.count(second.name) / len(leaders) >= _CERTAIN:
        which = f"which of them more, {counted(runs, 'run')} do not say"
        return f"{first.name} and {second.name} matter most; {which}.", True
    return f"{_too_few(runs)[:-1]}; {first.name} leads in {led:.0%} of resampled sweeps.", False


def _too_few(runs: int) -> str:
    return f"Too few runs to say which parameter matters most ({runs} finished)."


def _unit(each: Parameter, run: str) -> float | str:
    """Give a run's place on the parameter's axis, or the name of its category."""
    value = each.values[run]
    return each.axis.names[int(value)] if each.is_category else number(each.axis.place(value))


Evaluate = Callable[[Sequence[Mapping[str, "float | str"]], Sequence[int]], "dict[str, float]"]


def _evaluator(found: Sequence[Parameter]) -> Evaluate:
    """Set PED-ANOVA up for these parameters: places and ranks (0 is best) in, importances out."""
    import optuna  # half a second: only who measures pays for it
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
    )
    from optuna.importance import PedAnovaImportanceEvaluator
    from optuna.trial import create_trial

    distributions: dict[str, BaseDistribution] = {
        each.name: CategoricalDistribution(sorted(set(each.axis.names)))
        if each.is_category
        else FloatDistribution(0.0, 1.0)
        for each in found
    }
    measure = PedAnovaImportanceEvaluator(target_quantile=_BEST_SHARE)
    # Of few runs, which are told to be too few; it would stand before an answer on a terminal.
    warnings.filterwarnings("ignore", "Target and region quantiles select the same set")

    def evaluate(
        points: Sequence[Mapping[str, float | str]], ranks: Sequence[int]
    ) -> dict[str, float]:
        trials: list[FrozenTrial] = [
            create_trial(params=dict(point), distributions=distributions, value=float(rank))
            for point, rank in zip(points, ranks, strict=True)
        ]
        told = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study()
            study.add_trials(trials)
            raw = measure.evaluate(study)
        finally:
            optuna.logging.set_verbosity(told)
        return {each.name: max(float(raw.get(each.name, 0.0)), 0.0) for each in found}

    return evaluate
