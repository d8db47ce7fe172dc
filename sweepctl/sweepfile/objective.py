"""What a sweep optimizes, and how it ends runs that do badly: `metric` and `early_terminate`.

W&B's rules: bayes and hyperband need a metric, grid and random do not; who names no goal minimizes.
"""

from __future__ import annotations

from collections.abc import Mapping

from sweepctl.search.metric import Metric
from sweepctl.sweepfile.checker import Checker
from sweepctl.sweepfile.document import Path, number_text
from sweepctl_pod.errors import nearest
from sweepctl_pod.trainer.libraries import METRICS

_METRIC_KEYS = ("name", "goal", "target", "impute", "impute_while_running")
_GOALS = ("minimize", "maximize")
_DEFAULT_GOAL = "minimize"
_HYPERBAND_KEYS = ("type", "min_iter", "max_iter", "s", "eta", "strict")


def check_metric(
    checker: Checker, root: Mapping[str, object], method: object, library: str | None
) -> Metric | None:
    """Check what the sweep optimizes; give it when it is sound.

    `library` is Isaac Lab's RL library, where it is one.
    """
    example = _example(library)
    if "metric" not in root:
        if checker.misspelt((), "metric") or "early_terminate" in root:
            return None
        if method == "bayes":
            checker.error(("method",), "bayes needs a metric to learn from", example)
        else:
            assumed = "runs are judged by their trainer's end alone, and not ranked"
            checker.warn((), f"metric is missing: {assumed}", f"to rank them {example}")
        return None
    metric = root["metric"]
    if not checker.mapping(metric, ("metric",), example):
        return None
    checker.known_keys(metric, ("metric",), _METRIC_KEYS)
    if "name" not in metric:
        checker.missing(("metric",), "name", example)
    if "goal" not in metric and not checker.misspelt(("metric",), "goal"):
        message = f"goal is missing: {_DEFAULT_GOAL} is assumed, as W&B does"
        hint = f"write goal: {_DEFAULT_GOAL}, or goal: maximize where more is better"
        checker.warn(("metric",), message, hint, at_key=True)
    if "target" in metric:
        checker.number(metric["target"], ("metric", "target"))
    for key, options in (
        ("goal", _GOALS),
        ("impute", ("latest", "best", "worst")),
        ("impute_while_running", ("latest", "best", "worst", "false")),
    ):
        if key in metric:
            checker.choice(metric[key], ("metric", key), options)
    name = metric.get("name")
    if "name" in metric and checker.text(name, ("metric", "name")):
        _check_owner(checker, name, library)
        return Metric(name, str(metric.get("goal", _DEFAULT_GOAL)))
    return None


def check_early_terminate(
    checker: Checker, root: Mapping[str, object], library: str | None
) -> None:
    """Check the rules by which runs are ended early."""
    at = ("early_terminate",)
    example = "write early_terminate: {type: hyperband, min_iter: 100}"
    if "early_terminate" not in root:
        return
    rules = root["early_terminate"]
    if not checker.mapping(rules, at, example):
        return
    checker.known_keys(rules, at, _HYPERBAND_KEYS)
    if "type" not in rules:
        checker.missing(at, "type", example)
    elif rules["type"] != "hyperband" and not nearest(str(rules["type"]), ("hyperband",)):
        checker.expected(rules["type"], (*at, "type"), "hyperband", example)
        return
    else:
        checker.choice(rules["type"], (*at, "type"), ("hyperband",))
    if "min_iter" not in rules and not {"max_iter", "s"} <= set(rules):
        message = "hyperband needs min_iter, or max_iter and s"
        checker.missing(at, "min_iter", "add min_iter: 100", message=message)
    for key in ("min_iter", "max_iter"):
        if key in rules and checker.whole(rules[key], (*at, key)):
            _at_least(checker, (*at, key), rules[key], 1)
    if "s" in rules and checker.number(rules["s"], (*at, "s")):
        _at_least(checker, (*at, "s"), rules["s"], 1)
    if "eta" in rules and checker.number(eta := rules["eta"], (*at, "eta")) and eta <= 1:
        checker.error((*at, "eta"), f"eta must be above 1, found {number_text(eta)}")
    if "strict" in rules and not isinstance(rules["strict"], bool):
        checker.expected(rules["strict"], (*at, "strict"), "true or false")
    if "metric" not in root and not checker.misspelt((), "metric"):
        message = "hyperband needs a metric to compare runs by"
        checker.error(at, message, _example(library), at_key=True)


def _at_least(checker: Checker, path: Path, value: object, least: int) -> None:
    if isinstance(value, (int, float)) and value < least:
        message = f"{path[-1]} must be {least} or more, found {number_text(value)}"
        checker.error(path, message)


def _example(library: str | None) -> str:
    return f"write metric: {{name: {METRICS.get(library or '', 'reward')}, goal: maximize}}"


def _check_owner(checker: Checker, name: str, library: str | None) -> None:
    """Warn of a reward by the name that another library gives it."""
    own = METRICS.get(library or "")
    owner = next((other for other, called in METRICS.items() if called == name), library)
    if own is not None and owner != library:
        message = f"{name} is what {owner} logs, and {library} trains"
        checker.warn(("metric", "name"), message, f"write name: {own}")
