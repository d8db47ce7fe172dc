"""SIGTERM at any moment of a container's life: no run is lost or doubled, and none is too late.

The container is start.sh with the mounted pod code, as Kubernetes starts it: as process 1 of a PID
namespace, and as any other. Nothing waits for a word of the agent; `pytest -s` prints the figures.
"""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweepctl.manifest.pod_code import pod_code, script
from sweepctl_pod.wandb.client import SweepInfo
from tests import needs
from tests.contract.agents import World
from tests.serving import wait_for

SIGNALS = 200
SIDE_BY_SIDE = 5
LATEST_S = 4.0
GRACE_S = 10
HANDED_BACK = 75
ISOLATED = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
FINISHED = re.compile(r"^sweepctl: run (\S+) finished", re.MULTILINE)
TERM_BIT = 1 << (signal.SIGTERM - 1)


@dataclass(frozen=True)
class Shot:
    """What one signal did."""

    after_s: float
    is_first_process: bool
    code: int
    left_s: float
    """The seconds from the signal to the end."""
    was_unheard: bool
    """Whether it came before the shell, or env, could hear or block it: sent again then."""
    said: str


@pytest.fixture
def container(world: World) -> list[str]:
    """Give the container's command, its code where a ConfigMap's volume has it."""
    folder = world.folder / "code"
    code = pod_code()
    for key, path in code.paths():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(code.files[key])
    return ["/bin/sh", "-c", script("start.sh").replace("/opt/sweepctl", str(folder))]


@pytest.fixture
def can_isolate() -> bool:
    if subprocess.run([*ISOLATED, "true"], capture_output=True).returncode == 0:
        return True
    needs.lacks("no right to make a PID namespace here")


def first_process(unshare: int) -> int:
    """Give the id, outside, of the first process of a namespace: the only child of unshare."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children")
    return int(wait_for("a first process", children.read_text, pause_s=0.0005).split()[0])


def is_heard(pid: int) -> bool:
    """Say whether a process handles or blocks SIGTERM: process 1 loses any other."""
    with suppress(OSError):
        status = Path(f"/proc/{pid}/status").read_text()
        masks = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
        return bool((int(masks["SigBlk"], 16) | int(masks["SigCgt"], 16)) & TERM_BIT)
    return True


def shoot(
    world: World, container: list[str], environ: dict[str, str], after_s: float, alone: bool
) -> Shot:
    """Start a container and send it SIGTERM after a while; give what became of it."""
    log = world.folder / f"container-{time.monotonic_ns()}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*(ISOLATED if alone else []), *container],
            env={**environ, "SWEEPCTL_HOST": log.stem},
            cwd=world.folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    pid = first_process(process.pid) if alone else process.pid
    time.sleep(after_s)  # the moment is what is varied here; nothing is waited for
    was_unheard = alone and not is_heard(pid)
    if was_unheard:
        wait_for("a process that hears", lambda: is_heard(pid), pause_s=0.0005)
    began = time.monotonic()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    try:
        code = process.wait(GRACE_S + 30)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    left_s = time.monotonic() - began
    return Shot(after_s, alone, code, left_s, was_unheard, log.read_text(errors="replace"))


@pytest.fixture
def sweep(world: World) -> SweepInfo:
    script = "note:start log sleep:0.5 note-and-exit:end"
    return world.sweep(world.trainer(*script.split()), run_cap=None)


def test_two_hundred_signals_lose_no_run_and_double_none(
    world: World, container: list[str], can_isolate: bool, sweep: SweepInfo
) -> None:
    environ = {
        **world.environ,
        "SWEEPCTL_SWEEP": f"{sweep.entity}/{sweep.project}/{sweep.id}",
        "SWEEPCTL_PYTHON": sys.executable,
        "SWEEPCTL_GRACE_S": str(GRACE_S),
    }
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    rng = random.Random(seed)
    moments = [(rng.uniform(0, LATEST_S), number % 2 == 0) for number in range(SIGNALS)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        shots = list(pool.map(lambda moment: shoot(world, container, environ, *moment), moments))
    codes = Counter(shot.code for shot in shots)
    unheard = sum(shot.was_unheard for shot in shots)
    longest = max(shot.left_s for shot in shots)
    states = Counter(run.state for run in world.runs(sweep))
    print(f"{SIGNALS} signals: codes {dict(codes)}, runs {dict(states)}, longest {longest:.1f} s")
    print(f"came before the shell or env could hear: {unheard}")

    bad = [
        shot
        for shot in shots
        # Before the trap a process that is not the first dies of the signal itself.
        if shot.code not in (HANDED_BACK, -signal.SIGTERM)
        or shot.left_s > GRACE_S
        or (shot.code != HANDED_BACK and (shot.is_first_process or "sweepctl:" in shot.said))
    ]
    assert not bad, "\n".join(f"{shot.code} {shot.left_s:.1f} s\n{shot.said}" for shot in bad[:3])
    assert set(states) <= {"finished", "preempted", "pending"}, states

    open_runs = sum(state != "finished" for state in states.elements())
    last = world.start(sweep, "--count", str(open_runs)) if open_runs else None
    assert last is None or last.wait() == 0, last.said
    runs = world.runs(sweep)
    assert {run.state for run in runs} == {"finished"}, Counter(run.state for run in runs)
    said = "\n".join([*(shot.said for shot in shots), last.said if last else ""])
    # What a trainer noted and was killed before it could exit is no end: its run is taken again.
    assert Counter(FINISHED.findall(said)) == Counter({run.id: 1 for run in runs})
    assert {run for run, _ in world.noted("end")} == {run.id for run in runs}
    world.nothing_is_left()
