"""Every figure of every sweep: a picture or a sentence that says why there is none."""

import math
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from sweepctl.figures import (
    Curve,
    Figure,
    RunFacts,
    Span,
    SweepFacts,
    best_so_far,
    fleet_timeline,
    gains_of_the_best,
    gpu_hours,
    importance,
    importance_of,
    metric_by_parameter,
    metric_over_steps,
    parallel_coordinates,
)
from sweepctl.search.metric import Metric
from sweepctl.sweeps.facts import importance_words, sweep_facts
from sweepctl.sweeps.status import RunRow, SweepStatus
from sweepctl_pod.run_record import Attempt
from tests.figures import FORMS, REWARD, SEARCHED, made_up, with_values

FIGURES: dict[str, Callable[[SweepFacts], Figure]] = {
    "over steps": metric_over_steps,
    "over iterations": lambda facts: metric_over_steps(facts, over="iteration"),
    "over time, smoothed, log": lambda facts: metric_over_steps(
        facts, over="time", smoothing=0.9, is_log=True
    ),
    "best so far": best_so_far,
    "by parameter": metric_by_parameter,
    "parallel coordinates": parallel_coordinates,
    "importance": lambda facts: importance(facts, importance_of(facts, repeats=4)),
    "gains": gains_of_the_best,
    "GPU-hours": gpu_hours,
    "fleet": fleet_timeline,
    "fleet with phases": lambda facts: fleet_timeline(facts, PHASES),
    "best so far, log": lambda facts: best_so_far(facts, is_log=True),
}
SOME = made_up(12)
PHASES: list[Span] = [
    Span("legs-0", "waiting", 0, 60),
    Span("legs-0", "starting", 60, 100, "a"),
    Span("legs-0", "training", 100, 900, "a"),
    Span("legs-0", "a phase nobody knows", 900, math.nan, "a"),
    Span("legs-0", "closing", 900, 910, "a"),
]
EVIL = '<script>alert("1")</script>&\'\x00\x1b[31m\ud800'


def _evil(facts: SweepFacts) -> SweepFacts:
    runs = [
        replace(
            run,
            name=f"{EVIL}{run.id}",
            agent=EVIL,
            link=f'/runs/"><script>{run.id}',
            parameters={EVIL + name: EVIL for name in run.parameters},
        )
        for run in facts.runs
    ]
    return replace(
        facts,
        runs=runs,
        metric=Metric(EVIL, "maximize"),
        searched=[EVIL + name for name in facts.searched],
        forms={EVIL + name: form for name, form in facts.forms.items()},
    )


def _many_parameters(count: int) -> SweepFacts:
    base = made_up(40, seed=3)
    names = [f"agent.group.parameter_with_a_long_name_{at:02d}" for at in range(count)]
    runs = [
        replace(run, parameters={name: math.sin(at * run_at) for at, name in enumerate(names, 1)})
        for run_at, run in enumerate(base.runs)
    ]
    return replace(base, runs=runs, searched=names, forms={})


def _odd(values: list[object]) -> SweepFacts:
    """Give each run one odd value in turn, as its parameters, metric and curve."""
    runs = []
    for at, run in enumerate(SOME.runs):
        value = values[at % len(values)]
        metric = value if isinstance(value, float) else None
        runs.append(replace(run, metric=metric, parameters=dict.fromkeys(run.parameters, value)))
    numbers = [value for value in values if isinstance(value, float)]
    curves = {
        run.id: Curve(numbers, [float(at) for at in range(len(numbers))], numbers, numbers)
        for run in runs
    }
    return replace(SOME, runs=runs, curves=curves)


