"""Numbers that no trainer should log, and does: pages and figures say what can be said."""

import math

import pytest

from sweepctl.figures import Curve, RunFacts, SweepFacts, best_so_far, metric_over_steps
from sweepctl.figures.trends import mean_interval
from sweepctl.search.metric import Metric
from sweepctl.server.web.console import styled
from sweepctl.server.web.run_origin import scaled_from_base
from sweepctl.server.web.wording import duration
from sweepctl_pod.wandb.summary import runtime_s


@pytest.mark.parametrize(
    ("said", "runtime"),
    [(12.5, 12.5), (math.inf, None), (math.nan, None), (10**400, None), (-math.inf, None)],
)
def test_a_time_that_is_no_number_is_not_told(said: float, runtime: float | None) -> None:
    assert runtime_s({"_runtime": said}) == runtime
    assert runtime_s({"_runtime": 3.0, "_wandb": {"runtime": said}}) == max(3.0, runtime or 0.0)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(75.0, "1 min 15 s"), (None, ""), (math.inf, ""), (math.nan, ""), (-math.inf, "")],
)
def test_a_duration_is_words_or_nothing(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("values", [(1.0, 1e300), (5e-324, 1.7e308), (1e-300, 1e-299), (1e308,)])
def test_a_logarithmic_axis_has_room_for_a_metric_that_diverged(values: tuple[float, ...]) -> None:
    runs = [RunFacts(f"r{at}", "finished", value) for at, value in enumerate(values)]
    curves = {run.id: Curve(values, steps=range(len(values))) for run in runs}
    facts = SweepFacts(Metric("loss", "minimize"), runs, ["lr"], curves=curves)
    for figure in (best_so_far(facts, is_log=True), metric_over_steps(facts, is_log=True)):
        assert not any(word in figure.html() for word in ('"nan', '"inf', " nan", " inf"))


@pytest.mark.parametrize("values", [[1e308, 1e308], [1.7e308, -1.7e308, 1.7e308], [1e308] * 9])
def test_the_mean_of_huge_values_is_one_of_their_size(values: list[float]) -> None:
    mean, low, high = mean_interval(values)
    assert abs(mean) <= max(map(abs, values))
    assert low <= mean <= high


def test_a_base_that_no_float_holds_is_left_out() -> None:
    table = {"hip": 10**400, "knee": 10**308, "toe": 2.0}
    found = scaled_from_base({"gain": 3, "gain_base_dict": table, "gain_cli_path": "env.gain"})
    assert [(each.name, each.own) for each in found] == [("env.gain.toe", "6")]


@pytest.mark.parametrize("line", ["a\x1b[m" * 400_000, "x" * 4_000_000, "\r50 %" * 900_000])
def test_a_line_of_megabytes_is_cut_before_it_is_looked_at(line: str) -> None:
    pieces = styled(line)
    assert sum(len(piece.text) for piece in pieces) < 5000
