"""A data folder with a sweep of many runs, as if they had been trained, to try pages on."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from sweepctl.server.store import file_store, lines, record_store, run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.summary_store import write_summary
from sweepctl_pod.run_record import RECORD_FILE, Attempt, RunRecord

METRIC = "Train/mean_reward"
SPEC: dict[str, Any] = {
    "method": "random",
    "name": "legs",
    "metric": {"name": METRIC, "goal": "maximize"},
    "parameters": {
        "agent.algorithm.learning_rate": {
            "distribution": "log_uniform_values",
            "min": 1e-5,
            "max": 1e-2,
        },
        "agent.algorithm.entropy_coef": {"min": 0.0, "max": 0.02},
        "agent.algorithm.gamma": {"min": 0.95, "max": 0.999},
        "agent.policy.activation": {"values": ["elu", "relu", "tanh"]},
        "env.rewards.action_rate": {"min": -0.05, "max": 0.0},
        "env.actuators.stiffness": {"min": 0.5, "max": 2.0},
        "env.actuators.stiffness_cli_path": {"value": "env.scene.robot.actuators.legs.stiffness"},
        "env.actuators.stiffness_base_dict": {"value": {".*_hip": 60.0, ".*_knee": 90.0}},
        "seed": {"values": [1, 2, 3, 4]},
    },
}
_BEGAN = 1_790_000_000.0
_POINTS = 60


def fill(
    folder: Path,
    count: int,
    *,
    spec: dict[str, Any] | None = None,
    seed: int = 0,
    began: float = _BEGAN,
) -> str:
    """Make the sweep, most of its runs finished, and give the path of its page."""
    spec, draw = spec or SPEC, random.Random(seed)
    database = Database(folder)
    hosts = [f"legs-{number}" for number in range(max(2, min(40, count // 10)))]
    with database.write() as tx:
        project = sweep_store.ensure_project(tx, "local", "legs", began)
        metric = spec.get("metric") or {}
        sweep = sweep_store.create_sweep(
            tx,
            {
                "project": project.pk,
                "id": f"sweep{count}",
                "method": spec["method"],
                "display_name": spec.get("name"),
                "metric": metric.get("name"),
                "goal": metric.get("goal", "minimize"),
                "config_text": json.dumps(spec),
                "spec": json.dumps(spec),
            },
            began,
        )
        sweep = sweep_store.update_sweep(tx, sweep.pk, {"state": "FINISHED"}, began)
        for number in range(count):
            _run(tx, folder, sweep.pk, project.pk, number, spec, draw, hosts, began)
    database.close()
    return f"/local/legs/sweeps/{sweep.id}"


def _run(
    tx: sweep_store.Rows,
    folder: Path,
    sweep: int,
    project: int,
    number: int,
    spec: dict[str, Any],
    draw: random.Random,
    hosts: list[str],
    first_began: float,
) -> None:
    # Four runs each differ by their seed alone.
    one = random.Random(number // 4)
    params = {name: _drawn(config, one) for name, config in spec["parameters"].items()}
    params |= {"seed": number % 4 + 1} if "seed" in params else {}
    rate = params.get("agent.algorithm.learning_rate", 1e-3)
    score = 30 - 4 * abs(math.log10(rate) + 3.2) ** 2 + draw.gauss(0, 1.5)
    state = "finished" if number % 9 else ("failed", "crashed", "killed")[number // 9 % 3]
    host, lasted = hosts[number % len(hosts)], draw.uniform(900, 1500)
    began = first_began + number // len(hosts) * 1600 + draw.uniform(0, 60)
    stiffness = {".*_hip_yaw_joint": 100.0 * score, ".*_knee_joint": 200.0 * score}
    whole = {
        "log_dir": f"/workspace/isaaclab/logs/rsl_rl/legs/2026-11-20_10-00-00_r{number:05d}",
        "scene": {"robot": {"actuators": {"legs": {"stiffness": stiffness}}}},
    }  # as Isaac Lab stores what it trains with
    config = {**params, "env_cfg": whole}
    run = run_store.create_run(
        tx,
        {
            "project": project,
            "sweep": sweep,
            "id": f"r{number:05d}",
            "display_name": f"legs-{number + 1}",
            "state": state,
            "attempt": 1,
            "host": host,
            "exit_code": 0 if state == "finished" else 1,
            "params": json.dumps(params),
            "config": json.dumps({name: {"value": value} for name, value in config.items()}),
            "last_step": 1499,
            "history_keys": json.dumps([METRIC]),
        },
        began,
    )
    curve = [
        (step * 1500 // _POINTS, score * (1 - math.exp(-step / 15)) + draw.gauss(0, 0.8))
        for step in range(_POINTS)
    ]
    block = {
        at: json.dumps({"_step": step, "_runtime": lasted * at / _POINTS, METRIC: value})
        for at, (step, value) in enumerate(curve)
    }
    lines.write_history(tx, run.pk, block)
    summary = {"_step": 1499, "_runtime": lasted, "_timestamp": began + lasted}
    if state == "finished":
        summary[METRIC] = score
    write_summary(tx, run.pk, json.dumps(summary))
    ended = "finished" if state == "finished" else "failed"
    attempt = Attempt(1, host, "node-1", "", began, began + lasted, ended, 0, 1499)
    record = RunRecord(("train.py",), "literal", host, 1, attempts=(attempt,))
    stored = f"record-{number}"
    (folder / record_store.FILES).mkdir(exist_ok=True)
    (folder / record_store.FILES / stored).write_text(record.text())
    values = {"stored": stored, "size_bytes": 1, "md5": "", "updated": began}
    file_store.put_file(tx, run.pk, RECORD_FILE, values)


def _drawn(config: dict[str, Any], draw: random.Random) -> Any:
    if "value" in config:
        return config["value"]
    if "values" in config:
        return draw.choice(config["values"])
    if "log" in config.get("distribution", ""):
        low, high = math.log(config["min"]), math.log(config["max"])
        return math.exp(draw.uniform(low, high))
    return draw.uniform(config["min"], config["max"])