SWEEPS: dict[str, SweepFacts] = {
    "an everyday one": SOME,
    "no runs": replace(SOME, runs=[], curves={}),
    "no runs, no parameters, no metric": SweepFacts(None, []),
    "no metric": replace(SOME, metric=None),
    "none finished": replace(SOME, runs=[replace(run, state="running") for run in SOME.runs]),
    "all failed": replace(SOME, runs=[replace(run, state="failed") for run in SOME.runs]),
    "a state nobody knows": replace(SOME, runs=[replace(run, state="?") for run in SOME.runs]),
    "one run": made_up(1),
    "two runs": made_up(2),
    "three runs": made_up(3),
    "a constant metric": with_values(SOME, 7.5),
    "a metric of 0": with_values(SOME, 0.0),
    "a metric that no run has": with_values(SOME, None),
    "a metric of NaN": with_values(SOME, math.nan),
    "a metric of infinity": with_values(SOME, -math.inf),
    "some runs lack the metric": replace(
        SOME,
        runs=[
            replace(run, metric=None if at % 2 else run.metric) for at, run in enumerate(SOME.runs)
        ],
    ),
    "one parameter": replace(SOME, searched=SEARCHED[:1]),
    "no parameter": replace(SOME, searched=()),
    "60 parameters": _many_parameters(60),
    "a constant parameter": _odd([3.0]),
    "huge and tiny": _odd([1e308, -1e308, 5e-324, 0.0, -0.0]),
    "only huge": _odd([1.7e308, 1.6e308]),
    "not finite": _odd([math.nan, math.inf, -math.inf, 1.0]),
    "parameters of every type": _odd([1.0, "one", True, None, [1, 2], {"a": 1}, 2**2000, ""]),
    "parameters that runs lack": replace(
        SOME, runs=[replace(run, parameters={}) for run in SOME.runs[:6]] + list(SOME.runs[6:])
    ),
    "forms that are none": replace(SOME, forms=dict.fromkeys(FORMS, "what?")),
    "no history": replace(SOME, curves={}),
    "empty histories": replace(SOME, curves={run.id: Curve([]) for run in SOME.runs}),
    "histories of one point": replace(
        SOME, curves={run.id: Curve([1.0], [0], [0], [0]) for run in SOME.runs}
    ),
    "histories with only steps": replace(
        SOME, curves={name: Curve(each.values, each.steps) for name, each in SOME.curves.items()}
    ),
    "nothing known but the state": replace(
        SOME, runs=[RunFacts(run.id, run.state) for run in SOME.runs], curves={}
    ),
    "names with HTML in them": _evil(SOME),
    "500 runs": made_up(500, points=20),
}


