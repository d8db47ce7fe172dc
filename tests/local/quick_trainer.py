"""A trainer of two seconds that logs to W&B, and writes down each of its starts and ends.

quick_trainer.py LEDGER STEPS path=value…
"""

import os
import sys
import time

import wandb

ledger, steps, *overrides = sys.argv[1:]


def note(what: str) -> None:
    """Append one line in one write, so that trainers may share the ledger."""
    line = f"{what} {os.environ['WANDB_RUN_ID']} {' '.join(overrides)}\n"
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, line.encode())
    os.close(file)


note("start")
gain = float(dict(override.split("=") for override in overrides)["env.gain"])
wandb.init()
for step in range(int(steps)):
    wandb.log({"score": -abs(gain - 1.0), "trainer": os.getpid()}, step=step)
    if step == 2:
        note("middle")
    time.sleep(0.1)
wandb.finish()
note("end")
