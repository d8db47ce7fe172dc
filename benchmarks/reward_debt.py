"""What an interruption costs a training in reward, with each part of the companion's state.

For each seed the real trainer (Isaac Lab, rsl_rl, Toy-Legs) trains once undisturbed: the twin. Half
way it saves what a SIGTERM would have it save, and goes on. Then the second half is trained again
from that checkpoint: as a resumed process begins (the model alone), with all that the companion
keeps beside it, and with the model and one part of it alone. The *debt* is the area between the
twin's curve and the resumed one's over all iterations after the interruption, of
- `Train/mean_reward`, what people see: the mean of the last 100 episodes; an iteration without a
  value counts as the next that has one;
- the reward of a step, the mean over an iteration's steps and environments: it has no memory.
The halves of a seed share one process: how a resumed process begins is the state in which this one
entered rsl_rl's `learn`, put back. `--proof N` resumes N seeds in processes of their own besides
and compares every number that is logged. Runs in the trainer's interpreter, done seeds are kept
in the folder. Exit 1 unless all parts together at least halve the debt.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import io
import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "charts" / "isaac-sweep" / "files"))

from sweepctl_pod.companion import states  # noqa: E402

Rows = dict[int, dict[str, float]]
"""What is logged, by iteration and name."""

ALONE = ("physics", "episode_lengths", "environment", "totals")
"""Parts that matter in Toy-Legs, each tried alone: it has no curriculum, and chance is chance."""
STEP_REWARD, MEAN_REWARD = "step", "Train/mean_reward"
TIMES = ("Perf/", "Train/mean_reward/time", "Train/mean_episode_length/time")
"""Names that hold times: never equal."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--envs", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=22)
    parser.add_argument("--at", type=int, default=11, help="iterations before the interruption")
    parser.add_argument("--split", type=int, default=8, help="seeds with each part alone as well")
    parser.add_argument("--side-by-side", type=int, default=1, help="processes at a time")
    parser.add_argument("--proof", type=int, default=2, help="seeds resumed in their own process")
    parser.add_argument("--folder", type=Path, default=Path("dist/reward_debt"))
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--resume", choices=("all", "none"), help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="of the trainer: agent.algorithm.schedule=…")
    said = parser.parse_args()
    said.folder = said.folder.resolve()
    if said.seed is not None:
        train(said, resume if said.resume else measure)
    said.folder.mkdir(parents=True, exist_ok=True)
    trained = each_in_its_process(said)
    proofs = [
        proof(said, seed, name) for seed in range(1, said.proof + 1) for name in ("all", "none")
    ]
    return report(said, trained, proofs)


def each_in_its_process(said: argparse.Namespace) -> dict[int, dict[str, Rows]]:
    waiting = [seed for seed in range(1, said.seeds + 1) if not result(said, seed).exists()]
    running: dict[int, subprocess.Popen[bytes]] = {}
    while waiting or running:
        while waiting and len(running) < said.side_by_side:
            seed = waiting.pop(0)
            running[seed] = start(said, seed)
        pid, status = os.wait()
        seed = next(seed for seed, process in running.items() if process.pid == pid)
        del running[seed]
        if status:
            sys.exit(log(said, seed).read_text()[-3000:])
        print(f"seed {seed} done", file=sys.stderr, flush=True)
    return {seed: read(result(said, seed)) for seed in range(1, said.seeds + 1)}


def result(said: argparse.Namespace, seed: int, kind: str = "json") -> Path:
    return Path(said.folder) / f"{seed}.{kind}"


def log(said: argparse.Namespace, seed: int) -> Path:
    return result(said, seed, "log")


def read(path: Path) -> dict[str, Rows]:
    return {
        name: {int(it): row for it, row in rows.items()}
        for name, rows in json.loads(path.read_text()).items()
    }