class _Balance(HTMLParser):
    """Reads HTML and notes each element; a closing tag must close the element that is open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.seen.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name == "style"]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("sweep", SWEEPS)
@pytest.mark.parametrize("figure", FIGURES)
def test_any_sweep_gives_a_picture_or_a_sentence(figure: str, sweep: str) -> None:
    shown = FIGURES[figure](SWEEPS[sweep])
    assert shown.says.strip().endswith(".")
    assert all(note.strip().endswith(".") for note in shown.notes), shown.notes
    page = _Balance()
    page.feed(shown.html())
    assert page.open == []
    assert "script" not in page.seen
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    if not shown.svg:
        assert not shown.rows
        return
    picture = ElementTree.fromstring(shown.picture())
    drawn = [
        each
        for each in picture.iter()
        if {"line", "mark", "bar", "band"} & set(each.get("class", "").split())
    ]
    assert drawn, "an empty picture"
    numbers = [
        each.get(name, "0") for each in picture.iter() for name in ("x", "y", "cx", "cy", "d")
    ]
    assert not [each for each in numbers if "nan" in each or "inf" in each]
    assert shown.rows, "the same numbers are there without looking"


def test_a_sweep_without_a_metric_says_so() -> None:
    assert best_so_far(SWEEPS["no metric"]).says == "The sweep names no metric."


def test_the_best_run_is_marked_and_no_other() -> None:
    picture = ElementTree.fromstring(metric_over_steps(SOME).picture())
    bold = [each for each in picture.iter() if "bold" in each.get("class", "").split()]
    assert [each.get("class", "").split()[0] for each in bold] == ["best"]
    assert bold[0][0].text is not None
    assert bold[0][0].text.startswith(SOME.ranked[0].label)


def test_5000_runs_are_thinned_and_the_figure_says_so() -> None:
    runs = [RunFacts(f"r{at}", "finished", float(at)) for at in range(5000)]
    curves = {run.id: Curve([0.0, float(run.metric or 0)], [0, 1]) for run in runs}
    facts = SweepFacts(REWARD, runs, curves=curves)
    shown = metric_over_steps(facts)
    assert "120 of 5,000 runs are drawn" in " ".join(shown.notes)
    assert len(shown.svg) < 60_000
    assert "by r4999" in best_so_far(facts).says


def known_function(count: int, seed: int) -> SweepFacts:
    """Make runs whose metric follows from `strong`, less from `weak`, and not from the others."""
    dice = random.Random(seed)
    runs = []
    for at in range(count):
        values = {name: dice.random() for name in ("none", "weak", "other", "strong")}
        error = 10 * (values["strong"] - 0.7) ** 2 + 4 * (values["weak"] - 0.3) ** 2
        runs.append(RunFacts(f"r{at}", "finished", dice.gauss(-error, 0.1), values))
    return SweepFacts(REWARD, runs, ("none", "weak", "other", "strong"))


def test_importance_ranks_the_parameters_of_a_known_function() -> None:
    right = sum(
        [share.name for share in importance_of(known_function(60, seed), repeats=2).shares][:2]
        == ["strong", "weak"]
        for seed in range(20)
    )
    assert right >= 19


def test_importance_says_that_10_runs_are_too_few() -> None:
    said = [importance_of(known_function(10, seed)) for seed in range(4)]
    assert not any(each.is_certain for each in said)
    assert all(each.words.startswith("Too few runs to say") for each in said)
    for each in said:  # the intervals of the first two overlap
        assert each.shares[0].low < each.shares[1].high


@pytest.mark.slow
def test_importance_says_what_matters_most_where_it_is_certain() -> None:
    said = importance_of(known_function(150, 1))
    assert said.words.startswith("strong matters most (")
    assert said == importance_of(known_function(150, 1))


def test_no_parameter_stands_out_of_a_metric_that_follows_from_none() -> None:
    dice = random.Random(5)
    facts = known_function(40, 5)
    runs = [replace(run, metric=dice.random()) for run in facts.runs]
    assert not importance_of(replace(facts, runs=runs)).is_certain


def test_the_gains_of_the_best_run_stand_beside_the_base_dictionary() -> None:
    factor = SOME.ranked[0].parameters["p_gain_leg"]
    rows = gains_of_the_best(SOME).rows
    assert [row[1:3] for row in rows] == [
        (".*_hip_yaw_joint", 100.0),
        (".*_hip_roll_joint", 100.0),
        (".*_knee_joint", 200.0),
    ]
    assert [row[4] for row in rows] == [100.0 * factor, 100.0 * factor, 200.0 * factor]


def test_gpu_hours_count_each_attempt_by_what_became_of_it() -> None:
    def tried(number: int, began: float, ended: float, ended_by: str) -> Attempt:
        return Attempt(number, "a", began_at=began, ended_at=ended, ended_by=ended_by)

    runs = [
        RunFacts(
            "r1",
            "finished",
            1.0,
            gpus=2,
            attempts=[tried(1, 3600, 7200, "SIGTERM"), tried(2, 7300, 10900, "finished")],
        ),
        RunFacts("r2", "failed", gpus=1, attempts=[tried(1, 3600, 5400, "failed")]),
    ]
    hours = {row[0]: row[1] for row in gpu_hours(SweepFacts(REWARD, runs)).rows}
    assert hours == {
        "attempts that finished their run": 2.0,
        "attempts handed back or lost": 2.0,
        "attempts that failed": 0.5,
    }


def test_a_status_becomes_facts_with_its_words() -> None:
    facts = known_function(12, 3)
    rows = tuple(
        RunRow(run.id, run.state, "legs-0", run.metric, 1, 1.0, run.parameters)
        for run in facts.runs
    )
    status = SweepStatus(
        "e/p/s", None, "FINISHED", "random", REWARD, None, rows, None, tuple(facts.searched)
    )
    assert sweep_facts(status).ranked[0].id == facts.ranked[0].id
    assert importance_words(status) == importance_of(facts).words


def test_importance_of_few_runs_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = importance_of(made_up(6), repeats=4)
    assert found.words.startswith("Too few runs")
