"""A trainer that sleeps most of its time, logs with W&B's real client and goes on where it was.

light_trainer.py iterations=N pause_s=S save_every=K task.gain=G. It is killed in every way that the
tests of disruptions know, so all that is counted afterwards stands in what it leaves: a line of a
ledger for each iteration that a process has trained, and at W&B each iteration's row, once. It goes
on from `$SWEEPCTL_CHECKPOINT`, as any trainer may, and is itself no part of sweepctl. While there
is a file /work/hurry it does not sleep: then what is left of a sweep ends soon.
"""

import glob
import json
import os
import signal
import socket
import sys
import time

import wandb

settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
iterations, pause_s = int(settings["iterations"]), float(settings["pause_s"])
save_every = int(settings["save_every"])
gain = float(settings["task.gain"])
run_id, host = os.environ["WANDB_RUN_ID"], socket.gethostname()
checkpoint = os.environ.get("SWEEPCTL_CHECKPOINT", "")
folder = f"/work/light/{run_id}"
orders: "list[int]" = []


def hog(*_: object) -> None:
    """Take memory until the kernel ends this."""
    taken = []
    while True:
        taken.append(b"x" * (32 << 20))


def write(path: str, text: str) -> None:
    """Write a file at once."""
    part = f"{path}.{host}.part"
    with open(part, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


def note(what: "dict[str, object]") -> None:
    """Add a line to the ledger of this process."""
    line = json.dumps({"run": run_id, "host": host, "at": time.time(), **what}) + "\n"
    os.write(ledger, line.encode())


def save(iteration: int) -> None:
    """Write a checkpoint: what was trained, and its rows, which W&B may not have got."""
    write(f"{folder}/light-{iteration}.json", json.dumps({"iteration": iteration, "rows": rows}))
    saved = glob.glob(f"{folder}/light-*.json")
    for old in sorted(saved, key=lambda path: int(path.rpartition("-")[2][:-5]))[:-2]:
        os.unlink(old)


signal.signal(signal.SIGTERM, lambda number, frame: orders.append(number))
signal.signal(signal.SIGUSR1, hog)
os.makedirs(folder, exist_ok=True)
os.makedirs("/work/ledger", exist_ok=True)
ledger = os.open(
    f"/work/ledger/{run_id}.{host}.{time.time_ns()}",
    os.O_WRONLY | os.O_APPEND | os.O_CREAT,
)
rows: "list[dict[str, float]]" = []
if checkpoint:
    with open(checkpoint) as saved_file:
        rows = json.load(saved_file)["rows"]
first = len(rows)
note({"first": first, "gain": gain, "checkpoint": checkpoint})
run = wandb.init(
    resume="allow" if checkpoint else None,
    config={"task.gain": gain},
    settings=wandb.Settings(x_disable_stats=True, x_disable_meta=True, console="off"),
)
known = run.step if checkpoint else 0
for step in range(known, first):
    run.log(rows[step], step=step)
for iteration in range(first, iterations):
    if orders:
        save(iteration - 1) if iteration else None
        print(f"saved after iteration {iteration - 1}", flush=True)
        run.finish(exit_code=143)
        sys.exit(143)
    time.sleep(0 if os.path.exists("/work/hurry") else pause_s)
    rows.append({"iteration": iteration, "gain": gain, "loss": gain + iterations - 1 - iteration})
    note({"iteration": iteration})
    if iteration >= known:
        run.log(rows[-1], step=iteration)
    if (iteration + 1) % save_every == 0:
        save(iteration)
        print(f"iteration {iteration} of {iterations}, gain {gain!r}", flush=True)
run.finish(exit_code=0)
