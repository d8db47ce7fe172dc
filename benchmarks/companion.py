"""What the companion costs a training: iterations per second with it and without, side by side.

One real training of Isaac Lab (64 robots on the CPU, or on SWEEPCTL_TEST_DEVICE) that saves every
five iterations. At first the companion works in every other block of five, in random order: what
else the machine does, and the trainer's saves, fall on both. That gives wall clock and CPU, each
with its 95 % interval over the pairs of blocks. Then it works all the time, as it does for users,
for the most exact measure: the time that the training's thread spends in the companion's own code.
Exit 1 when that is 1 % or more.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
POD = ROOT / "charts" / "isaac-sweep" / "files" / "sweepctl_pod"
PYTHON = ROOT / "examples" / "toy_legs" / ".venv" / "bin" / "python"
DEVICE = os.environ.get("SWEEPCTL_TEST_DEVICE", "cpu")
WORDS = [
    *("train", "--rl_library", "rsl_rl", "--task", "Toy-Legs", "--num_envs", "64"),
    *("--device", DEVICE, f"agent.device={DEVICE}"),
    *("agent.save_interval=5", "--logger", "wandb"),
    *("--log_project_name", "bench", "--max_iterations"),
]
BLOCK = 5
"""As many as lie between two saves of the trainer: one falls into each block."""
WATCHED = 40
"""Blocks at the end in which the companion works all the time."""
WARM_UP = 10
"""Iterations at the start that count for nothing: kernels are compiled there."""


def main() -> int:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as name:
        orders = {"folder": f"{name}/.sweepctl", "every_s": 600, "leave_within_s": 30}
        environ = {
            **os.environ,
            "PYTHONPATH": str(POD / "pythonpath"),
            "SWEEPCTL_COMPANION": json.dumps(orders),
            "WANDB_MODE": "offline",
            "WANDB_RUN_ID": "bench",
            "WANDB_SILENT": "true",
        }
        log = Path(name, "log")
        with log.open("w") as output:
            done = subprocess.run(
                [str(PYTHON), __file__, "inside", str(WARM_UP + (2 * pairs + WATCHED) * BLOCK)],
                env=environ,
                cwd=name,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode != 0:
            print(log.read_text()[-3000:], file=sys.stderr)
            return done.returncode
        return report(json.loads(Path(name, "blocks.json").read_text()))


def report(blocks: list[dict[str, Any]]) -> int:
    """Print the three measures, and judge the last."""
    blocks, watched = blocks[:-WATCHED], blocks[-WATCHED:]
    pairs = [
        (next(b for b in two if b["is_on"]), next(b for b in two if not b["is_on"]))
        for two in zip(blocks[::2], blocks[1::2], strict=True)
    ]
    rate = {
        on: BLOCK / statistics.median(b["wall_s"] for b in blocks if b["is_on"] == on)
        for on in (True, False)
    }
    print(f"{len(pairs)} pairs of {BLOCK} iterations each, with the companion and without")
    print(f"iterations/s, median: {rate[True]:.3f} with, {rate[False]:.3f} without")
    for what, key in (("wall clock", "wall_s"), ("CPU", "cpu_s")):
        ratios = [on[key] / off[key] - 1 for on, off in pairs]
        print(f"{what}: {interval(ratios)} more with the companion")
    shares = [block["own_s"] / (block["wall_s"] - block["own_s"]) for block in watched]
    print(f"spent in the companion's code: {interval(shares)} of the training's time")
    share = sum(block["own_s"] for block in watched) / sum(block["wall_s"] for block in watched)
    print(f"together {share:.3%}: {'under' if share < 0.01 else 'NOT under'} 1 %")
    return int(share >= 0.01)


def interval(values: list[float]) -> str:
    """Write a mean with its 95 % interval, drawn again from the values."""
    rng = random.Random(1)
    means = sorted(statistics.fmean(rng.choices(values, k=len(values))) for _ in range(2000))
    return f"{statistics.fmean(values):+.2%} ({means[50]:+.2%} to {means[1949]:+.2%})"


def inside(iterations: int) -> int:
    """Train in this process, with the companion at work in half of the blocks."""
    sys.path = [path for path in sys.path if path != str(Path(__file__).parent)]
    from isaaclab.__main__ import main as isaaclab

    from sweepctl_pod.companion import rsl_rl_runner, wandb_run

    meter = Meter(iterations)
    learning: Any = rsl_rl_runner._Learning
    meter.measure(learning, "_updating")
    meter.measure(learning, "_saving")
    meter.measure(learning, "_between", without=lambda *args: None)
    meter.measure(wandb_run.History, "takes", without=lambda *args: True)
    sys.argv = ["isaaclab", *WORDS, str(iterations)]
    code = isaaclab()
    Path("blocks.json").write_text(json.dumps(meter.blocks))
    return int(code or 0)


class Meter:
    """Turns the companion on and off, and takes the time of both."""

    def __init__(self, iterations: int) -> None:
        rng = random.Random(1)
        pairs = ((iterations - WARM_UP) // BLOCK - WATCHED) // 2
        self.is_on = [on for _ in range(pairs) for on in rng.sample([True, False], 2)]
        self.is_on += [True] * WATCHED
        self.blocks: list[dict[str, Any]] = []
        self.updates = 0
        self.own_s = 0.0
        self.theirs_s = 0.0
        self.mark = (0.0, 0.0)

    @property
    def works(self) -> bool:
        block = (self.updates - WARM_UP) // BLOCK
        return block < 0 or block >= len(self.is_on) or self.is_on[block]

    def measure(self, owner: Any, name: str, without: Callable[..., Any] | None = None) -> None:
        """Take the time of a method of the companion, less that of what it calls of the trainer.

        What only notes something, in microseconds, has no other that stands for it.
        """
        method = getattr(owner, name)
        is_update = name == "_updating"

        def measured(own: Any, *args: Any, **kwargs: Any) -> Any:
            began, theirs_s = time.perf_counter(), self.theirs_s
            if args and callable(args[0]):
                args = (self.timed(args[0]), *args[1:])
            call = method if self.works or without is None else without
            try:
                return call(own, *args, **kwargs)
            finally:
                if self.works:
                    spent_s = time.perf_counter() - began
                    self.own_s += spent_s - (self.theirs_s - theirs_s)
                if is_update:
                    self.updated()

        setattr(owner, name, measured)

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def theirs(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.theirs_s += time.perf_counter() - began

        return theirs

    def updated(self) -> None:
        """Count an iteration; close a block and open the next."""
        was_on = self.works
        self.updates += 1
        done = self.updates - WARM_UP
        now = (time.perf_counter(), time.process_time())
        if done >= 0 and done % BLOCK == 0:
            if done:
                wall_s, cpu_s = (b - a for a, b in zip(self.mark, now, strict=True))
                found = {"is_on": was_on, "wall_s": wall_s, "cpu_s": cpu_s, "own_s": self.own_s}
                self.blocks.append(found)
            self.mark, self.own_s = now, 0.0


if __name__ == "__main__":
    if sys.argv[1:2] == ["inside"]:
        sys.exit(inside(int(sys.argv[2])))
    sys.exit(main())
