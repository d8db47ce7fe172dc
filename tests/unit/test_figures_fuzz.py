"""Any facts at all: each figure is a well-formed picture or a sentence, and never an error."""

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweepctl.figures import (
    Curve,
    Figure,
    RunFacts,
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
from sweepctl_pod.run_record import Attempt

FIGURES: dict[str, Callable[[SweepFacts], Figure]] = {
    "steps": metric_over_steps,
    "time": lambda facts: metric_over_steps(facts, over="time", smoothing=0.5, is_log=True),
    "best": best_so_far,
    "best, log": lambda facts: best_so_far(facts, is_log=True),
    "parameters": metric_by_parameter,
    "parallel": parallel_coordinates,
    "importance": lambda facts: importance(facts, importance_of(facts, repeats=2)),
    "gains": gains_of_the_best,
    "hours": gpu_hours,
    "fleet": fleet_timeline,
}

NAMES = st.sampled_from(["a", "b.c", "", "<script>&\"'", "p\x00\ud800", "Ω" * 90]) | st.text(
    max_size=5
)
NUMBERS = st.none() | st.floats() | st.floats(-10, 10)
TIMES = st.none() | st.floats() | st.floats(1.7e9, 1.8e9)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=3,
)
STATES = st.sampled_from(["finished", "finished", "running", "failed", "pending", "killed", "?"])
ATTEMPTS = st.builds(
    Attempt,
    number=st.integers(0, 5),
    host=NAMES,
    agent=NAMES,
    began_at=st.floats() | st.floats(1.7e9, 1.8e9),
    ended_at=TIMES,
    ended_by=st.sampled_from(["", "finished", "failed", "stopped", "SIGTERM", "silence"]) | NAMES,
    first=st.none() | st.integers(),
    last=st.none() | st.integers(),
    waited_from=TIMES,
    started_at=TIMES,
    trained_from=TIMES,
    trained_until=TIMES,
    gpus=st.none() | st.integers(-1, 9),
    gpu=NAMES,
)
CURVES = st.builds(
    Curve, *(st.lists(st.floats() | st.floats(-10, 10), max_size=6) for _ in range(4))
)
FORMS = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "distribution": st.sampled_from(["uniform", "log_uniform_values", "normal", "what"]),
        "min": VALUES,
        "max": VALUES,
        "values": VALUES,
        "value": VALUES,
    },
)
PARAMETERS = ("gain", "gain_cli_path", "gain_base_dict", "b.c", "<script>&\"'")


@st.composite
def any_facts(draw: st.DrawFn) -> SweepFacts:
    count = draw(st.integers(0, 8))
    runs = [
        RunFacts(
            id=f"{draw(NAMES)}{at}",
            state=draw(STATES),
            metric=draw(NUMBERS),
            parameters=draw(st.dictionaries(st.sampled_from(PARAMETERS), VALUES, max_size=4)),
            name=draw(NAMES),
            link=draw(NAMES),
            created_s=draw(TIMES),
            duration_s=draw(NUMBERS),
            agent=draw(NAMES),
            gpus=draw(st.none() | st.integers(-1, 9)),
            attempts=draw(st.lists(ATTEMPTS, max_size=3)),
        )
        for at in range(count)
    ]
    goals = st.sampled_from(["minimize", "maximize"])
    return SweepFacts(
        metric=draw(st.none() | st.builds(Metric, NAMES, goals)),
        runs=runs,
        searched=draw(st.lists(st.sampled_from(PARAMETERS), unique=True)),
        forms=draw(st.dictionaries(st.sampled_from(PARAMETERS), FORMS, max_size=3)),
        curves={run.id: draw(CURVES) for run in runs if draw(st.booleans())},
        now_s=draw(TIMES),
        heard_s=draw(st.dictionaries(NAMES, st.floats() | st.floats(1.7e9, 1.8e9), max_size=2)),
    )


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@pytest.mark.parametrize("figure", FIGURES)
@given(facts=any_facts())
def test_any_facts_give_a_well_formed_figure(figure: str, facts: SweepFacts) -> None:
    shown = FIGURES[figure](facts)
    assert shown.says.strip().endswith(".")
    ElementTree.fromstring(shown.html())
    if shown.svg:
        picture = ElementTree.fromstring(shown.picture())
        places = [
            each.get(name, "") for each in picture.iter() for name in ("x", "y", "d", "width")
        ]
        assert not [each for each in places if "nan" in each or "inf" in each]
    assert all(len(row) == len(shown.columns) for row in shown.rows)
    words = " ".join([shown.says, *shown.notes])
    for name in (facts.metric_name, *(run.label for run in facts.runs), *PARAMETERS):
        words = words.replace(name, "") if name else words  # a name may be that
    assert "nan" not in words
