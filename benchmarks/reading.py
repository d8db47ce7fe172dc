"""What it costs to look at the sweeps of this machine: CPU of each verb over a data folder.

The folder has one sweep of 100 finished runs, each with a config as large as Isaac Lab's. Exit 1
when a verb takes more than 0.4 s of CPU. Nothing here is a test: the numbers are this machine's.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from sweepctl_pod.wandb.client import Connection, WandbClient
from sweepctl_pod.wandb.outputs import end_body, upload_file
from tests.serving import API_KEY, ServerProcess

RUNS, TRIES, LIMIT_S = 100, 7, 0.4
LOG = "".join(f"Learning iteration {number}/1500\n" for number in range(2000))
SWEEP = {
    "method": "random",
    "run_cap": RUNS,
    "metric": {"name": "reward", "goal": "maximize"},
    "command": ["isaaclab", "train", "--max_iterations", "1500"],
    "parameters": {"env.gain": {"min": 0.0, "max": 1.0}},
}
ENV_CFG = {
    f"group_{i}": {f"setting_{j}": [0.1 * j, None, "x" * 20] for j in range(50)} for i in range(20)
}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        name = fill(data)
        environ = {**os.environ, "HOME": folder, "KUBECONFIG": str(Path(folder, "none"))}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
        start = [sys.executable, "-c", "pass"]
        sweepctl = [sys.executable, "-m", "sweepctl"]
        print(f"python itself: {cpu_s(start, environ):.3f} s of CPU (best of {TRIES})")
        slow = []
        for words in (["status", name], ["status", name, "-o", "json"], ["best", name], ["list"],
                     ["logs", name]):  # fmt: skip
            used_s = cpu_s([*sweepctl, *words, "--data", str(data)], environ)
            print(f"sweepctl {words[0]} {' '.join(words[2:])}: {used_s:.3f} s of CPU")
            if used_s > LIMIT_S:
                slow.append(words[0])
    for verb in slow:
        print(f"BROKEN: {verb} takes more than {LIMIT_S} s")
    return 1 if slow else 0


def fill(data: Path) -> str:
    """Make the sweep, and end its server; give the sweep's name."""
    server = ServerProcess(data)
    client = WandbClient(Connection(base_url=server.url, api_key=API_KEY, entity="local"))
    sweep = client.create_sweep("local", "legs", json.dumps(SWEEP))
    agent = client.register_agent("local", "legs", sweep.id, "legs-0")
    config = {"env_cfg": {"value": ENV_CFG}, "train_cfg": {"value": {"max_iterations": 1500}}}
    for number in range(RUNS):
        (command,) = client.heartbeat(agent, [])
        run = str(command["run_id"])
        server.graphql(
            "mutation M($name: String, $config: JSONString) { upsertBucket(input: {name: $name,"
            ' entityName: "local", modelName: "legs", config: $config}) { bucket { id } } }',
            {"name": run, "config": json.dumps({**command["args"], **config})},
        )
        summary = json.dumps({"_step": 1499, "reward": float(number)})
        files = {"wandb-summary.json": {"offset": 0, "content": [summary]}}
        client.post_file_stream("local", "legs", run, {"files": files})
        upload_file(client, ("local", "legs", run), "output.log", LOG.encode())
        client.post_file_stream("local", "legs", run, end_body(0))
    server.stop()
    return f"local/legs/{sweep.id}"


def cpu_s(command: list[str], environ: dict[str, str]) -> float:
    """Run a command several times; give the least CPU that it took."""
    used = []
    for _ in range(TRIES):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environ, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(used)


if __name__ == "__main__":
    sys.exit(main())
