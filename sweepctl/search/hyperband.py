"""Hyperband: which runs of a sweep are behind the others and are to stop. Pure.

The decisions are W&B's to the letter (https://github.com/wandb/sweeps, `hyperband_stopping.py`),
and so is what counts as a value: a number that is finite.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweepctl.search.distributions import SearchError, named

_MAX_BANDS = 100
_MAX_BAND = 2**53
"""No history is as long as this."""


@dataclass(frozen=True, slots=True)
class Logged:
    """What a run has logged of the metric, in order, and whether it still trains."""

    name: str
    is_running: bool
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Hyperband:
    """The rules of one sweep: at which counts of values runs are compared, and how many go on."""

    bands: tuple[int, ...]
    share: float
    is_strict: bool
    is_maximized: bool

    def behind(self, runs: Sequence[Logged]) -> list[str]:
        """Name the runs that are to stop, in the order of the runs."""
        histories = [self._losses(run) for run in runs]
        thresholds = [self._threshold(band, histories) for band in self.bands]
        return [
            run.name
            for run, losses in zip(runs, histories, strict=True)
            if run.is_running and self._is_behind(losses, thresholds)
        ]

    def _losses(self, run: Logged) -> list[float]:
        values = [value for value in run.values if math.isfinite(value)]
        return [-value for value in values] if self.is_maximized else values

    def _threshold(self, band: int, histories: Sequence[Sequence[float]]) -> float:
        at_band = sorted(losses[band - 1] for losses in histories if len(losses) >= band)
        return at_band[int(self.share * len(at_band))] if at_band else math.inf

    def _is_behind(self, losses: Sequence[float], thresholds: Sequence[float]) -> bool:
        reached = None
        for band, threshold in zip(self.bands, thresholds, strict=True):
            if band > len(losses):
                break
            reached = band, threshold
        if reached is None:
            return False
        band, threshold = reached
        return (losses[band - 1] if self.is_strict else min(losses)) > threshold


def read_hyperband(spec: Mapping[str, Any]) -> Hyperband | None:
    """Read a sweep's `early_terminate`; None without one. A SearchError says what is wrong."""
    rules = spec.get("early_terminate")
    if rules is None:
        return None
    if not isinstance(rules, Mapping):
        raise SearchError(
            "early_terminate: expected a map such as {type: hyperband, min_iter: 100}, found"
            f" {named(rules)}"
        )
    if rules.get("type") != "hyperband":
        found = rules.get("type")
        raise SearchError(f"early_terminate.type: write hyperband, the only one; found {found!r}")
    eta = rules.get("eta", 3)
    if not _is_number(eta) or eta <= 1:
        raise SearchError(f"early_terminate.eta: expected a number above 1, found {eta!r}")
    strict = rules.get("strict", True)
    if not isinstance(strict, bool):
        raise SearchError(f"early_terminate.strict: expected true or false, found {strict!r}")
    bands = _bands_down(rules, eta) if "max_iter" in rules else _bands_up(rules, eta)
    metric = spec.get("metric") or {}
    return Hyperband(tuple(bands), 1.0 / eta, strict, metric.get("goal") == "maximize")


def _bands_down(rules: Mapping[str, Any], eta: float) -> list[int]:
    if "s" not in rules:
        raise SearchError("early_terminate: max_iter needs s, the number of bands; or min_iter")
    count = _whole(rules, "s")
    band: float = _whole(rules, "max_iter")
    bands: list[int] = []
    for _ in range(count):
        band /= eta
        if band < 1:
            break
        bands.append(int(band))
    if not bands:
        raise SearchError(
            f"early_terminate: no band lies between 1 and max_iter {rules['max_iter']!r} with eta"
            f" {eta!r} and s {count!r}: give a greater max_iter, or a smaller eta"
        )
    return sorted(bands)


def _bands_up(rules: Mapping[str, Any], eta: float) -> list[int]:
    if "min_iter" not in rules:
        raise SearchError("early_terminate: hyperband needs min_iter, or max_iter and s")
    band: float = _whole(rules, "min_iter")
    bands: list[int] = []
    while len(bands) < _MAX_BANDS and band <= _MAX_BAND:
        bands.append(int(band))
        band *= eta
    return bands


def _whole(rules: Mapping[str, Any], key: str) -> int:
    value = rules[key]
    if not _is_number(value) or value != int(value) or value < 1:
        raise SearchError(f"early_terminate.{key}: expected a whole number from 1, found {value!r}")
    return int(value)


def _is_number(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type] # a number
