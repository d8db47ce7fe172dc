"""From SIGTERM to the agent's exit, with the checkpoint at the server: 1, 10 and 100 MB.

    .venv/bin/python -m benchmarks.leaving [--times N]

A real agent, a real embedded server on loopback, a trainer that saves so many bytes on SIGTERM. The
twin of each measurement is a run that saves nothing: what is left is what the checkpoint costs.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from pathlib import Path

from sweepctl_pod.checkpoint import REMOTE_FOLDER
from sweepctl_pod.wandb.run_files import list_folder
from tests.contract.agents import World
from tests.serving import ServerProcess

SIZES_MB = (0, 1, 10, 100)
GRACE_S = 60


def leave(server: ServerProcess, folder: Path, size_mb: int) -> tuple[float, bool]:
    """Give the seconds from SIGTERM to the exit, and whether the checkpoint was at the server."""
    folder.mkdir()
    world = World(server, folder)
    count = f"count:100000:0.02:1000000:{size_mb << 20}"
    sweep = world.sweep(world.trainer("log", count))
    pattern = ["--checkpoint-pattern", "kept/$WANDB_RUN_ID.ckpt"] if size_mb else []
    agent = world.start(sweep, "--grace-s", str(GRACE_S), *pattern)
    try:
        world.wait_noted("step:5")
        began = time.monotonic()
        agent.send(signal.SIGTERM)
        agent.wait()
        took_s = time.monotonic() - began
        place = (sweep.entity, sweep.project, world.run(sweep).id)
        names = [file.name for file in list_folder(world.client, place, REMOTE_FOLDER)]
        return took_s, f"{REMOTE_FOLDER}/0.json" in names
    finally:
        world.end()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="how often each is measured")
    times = parser.parse_args().times
    print("checkpoint   SIGTERM to exit, s (median, all)      at the server")
    with tempfile.TemporaryDirectory() as scratch:
        server = ServerProcess(Path(scratch) / "data")
        try:
            measure(server, Path(scratch), times)
        finally:
            server.stop()


def measure(server: ServerProcess, scratch: Path, times: int) -> None:
    """Measure each size so many times, and print a line of it."""
    for size_mb in SIZES_MB:
        measured = [
            leave(server, scratch / f"{size_mb}-{number}", size_mb) for number in range(times)
        ]
        seconds = [took_s for took_s, _ in measured]
        sent = sum(is_sent for _, is_sent in measured)
        listed = " ".join(f"{took_s:.2f}" for took_s in seconds)
        name = f"{size_mb} MB" if size_mb else "none"
        print(
            f"{name:>10}   {statistics.median(seconds):6.2f}   ({listed})"
            f"   {f'{sent} of {times}' if size_mb else '-'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
