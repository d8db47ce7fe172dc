"""The example sweeps against Isaac Lab's own configuration of their tasks."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sweepctl.sweepfile.load import load_sweep
from tests.local.local_sweeps import environment

pytestmark = pytest.mark.trainer

ROOT = Path(__file__).resolve().parents[2]

READ_SETTINGS = """
import json, sys
task, *paths = sys.argv[1:]
sys.argv = sys.argv[:1]
import isaaclab.cli
from isaaclab_tasks.utils import resolve_task_config
isaaclab.cli.load_external_tasks()
env, agent = resolve_task_config(task, "rsl_rl_cfg_entry_point")
found = {}
for path in paths:
    node = {"env": env, "agent": agent}
    for part in path.split("."):
        node = node[part] if isinstance(node, dict) else getattr(node, part)
    found[path] = node
print("\\nSETTINGS " + json.dumps(found))
"""


@pytest.mark.parametrize("file", ["sweep.yaml", "examples/toy_legs/sweep.yaml"])
def test_example_scales_the_tables_that_its_task_has(
    file: str, trainer_bin: str, tmp_path: Path
) -> None:
    spec = load_sweep(str(ROOT / file))
    assert spec.command is not None
    task = str(spec.command[spec.command.index("--task") + 1])
    tables = {scaled.path: scaled.base for scaled in spec.scaled}
    parameters: Any = spec.config["parameters"]
    single = [name for name in parameters if name.startswith(("env.", "agent."))]
    paths = [*tables, *single]

    result = subprocess.run(
        [f"{trainer_bin}/python", "-c", READ_SETTINGS, task, *paths],
        env=environment(tmp_path, trainer_bin),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert result.returncode == 0, result.stderr
    settings = json.loads(result.stdout.rpartition("SETTINGS ")[2])
    assert {path: settings[path] for path in tables} == tables
    assert len(settings) == len(paths) > len(tables)
