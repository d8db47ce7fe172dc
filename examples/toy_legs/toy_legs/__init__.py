"""Register the task `Toy-Legs` with gymnasium.

Isaac Lab imports this package by its entry point (group `isaaclab.tasks`), so
`isaaclab train --task Toy-Legs` finds it from any folder, with no flag and no variable.
"""

import gymnasium

gymnasium.register(
    id="Toy-Legs",
    entry_point="isaaclab.envs:ManagerBasedRLEnv",
    disable_env_checker=True,
    kwargs={
        "env_cfg_entry_point": f"{__name__}.env_cfg:ToyLegsEnvCfg",
        "rsl_rl_cfg_entry_point": f"{__name__}.agent_cfg:ToyLegsRunnerCfg",
        "default_agent": "rsl_rl",
    },
)
