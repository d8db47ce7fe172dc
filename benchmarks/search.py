"""How well and how fast `bayes` searches: our engine beside random search and W&B's own.

Thirty seeded noisy problems of 7 to 12 parameters (log, whole numbers, categories), eight agents
at once, the same for all three. A problem is reached when a run's value without its noise is as
good as the median, over many repetitions, of the best of 200 runs at random. Run it by
`make bench-search`.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna

from sweepctl.search.next_params import next_params, wrapped
from sweepctl.server.engine.search_engine import Draw, OptunaEngine, SearchEngine, WandbEngine
from sweepctl.server.engine.tpe_process.study import SweepStudy

ROOT = Path(__file__).resolve().parents[1]
PROBLEMS, AGENTS, WITHIN, AT_RANDOM, REPEATS = 30, 8, 80, 200, 25
RUNS_OF_SPEED, ASKS = 1000, 60
METRIC = {"name": "loss", "goal": "minimize"}
Params = Mapping[str, Any]
Suggest = Callable[[Sequence[dict[str, Any]], int], Params]


class Problem:
    """A noisy function with one best place; a few of its parameters matter much, others little."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(f"problem {seed}")
        self.parameters: dict[str, dict[str, Any]] = {}
        self._terms: list[Callable[[Params], float]] = []
        for number in range(rng.randint(7, 12)):
            kinds = ("float", "log", "whole", "choice")
            kind = kinds[number] if number < 4 else rng.choice(kinds)
            self._add(f"p{number}", kind, math.exp(rng.uniform(-2.0, 1.0)), rng)
        self._noise = 0.03 * len(self._terms)
        names = list(self.parameters)
        self._pair = rng.sample([n for n in names if "min" in self.parameters[n]], 2)

    def _add(self, name: str, kind: str, weight: float, rng: random.Random) -> None:
        at = rng.uniform(0.15, 0.85)
        if kind == "choice":
            cost = {value: rng.random() for value in ("a", "b", "c", "d")[: rng.randint(2, 4)]}
            least = min(cost.values())
            self.parameters[name] = {"values": list(cost)}
            self._terms.append(lambda p: weight * (cost[p[name]] - least))
            return
        kinds: dict[str, dict[str, Any]] = {
            "float": {"min": 0.0, "max": 1.0},
            "log": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
            "whole": {"min": 1, "max": 64},
        }
        self.parameters[name] = kinds[kind]
        power = rng.choice((1.0, 2.0))
        self._terms.append(lambda p: weight * (2 * abs(self._share(name, p) - at)) ** power)

    def _share(self, name: str, params: Params) -> float:
        low, high = (float(self.parameters[name][end]) for end in ("min", "max"))
        value = float(params[name])
        if "distribution" in self.parameters[name]:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return (value - low) / (high - low)

    def true(self, params: Params) -> float:
        one, other = (self._share(name, params) for name in self._pair)
        return sum(term(params) for term in self._terms) + 0.5 * (one - other) ** 2

    def logged(self, params: Params, number: int, seed: int) -> float:
        return self.true(params) + random.Random(f"{seed}/{number}").gauss(0, self._noise)

    @property
    def spec(self) -> dict[str, Any]:
        return {"method": "bayes", "metric": METRIC, "parameters": self.parameters}


def search(problem: Problem, suggest: Suggest, count: int, seed: int) -> list[float]:
    """Give the true value of each run, AGENTS of them under way at any time."""
    runs: list[dict[str, Any]] = []
    found: list[float] = []
    lengths = random.Random(f"lengths {seed}")
    under_way: list[tuple[float, int]] = []
    now = 0.0
    while len(runs) < count:
        if len(under_way) == AGENTS:
            now, ended = min(under_way)
            under_way.remove((now, ended))
            params = {key: each["value"] for key, each in runs[ended]["config"].items()}
            loss = problem.logged(params, ended, seed)
            runs[ended] = {**runs[ended], "state": "finished", "summary_metrics": {"loss": loss}}
        number = len(runs)
        params = dict(suggest(runs, number))
        found.append(problem.true(params))
        runs.append(run_of(number, params))
        under_way.append((now + lengths.uniform(0.8, 1.2), number))
    return found


def run_of(number: int, params: Params, state: str = "running") -> dict[str, Any]:
    return {
        "name": str(number),
        "state": state,
        "config": wrapped(params),
        "summary_metrics": {},
        "history": [],
    }


def at_random(problem: Problem, seed: int) -> Suggest:
    spec = {**problem.spec, "method": "random"}

    def suggest(runs: Sequence[dict[str, Any]], number: int) -> Params:
        return next_params(spec, [], random.Random(f"{seed}/{number}")) or {}

    return suggest


def by_engine(engine: SearchEngine, problem: Problem, seed: int) -> Suggest:
    def suggest(runs: Sequence[dict[str, Any]], number: int) -> Params:
        with engine.turn():
            return engine.suggest(problem.spec, runs, Draw(f"s{seed}", str(seed), number))

    return suggest


def first_below(values: Sequence[float], target: float) -> int | None:
    return next((number for number, value in enumerate(values, 1) if value <= target), None)


