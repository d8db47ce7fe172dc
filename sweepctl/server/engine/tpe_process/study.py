"""One sweep's search by Optuna: its runs so far, and the next point by multivariate TPE.

A run that ended with the metric is a result, one that failed or lacks it is worse than all results,
and one that is under way is a point to keep away from (constant liar). Which of these a run is, and
its value, are W&B's rules (https://github.com/wandb/sweeps, `bayes_search.py`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweepctl.search.next_params import Params, key_of
from sweepctl.search.space import Axis, Point, Space

FIRST_RUNS = 10
"""Until so many runs have ended, the next one is drawn at random."""

_TRIES = 20
"""How often a point is sought that no run has had."""

Run = Mapping[str, Any]
Outcome = tuple[TrialState, float | None]
_PENDING: Outcome = (TrialState.RUNNING, None)
_BAD: Outcome = (TrialState.PRUNED, None)
"""Optuna sorts these after every result."""

_ENDED = frozenset({"finished", "failed", "crashed", "killed"})


class SweepStudy:
    """The study of one sweep; it is told all runs each time, and learns what is new."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._metric: Mapping[str, Any] = spec["metric"]
        self._space = Space(spec)
        self._distributions = {
            str(number): _distribution(axis) for number, axis in enumerate(self._space.axes)
        }
        self._begin()

    def _begin(self) -> None:
        self._study = optuna.create_study(direction="minimize")
        self._known: dict[str, Outcome] = {}
        self._numbers: dict[str, int] = {}
        self._taken: set[str] = set()

    @property
    def library(self) -> tuple[Study, dict[str, BaseDistribution]]:
        """Optuna's own study of these runs, and its space: to compare with."""
        return self._study, self._distributions

    def suggest(self, runs: Sequence[Run], seed: str, number: int) -> Params:
        """Choose the parameters of the run with this number; equal for equal runs and seed."""
        self._learn(runs)
        ended = sum(state is not TrialState.RUNNING for state, _ in self._known.values())
        is_first = ended < FIRST_RUNS or not self._space.axes
        tried: Params = {}
        for point in self._first(seed, number) if is_first else self._sought(seed, number):
            tried = self._space.params(point)
            if key_of(tried) not in self._taken:
                break
        return tried

    def _first(self, seed: str, number: int) -> Iterator[Point]:
        yield self._space.drawn(seed, number)
        for again in range(1, _TRIES):
            yield self._space.drawn(f"{seed}/again/{again}", number)

    def _sought(self, seed: str, number: int) -> Iterator[Point]:
        digest = hashlib.sha256(f"{seed}/{number}".encode()).digest()
        sampler = _Sampler(self._distributions, int.from_bytes(digest[:4], "big"))
        self._study.sampler = sampler
        for _ in range(_TRIES):
            trial = self._study.ask(self._distributions)
            # Whether it becomes a run is the server's business: it comes back among the runs.
            self._study.tell(trial.number, state=TrialState.FAIL)
            yield tuple(trial.params[name] for name in self._distributions)
        yield from self._first(seed, number)

    def _learn(self, runs: Sequence[Run]) -> None:
        told = {str(run["name"]): outcome(run, self._metric) for run in runs}
        if not self._is_more_of_the_same(told):
            self._begin()
        for run in runs:
            name = str(run["name"])
            state, value = told[name]
            if name not in self._known:
                self._add(name, run, state, value)
            elif self._known[name] != told[name] and name in self._numbers:
                self._study.tell(self._numbers[name], value, state=state)
        self._known = told

    def _is_more_of_the_same(self, told: Mapping[str, Outcome]) -> bool:
        """Say whether runs have only come or ended since; else all is told anew, in order."""
        before = list(self._known)
        return before == list(told)[: len(before)] and all(
            was in (_PENDING, told[name]) for name, was in self._known.items()
        )

    def _add(self, name: str, run: Run, state: TrialState, value: float | None) -> None:
        params = {key: each["value"] for key, each in run["config"].items()}
        self._taken.add(key_of(params))
        point = self._space.point(params)
        if point is None:
            return  # from before the sweep, with a value that it does not search
        self._numbers[name] = len(self._study.get_trials(deepcopy=False))
        self._study.add_trial(
            create_trial(
                state=state,
                value=value,
                params=dict(zip(self._distributions, point, strict=True)),
                distributions=self._distributions,
            )
        )


class _Sampler(TPESampler):
    """Optuna's TPE over the whole space, without looking through all runs for what it is."""

    def __init__(self, distributions: dict[str, BaseDistribution], seed: int) -> None:
        super().__init__(n_startup_trials=1, multivariate=True, constant_liar=True, seed=seed)
        self._distributions = distributions

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions


def outcome(run: Run, metric: Mapping[str, Any]) -> Outcome:
    """Give what a run is to the search, its value so that less is better."""
    is_maximized = metric.get("goal") == "maximize"
    name, impute = metric["name"], metric.get("impute", "worst")
    history = [line[name] for line in run["history"] if _is_finite(line.get(name))]
    values = [*history, *filter(_is_finite, [run["summary_metrics"].get(name)])]

    def result(value: float) -> Outcome:
        return TrialState.COMPLETE, float(-value if is_maximized else value)

    best = (max if is_maximized else min)(values, default=None)
    if run["state"] == "running" and metric.get("impute_while_running") not in (None, "false"):
        return _PENDING if best is None else result(best)
    if run["state"] not in _ENDED:
        return _PENDING
    if run["state"] == "finished" and best is not None:
        return result(best)
    if impute == "best" and best is not None:
        return result(best)
    return result(history[-1]) if impute == "latest" and history else _BAD


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.kind == "choice":
        return CategoricalDistribution(range(int(axis.most) + 1))
    if axis.kind == "whole":
        return IntDistribution(int(axis.least), int(axis.most))
    return FloatDistribution(float(axis.least), float(axis.most))


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
