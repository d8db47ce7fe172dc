"""Made-up sweeps for figures: their numbers follow from a seed."""

import math
import random
from dataclasses import replace
from typing import Any

from sweepctl.figures import Curve, RunFacts, SweepFacts
from sweepctl.search.metric import Metric
from sweepctl_pod.run_record import Attempt

REWARD = Metric("Train/mean_reward", "maximize")
FORMS: dict[str, Any] = {
    "agent.algorithm.learning_rate": {
        "distribution": "log_uniform_values",
        "min": 1e-5,
        "max": 1e-2,
    },
    "p_gain_leg": {"distribution": "uniform", "min": 0.5, "max": 2.0},
    "p_gain_leg_cli_path": {"value": "env.scene.robot.actuators.legs.stiffness"},
    "p_gain_leg_base_dict": {
        "value": '{".*_hip_yaw_joint": 100.0, ".*_hip_roll_joint": 100.0, ".*_knee_joint": 200.0}'
    },
    "env.decimation": {"values": [2, 4, 8]},
    "agent.policy.activation": {"values": ["elu", "relu"]},
}
SEARCHED = (
    "agent.algorithm.learning_rate",
    "p_gain_leg",
    "env.decimation",
    "agent.policy.activation",
)
BEGAN_S = 1_700_000_000.0


def made_up(count: int, seed: int = 1, agents: int = 6, points: int = 100) -> SweepFacts:
    """Make a sweep whose reward follows most of all from its learning rate, then from a gain."""
    dice = random.Random(seed)
    free_at = [0.0] * agents
    runs, curves = [], {}
    for at in range(count):
        rate = 10 ** dice.uniform(-5, -2)
        gain = dice.uniform(0.5, 2.0)
        parameters = {
            "agent.algorithm.learning_rate": rate,
            "p_gain_leg": gain,
            "p_gain_leg_cli_path": FORMS["p_gain_leg_cli_path"]["value"],
            "p_gain_leg_base_dict": FORMS["p_gain_leg_base_dict"]["value"],
            "env.decimation": dice.choice([2, 4, 8]),
            "agent.policy.activation": dice.choice(["elu", "relu"]),
        }
        top = 30 - 6 * (math.log10(rate) + 3.3) ** 2 - 5 * (gain - 1.2) ** 2 + dice.gauss(0, 0.6)
        state = dice.choices(["finished", "failed", "killed"], [92, 6, 2])[0]
        agent = min(range(agents), key=lambda each: free_at[each])
        began, lasts = free_at[agent] + dice.uniform(20, 60), dice.uniform(1500, 2200)
        lasts = lasts if state == "finished" else lasts * dice.random()
        free_at[agent] = began + lasts
        name = f"run{at:04d}"
        ended_by = {"finished": "finished", "failed": "failed", "killed": "stopped"}[state]
        attempts = [_attempt(1, agent, began, lasts, ended_by)]
        if dice.random() < 0.1:
            middle = lasts * 0.4
            attempts = [
                _attempt(1, agent, began, middle, "SIGTERM"),
                _attempt(2, agent, began + middle + 90, lasts - middle - 90, ended_by),
            ]
        done = points if state == "finished" else max(int(points * dice.random()), 1)
        values = [
            top * (1 - math.exp(-5 * step / points)) + dice.gauss(0, 0.8) for step in range(done)
        ]
        curves[name] = Curve(
            values,
            [step * 10.0 for step in range(done)],
            [float(step) for step in range(done)],
            [lasts * step / points for step in range(done)],
        )
        runs.append(
            RunFacts(
                name,
                state,
                values[-1] if state == "finished" else None,
                parameters,
                name=f"brisk-fox-{at}",
                link=f"/runs/{name}",
                created_s=BEGAN_S + began,
                duration_s=lasts,
                agent=f"legs-{agent}",
                attempts=attempts,
            )
        )
    now = BEGAN_S + max(free_at, default=0.0)
    return SweepFacts(REWARD, runs, SEARCHED, FORMS, curves, now)


def _attempt(number: int, agent: int, began: float, lasts: float, ended_by: str) -> Attempt:
    began_at = BEGAN_S + began
    return Attempt(
        number,
        f"legs-{agent}",
        agent=f"legs-{agent}/1",
        began_at=began_at,
        ended_at=began_at + lasts,
        ended_by=ended_by,
    )


def with_values(facts: SweepFacts, value: float | None, **changed: Any) -> SweepFacts:
    """Give every run the same metric, and change what else is named."""
    return replace(facts, runs=[replace(run, metric=value) for run in facts.runs], **changed)