def quality(engines: Mapping[str, SearchEngine]) -> None:
    reached: dict[str, list[int | None]] = {name: [] for name in ("random", *engines)}
    spent_s = dict.fromkeys(engines, 0.0)
    for seed in range(PROBLEMS):
        problem = Problem(seed)
        bests = [
            min(search(problem, at_random(problem, repeat), AT_RANDOM, repeat))
            for repeat in range(REPEATS)
        ]
        target = statistics.median(bests)
        chance = search(problem, at_random(problem, 10_000 + seed), WITHIN, seed)
        reached["random"].append(first_below(chance, target))
        for name, engine in engines.items():
            began = time.perf_counter()
            values = search(problem, by_engine(engine, problem, seed), WITHIN, seed)
            spent_s[name] += time.perf_counter() - began
            reached[name].append(first_below(values, target))
        print(seed, {name: counts[-1] for name, counts in reached.items()}, file=sys.stderr)
    print(
        f"{PROBLEMS} problems, {AGENTS} agents at once: as good as the median of {AT_RANDOM} runs"
        f" at random, within {WITHIN} runs"
    )
    for name, counts in reached.items():
        there = sorted(count for count in counts if count is not None)
        share = len(there) / len(counts)
        middle = f", median at run {statistics.median(there):g}" if there else ""
        each = (
            f", {spent_s[name] / PROBLEMS / WITHIN * 1000:.1f} ms a run" if name in spent_s else ""
        )
        print(f"  {name:8} {len(there)} of {len(counts)} ({share:.0%}){middle}{each}")


def speed(engine: SearchEngine) -> None:
    """Ask at 1,000 runs: in the worker over its pipe, and Optuna alone on a study of its own."""
    problem = Problem(3)
    runs = []
    for number in range(RUNS_OF_SPEED):
        params = at_random(problem, 5)([], number)
        run = run_of(number, params, "finished" if number < RUNS_OF_SPEED - AGENTS else "running")
        if run["state"] == "finished":
            run["summary_metrics"] = {"loss": problem.logged(params, number, 5)}
        runs.append(run)
    ours, own = [], []
    study = SweepStudy(problem.spec)
    study.suggest(runs, "5", RUNS_OF_SPEED)
    library, distributions = study.library
    library.sampler = optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=5)
    suggest = by_engine(engine, problem, 5)
    suggest(runs, 0)
    for number in range(ASKS):
        ended = RUNS_OF_SPEED - AGENTS + number
        params = at_random(problem, 5)([], ended)
        runs[ended] = run_of(ended, params, "finished")
        runs[ended]["summary_metrics"] = {"loss": problem.logged(params, ended, 5)}
        runs.append(run_of(len(runs), at_random(problem, 5)([], len(runs))))
        began = time.perf_counter()
        suggest(runs, number)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        trial = library.ask(distributions)
        own.append(time.perf_counter() - began)
        library.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    (a, b), (c, d) = (
        (statistics.median(times) * 1000, sorted(times)[int(0.95 * ASKS)] * 1000)
        for times in (ours, own)
    )
    print(
        f"an ask at {RUNS_OF_SPEED} runs: p50 {a:.1f} ms, p95 {b:.1f} ms in the worker; Optuna's"
        f" own p50 {c:.1f} ms, p95 {d:.1f} ms: {b / d:.2f} times its p95, {a / c:.2f} times its p50"
    )


def first_asks(engine: SearchEngine) -> None:
    problem = Problem(1)
    runs: list[dict[str, Any]] = []

    def take(agent: int) -> None:
        with engine.turn() as is_mine:
            assert is_mine
            params = engine.suggest(problem.spec, runs, Draw("first", "1", len(runs)))
            runs.append(run_of(len(runs), params))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(take, range(16)))
    distinct = len({str(run["config"]) for run in runs})
    print(f"16 first asks at once: {16 - distinct} duplicates of 16")


def replay(log: Callable[[str], None]) -> None:
    problem = Problem(2)
    found = []
    for _ in range(2):
        engine = OptunaEngine(log)
        found.append(search(problem, by_engine(engine, problem, 7), 60, 7))
        engine.close()
    print(f"60 runs again from their seed: {'equal' if found[0] == found[1] else 'NOT equal'}")


def wandbs(log: Callable[[str], None]) -> SearchEngine | None:
    """Give W&B's engine, from the environment of the contract tests."""
    sys.path.insert(0, str(ROOT))
    from tests.contract.locked_python import locked_python

    try:
        return WandbEngine(str(locked_python("bayes")), log, wait_limit_s=120)
    except BaseException as error:  # pytest's skip is none of Exception
        print(f"without W&B's engine: {error}")
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-wandb", action="store_true")
    given = parser.parse_args()

    def log(line: str) -> None:
        print(line, file=sys.stderr)

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    engines: dict[str, SearchEngine] = {"ours": OptunaEngine(log, wait_limit_s=120)}
    other = None if given.without_wandb else wandbs(log)
    if other is not None:
        engines["W&B's"] = other
    try:
        first_asks(engines["ours"])
        replay(log)
        speed(engines["ours"])
        quality(engines)
    finally:
        for engine in engines.values():
            engine.close()


if __name__ == "__main__":
    main()
