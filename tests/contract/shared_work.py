"""One process of several that write into one run; `wandb.init(mode="shared")`, or as argv says.

argv: its name, how many there are, its mode. It waits for the others after it joined, and before it
ends, so that all write at the same time.
"""

import sys
import time
from pathlib import Path
from typing import Any

import wandb

name, count = sys.argv[1], int(sys.argv[2])
mode: Any = sys.argv[3]


def wait_for_all(step: str) -> None:
    Path(f"{step}-{name}").touch()
    while len(list(Path().glob(f"{step}-*"))) < count:
        time.sleep(0.05)


settings = wandb.Settings(mode=mode)
if mode == "shared":
    settings = wandb.Settings(
        mode="shared", x_label=name, x_primary=name == "0", x_stats_sampling_interval=1
    )
run = wandb.init(project="p", id="together", settings=settings, config={f"of {name}": name})
wait_for_all("joined")
for number in range(20):
    run.log({f"loss {name}": number, "last": number})
    print(f"line {number} of {name}")
    time.sleep(0.05)
run.summary[f"result {name}"] = name
Path(f"file {name}.txt").write_text(name)
run.save(f"file {name}.txt", policy="now")
time.sleep(2)
wait_for_all("logged")
run.finish()
