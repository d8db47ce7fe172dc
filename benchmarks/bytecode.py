"""What the bytecode cache saves: the same short training of Isaac Lab with it and without, in turn.

Without it is how Isaac Lab's kit-less image runs: PYTHONDONTWRITEBYTECODE set, no bytecode in its
packages. A pod is a cache of its own on a volume in common: the first pod finds the volume empty
(cold), the second finds what the first has left (warm). Exit 1 when a warm run takes longer.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from sweepctl_pod.trainer.bytecode import NEVER, PREFIX, BytecodeCache
from sweepctl_pod.trainer.interpreter import TrainerPython

TRAINER = Path(__file__).parents[1] / "examples" / "toy_legs" / ".venv" / "bin" / "isaaclab"
COMMAND = [
    *(str(TRAINER), "train", "--rl_library", "rsl_rl", "--task", "Toy-Legs", "--num_envs", "16"),
    *("--device", "cpu", "agent.device=cpu", "--max_iterations", "3"),
]
DIGEST = "sha256:" + "0" * 64


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)  # as in a pod, the trainer's packages are not below the working folder
        (folder / "empty").mkdir()
        image = {**os.environ, NEVER: "1", "USER": "bench"}
        without = {**image, PREFIX: str(folder / "empty")}
        pod = {**image, "SWEEPCTL_CACHE": str(folder / "cache"), "SWEEPCTL_IMAGE": DIGEST}
        pod.pop(PREFIX, None)
        train(without, folder)  # Warp compiles its kernels once
        found: dict[str, list[tuple[float, float]]] = {"without": []}
        for number, state in enumerate(("cold", "warm", "warm"), start=1):
            cache = BytecodeCache(pod, TrainerPython(pod))
            for run in ("first", "second"):
                found["without"].append(train(without, folder))
                environ = cache.environ(COMMAND, pod)
                key = f"pod {number} ({state}), {run} run"
                found[key] = [train(environ, folder)]
            cache.close()
        size_mb = sum(f.stat().st_size for f in (folder / "cache").rglob("*.pyc")) / 2**20
    return report(found, size_mb)


def train(environ: Mapping[str, str], folder: Path) -> tuple[float, float]:
    """Train once; give seconds of wall clock and of CPU."""
    log = os.open(folder / "trainer.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    began = time.monotonic()
    pid = os.posix_spawn(
        COMMAND[0],
        COMMAND,
        dict(environ),
        file_actions=[(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    os.close(log)
    if status != 0:
        sys.exit((folder / "trainer.log").read_text()[-3000:])
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime


def report(found: Mapping[str, list[tuple[float, float]]], size_mb: float) -> int:
    wall, cpu = (statistics.median(pair[part] for pair in found["without"]) for part in (0, 1))
    worst = 0.0
    for name, pairs in found.items():
        own_wall, own_cpu = (statistics.median(pair[part] for pair in pairs) for part in (0, 1))
        print(
            f"{name:26} {own_wall:6.1f} s, {own_cpu:6.1f} s of CPU: ratio to without"
            f" {own_wall / wall:.2f}, of CPU {own_cpu / cpu:.2f}"
        )
        if "warm" in name or "second" in name:
            worst = max(worst, own_cpu / cpu)
    print(f"bytecode kept: {size_mb:.0f} MB")
    return 0 if 0 < worst < 1 else 1


if __name__ == "__main__":
    sys.exit(main())
