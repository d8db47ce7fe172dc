"""A sweep in the form of WBC-AGILE's, which searches by bayes, with nothing installed besides."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.local.local_sweeps import LocalSweep

RUNS = 3
GAINS = '{".*_hip_yaw_joint": 100.0, ".*_knee_joint": 200.0, "waist.*": 200.0}'


def bayes_sweep(ledger: Path) -> dict[str, Any]:
    trainer = str(Path(__file__).with_name("quick_trainer.py"))
    return {
        "method": "bayes",
        "entity": "YOUR_WANDB_ENTITY",
        "description": "sweepctl-seed: 7",
        "run_cap": RUNS,
        "metric": {"name": "score", "goal": "maximize"},
        "command": [sys.executable, trainer, str(ledger), 3],
        "parameters": {
            "env.gain": {"distribution": "log_uniform_values", "min": 1.0e-4, "max": 1.0e-3},
            "p_gain_leg": {
                "distribution": "uniform",
                "min": 0.5,
                "max": 2.0,
                "p_gain_leg_cli_path": {"value": "env.scene.robot.actuators.legs.stiffness"},
                "p_gain_leg_base_dict": {"value": GAINS},
            },
        },
    }


def test_local_searches_by_bayes_and_the_same_file_again_trains_the_same(
    start_sweep: Callable[..., LocalSweep], tmp_path: Path
) -> None:
    trained = []
    for place in ("once", "again"):
        folder = tmp_path / place
        folder.mkdir()
        sweep = start_sweep(bayes_sweep(folder / "ledger"), folder=folder, agents=1)
        assert sweep.wait(180) == 0, sweep.story()
        status = sweep.ask("status")
        assert status["counts"] == {"finished": RUNS}, sweep.story()
        trained.append([run["parameters"] for run in status["runs"]])
        assert "optuna" in (folder / "data" / "logs" / "server.log").read_text()
    assert sorted(map(str, trained[0])) == sorted(map(str, trained[1]))
