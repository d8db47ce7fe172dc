"""Idle time between two short runs of one agent: ours and W&B's own, on one server in one run.

The gap is from the last moment of one trainer process to the first moment of the next, as the
trainer itself writes them down: the server's fsync, our verdict and the start of Python are in it.
Exit 1 when ours is not at least 100 times less.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from sweepctl_pod.wandb.client import Connection, WandbClient

RUNS = 21  # 20 gaps
AT_LEAST = 100
API_KEY = "local_server_on_loopback_needs_no_secret_key"
PROJECT = "bench"

# Standard library alone, and gone the moment it is done: what is measured is the agent.
TRAINER = """\
import time
began = time.time()
import base64, http.client, json, os, sys
e = os.environ
path = "/".join((e["WANDB_ENTITY"], e["WANDB_PROJECT"], e["WANDB_RUN_ID"]))
line = json.dumps({"loss": 1.0, "_step": 0})
body = json.dumps({"files": {
    "wandb-history.jsonl": {"offset": 0, "content": [line]},
    "wandb-summary.json": {"offset": 0, "content": [line]}},
    **({"complete": True, "exitcode": 0} if e.get("BENCH_ENDS_ITS_RUN") else {})})
headers = {"Content-Type": "application/json", "Authorization": "Basic " + e["BENCH_TOKEN"],
           **json.loads(e.get("WANDB_X_EXTRA_HTTP_HEADERS", "{}"))}
server = http.client.HTTPConnection(e["WANDB_BASE_URL"].removeprefix("http://"))
server.request("POST", f"/files/{path}/file_stream", body, headers)
assert server.getresponse().status == 200
with open(sys.argv[1], "a") as ledger:
    ledger.write(f"{began!r} {time.time()!r}\\n")
    ledger.flush()
    os._exit(0)
"""


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_server(Path(folder))
        try:
            gaps = {name: measure(name, url, Path(folder) / name) for name in ("sweepctl", "wandb")}
        finally:
            server.terminate()
            server.wait()
    for name, found in gaps.items():
        low, middle, high = min(found), statistics.median(found), max(found)
        print(
            f"{name:9} idle between runs: median {middle * 1000:8.1f} ms"
            f" (from {low * 1000:.1f} to {high * 1000:.1f}, {len(found)} gaps)"
        )
    ratio = statistics.median(gaps["wandb"]) / statistics.median(gaps["sweepctl"])
    print(f"ratio     {ratio:.0f} (at least {AT_LEAST} wanted)")
    return 0 if ratio >= AT_LEAST else 1


def start_server(folder: Path) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "sweepctl.server", "--keyless", "--data", str(folder / "data")]
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    stdout = server.stdout
    assert stdout is not None
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    said = lines.get(timeout=60)
    if not said.startswith("listening on "):
        raise SystemExit(f"the server did not start: {(folder / 'server.log').read_text()}")
    return server, said.split()[-1]


def measure(name: str, url: str, folder: Path) -> list[float]:
    """Have one agent train a sweep of short runs; give the gaps in seconds."""
    folder.mkdir()
    (folder / "train.py").write_text(TRAINER)
    ledger = folder / "ledger"
    config = {
        "method": "random",
        "run_cap": RUNS,
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"env.gain": {"distribution": "uniform", "min": 0.5, "max": 2.0}},
        "command": [sys.executable, "-I", "-S", str(folder / "train.py"), str(ledger)],
    }
    client = WandbClient(Connection(url, API_KEY, "local"))
    sweep = client.create_sweep("local", PROJECT, json.dumps(config))
    agent = start_agent(name, sweep.id, url, folder)
    shown = 0
    while agent.poll() is None:
        done = len(ledger.read_text().splitlines()) if ledger.exists() else 0
        if done // 5 != shown:
            shown = done // 5
            print(f"{name}: {done} of {RUNS} runs", file=sys.stderr, flush=True)
        time.sleep(0.1)
    states = [run.state for run in client.runs("local", PROJECT, sweep.id)]
    if states != ["finished"] * RUNS:
        raise SystemExit(f"{name}: {states}\n{(folder / 'agent.log').read_text()[-3000:]}")
    times = [tuple(map(float, line.split())) for line in ledger.read_text().splitlines()]
    return [later[0] - earlier[1] for earlier, later in itertools.pairwise(times)]


def start_agent(name: str, sweep_id: str, url: str, folder: Path) -> subprocess.Popen[bytes]:
    commands = {
        "sweepctl": [
            *(sys.executable, "-m", "sweepctl_pod", "--preflight-gpu", "off"),
            *("--sweep", f"local/{PROJECT}/{sweep_id}", "--work", str(folder / "work")),
        ],
        "wandb": [sys.executable, "-m", "wandb", "agent", f"local/{PROJECT}/{sweep_id}"],
    }
    environ: Mapping[str, str] = {
        **os.environ,
        "HOME": str(folder),
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": API_KEY,
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_ENTITY": "local",
        "WANDB_PROJECT": PROJECT,
        "BENCH_TOKEN": base64.b64encode(f"api:{API_KEY}".encode()).decode(),
        # Under our agent the exit record is the verdict's; the stock agent has its trainer do it.
        **({"BENCH_ENDS_ITS_RUN": "1"} if name == "wandb" else {}),
    }
    with (folder / "agent.log").open("wb") as log:
        return subprocess.Popen(
            commands[name],
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


if __name__ == "__main__":
    sys.exit(main())