def start(said: argparse.Namespace, seed: int, *options: str) -> subprocess.Popen[bytes]:
    numbers = {"envs": said.envs, "iterations": said.iterations, "at": said.at}
    numbers["split"] = said.split
    command = [sys.executable, __file__, "--folder", str(said.folder), "--seed", str(seed)]
    command += [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    with log(said, seed).open("ab") as output:
        return subprocess.Popen(
            [*command, *options, *said.overrides], stdout=output, stderr=output, cwd=said.folder
        )


# In the trainer's process


def train(said: argparse.Namespace, learn: Callable[..., None]) -> None:
    """Run Isaac Lab's own training up to rsl_rl's `learn`, and `learn` in its place."""
    from rsl_rl.runners.on_policy_runner import OnPolicyRunner

    Half.learn = OnPolicyRunner.learn

    def instead(
        runner: Any, num_learning_iterations: int, init_at_random_ep_len: bool = False
    ) -> None:
        learn(said, runner, init_at_random_ep_len)
        sys.stdout.flush()
        os._exit(0)  # nothing of this process is worth closing

    OnPolicyRunner.learn = instead
    for task in importlib.metadata.entry_points(group="isaaclab.tasks"):
        task.load()
    from isaaclab_rl.entrypoints.backends import train_rsl_rl

    train_rsl_rl.run(
        [
            *("--task", "Toy-Legs", "--num_envs", str(said.envs), "--device", "cpu"),
            *("--seed", str(said.seed), "--max_iterations", str(said.iterations)),
            # As in nearly all tasks of Isaac Lab; Toy-Legs itself starts all episodes at once.
            *("agent.device=cpu", "agent.init_at_random_ep_len=true", *said.overrides),
        ]
    )


class Half:
    """One training by rsl_rl's own `learn`, from an iteration to the end; its numbers are kept."""

    learn: Callable[..., None]

    def __init__(self, runner: Any, saves_after: int | None = None) -> None:
        self.rows: Rows = {}
        self.saved: dict[str, Any] = {}
        self._runner, self._saves_after = runner, saves_after
        self._rewards: list[float] = []

    def add_scalar(self, name: str, value: float, iteration: int) -> None:
        """Be rsl_rl's log writer."""
        if not name.startswith(TIMES):
            self.rows.setdefault(iteration, {})[name] = float(value)

    def train(self, first: int, end: int, draws_lengths: bool) -> Half:
        logger = self._runner.logger
        process, log = type(logger).process_env_step, type(logger).log

        def process_env_step(rewards: Any, *others: Any) -> None:
            self._rewards.append(float(rewards.mean()))
            process(logger, rewards, *others)

        def log_iteration(*, it: int, **numbers: Any) -> None:
            log(logger, it=it, **numbers)
            self.add_scalar(STEP_REWARD, statistics.fmean(self._rewards), it)
            self._rewards.clear()
            if it == self._saves_after:
                self.saved = checkpoint(self._runner)

        logger.init_logging_writer = lambda: setattr(logger, "writer", self)
        logger.process_env_step, logger.log = process_env_step, log_iteration
        self._runner.save = lambda *words: None
        self._runner.current_learning_iteration = first
        with contextlib.redirect_stdout(io.StringIO()):
            Half.learn(self._runner, end - first, draws_lengths)
        return self


def checkpoint(runner: Any) -> dict[str, Any]:
    """Save as the companion does, through a file's bytes: model by rsl_rl, the rest beside it."""
    return {"model": packed(runner.alg.save()), "state": packed(states.capture(runner))}


def packed(form: Any) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(form, buffer)
    return buffer.getvalue()


def unpacked(data: bytes) -> Any:
    import torch

    return torch.load(io.BytesIO(data), weights_only=True)


def measure(said: argparse.Namespace, runner: Any, draws_lengths: bool) -> None:
    """Train the twin, then its second half in each way."""
    beginning = checkpoint(runner)
    twin = Half(runner, saves_after=said.at - 1).train(0, said.iterations, draws_lengths)
    found = {"twin": twin.rows}
    tries = {"none": (), "all": states.PARTS}
    tries |= {part: (part,) for part in ALONE if said.seed <= said.split}
    for name, parts in tries.items():
        states.restore(runner, unpacked(beginning["state"]))
        found[name] = second_half(said, runner, draws_lengths, twin.saved, parts)
    result(said, said.seed, "pt").write_bytes(packed(twin.saved))
    part = result(said, said.seed, "part")
    part.write_text(json.dumps(found))
    part.replace(result(said, said.seed))


def second_half(
    said: argparse.Namespace,
    runner: Any,
    draws_lengths: bool,
    saved: Mapping[str, Any],
    parts: Iterable[str],
) -> Rows:
    runner.alg.load(unpacked(saved["model"]), None, True)
    restored = states.restore(runner, unpacked(saved["state"]), frozenset(parts))
    draws_lengths &= states.EPISODE_LENGTHS not in restored
    return Half(runner).train(said.at, said.iterations, draws_lengths).rows


def resume(said: argparse.Namespace, runner: Any, draws_lengths: bool) -> None:
    """Train the second half alone, from the files of the twin."""
    saved = unpacked(result(said, said.seed, "pt").read_bytes())
    parts = states.PARTS if said.resume == "all" else ()
    rows = second_half(said, runner, draws_lengths, saved, parts)
    result(said, said.seed, f"{said.resume}.json").write_text(json.dumps({said.resume: rows}))


# What was found


def proof(said: argparse.Namespace, seed: int, name: str) -> str:
    """Resume a seed in a process of its own, and say whether all that is logged is the same."""
    own = result(said, seed, f"{name}.json")
    if not own.exists() and start(said, seed, "--resume", name).wait():
        sys.exit(log(said, seed).read_text()[-3000:])
    found = read(result(said, seed))
    expected = found["twin"] if name == "all" else found[name]
    resumed = read(own)[name]
    differing = [it for it, row in resumed.items() if row != expected[it]]
    other = "the undisturbed one" if name == "all" else "its half in the twin's process"
    return (
        f"seed {seed}, resumed in its own process with {name} of the state: "
        f"{len(resumed) - len(differing)} of {len(resumed)} iterations equal {other} to the bit"
    )


def debt(twin: Rows, resumed: Rows, name: str) -> float:
    """Give the area between two curves over the iterations of the resumed one."""
    lost, following = 0.0, math.nan
    for it in sorted(resumed, reverse=True):
        following = resumed[it].get(name, following)
        lost += twin[it][name] - following
    return lost


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Give the mean and its 95 % interval, by bootstrap over the seeds."""
    chance = random.Random(0)
    means = sorted(statistics.fmean(chance.choices(values, k=len(values))) for _ in range(10_000))
    return statistics.fmean(values), means[250], means[9749]


def report(
    said: argparse.Namespace, trained: Mapping[int, Mapping[str, Rows]], proofs: Iterable[str]
) -> int:
    print(
        f"{len(trained)} pairs, {said.envs} environments, interrupted after {said.at} of"
        f" {said.iterations} iterations; areas over the {said.iterations - said.at} after it,"
        " in reward times iterations"
    )
    left = []
    for name in (MEAN_REWARD, STEP_REWARD):
        level = statistics.fmean(
            row[name]
            for found in trained.values()
            for it, row in found["twin"].items()
            if it >= said.at
        )
        print(f"{name if name != STEP_REWARD else 'reward of a step'}: {level:.4f} undisturbed")
        debts = {
            kind: {
                seed: debt(found["twin"], found[kind], name)
                for seed, found in trained.items()
                if kind in found
            }
            for kind in ("none", "all", *ALONE)
        }
        for kind, values in debts.items():
            if not values:
                continue
            mean, low, high = interval(list(values.values()))
            whole = statistics.fmean(debts["none"][seed] for seed in values)
            kept = {"none": "the model alone", "all": "with all parts"}.get(kind, f"and {kind}")
            print(
                f"  {kept:28} {mean:8.3f} (95 %: {low:.3f} to {high:.3f}),"
                f" {mean / whole:7.1%} of the debt of the same {len(values)} seeds"
            )
            if kind == "all":
                left.append(abs(mean / whole))
    for line in proofs:
        print(line)
    return 0 if max(left) <= 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())
