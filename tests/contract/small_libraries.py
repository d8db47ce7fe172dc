"""Trains with the real sb3, skrl or rl_games, whichever is asked for, in a world of a few numbers.

    small_libraries.py LIBRARY --iterations N [--pace S] [--log] [--wandb] [--width N] …

It prints each iteration that it has trained, from 0, and a line of JSON at its end.
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import torch

STEPS, ENVS = 8, 4
LOG = Path("log").resolve()


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("library")
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds of each step")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--log", action="store_true", help="write TensorBoard's files")
    parser.add_argument("--wandb", action="store_true", help="log them to W&B as well")
    parser.add_argument("--twice", action="store_true", help="train once more at the end")
    parser.add_argument("--first", default="", help="Python to execute before the training")
    return parser.parse_args()


def trained(iteration: int) -> None:
    print(f"iteration {iteration}", flush=True)


def weights(parameters: Any) -> float:
    return float(sum(each.detach().double().abs().sum() for each in parameters))


class Env(gymnasium.Env[Any, Any]):
    """Rewards actions that are near to the observation; an episode has twenty steps."""

    observation_space = gymnasium.spaces.Box(-1, 1, (3,), numpy.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), numpy.float32)
    pace_s = 0.0
    steps = 0

    def _seen(self) -> Any:
        self.obs = numpy.random.uniform(-1, 1, 3).astype(numpy.float32)
        return self.obs

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        time.sleep(self.pace_s / ENVS)
        self.steps += 1
        reward = -float(numpy.square(numpy.asarray(action) - self.obs[:2]).sum())
        return self._seen(), reward, False, self.steps >= 20, {}


def with_sb3(given: argparse.Namespace) -> dict[str, Any]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    class Tell(BaseCallback):  # type: ignore[misc] # sb3 is not here
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            trained(self.num_timesteps // (STEPS * ENVS) - 1)

    if given.wandb:
        import wandb

        wandb.init(sync_tensorboard=True, config={"attempt_of": str(LOG)})
    env = VecNormalize(DummyVecEnv([lambda: Monitor(Env())] * ENVS))
    agent = PPO(
        "MlpPolicy",
        env,
        n_steps=STEPS,
        batch_size=16,
        n_epochs=2,
        device="cpu",
        seed=0,
        policy_kwargs={"net_arch": [given.width]},
        tensorboard_log=str(LOG) if given.log else None,
    )
    models = CheckpointCallback(save_freq=3 * STEPS + 1, save_path=str(LOG), name_prefix="model")
    for _ in range(1 + given.twice):
        agent.learn(given.iterations * STEPS * ENVS, callback=[models, Tell()])
    return {
        "total": agent.num_timesteps,
        "updates": agent._n_updates,
        "seen": float(env.ret_rms.count),
        "episodes": len(agent.ep_info_buffer or ()),
        "weights": weights(agent.policy.parameters()),
    }


def with_skrl(given: argparse.Namespace) -> dict[str, Any]:
    from skrl.agents.torch import ppo
    from skrl.envs.wrappers.torch import wrap_env
    from skrl.memories.torch import RandomMemory
    from skrl.models.torch import DeterministicMixin, GaussianMixin, Model
    from skrl.resources.preprocessors.torch import RunningStandardScaler
    from skrl.trainers.torch import SequentialTrainer

    is_first = version("skrl").startswith("1.")

    class Policy(GaussianMixin, Model):  # type: ignore[misc] # skrl has no types
        def __init__(self, **spaces: Any) -> None:
            Model.__init__(self, **spaces, device="cpu")
            GaussianMixin.__init__(self)
            self.net = torch.nn.Sequential(
                torch.nn.Linear(3, given.width), torch.nn.ELU(), torch.nn.Linear(given.width, 2)
            )
            self.log_std = torch.nn.Parameter(torch.zeros(2))

        def compute(self, inputs: Any, role: str) -> Any:
            if is_first:
                return self.net(inputs["states"]), self.log_std, {}
            return self.net(inputs["observations"]), {"log_std": self.log_std}

    class Value(DeterministicMixin, Model):  # type: ignore[misc]
        def __init__(self, **spaces: Any) -> None:
            Model.__init__(self, **spaces, device="cpu")
            DeterministicMixin.__init__(self)
            self.net = torch.nn.Linear(3, 1)

        def compute(self, inputs: Any, role: str) -> Any:
            return self.net(inputs["states" if is_first else "observations"]), {}

    env = wrap_env(gymnasium.vector.SyncVectorEnv([Env] * ENVS))
    env._device = torch.device("cpu")
    spaces = {"observation_space": env.observation_space, "action_space": env.action_space}
    if not is_first:
        spaces["state_space"] = env.state_space
    experiment = {
        "directory": str(LOG),
        "experiment_name": f"{os.getpid()}",
        "write_interval": STEPS if given.log else 0,
        "checkpoint_interval": 3 * STEPS,
        "wandb": given.wandb,
    }
    settings: dict[str, Any] = {
        **{"rollouts": STEPS, "learning_epochs": 2, "mini_batches": 2, "experiment": experiment},
        "learning_rate_scheduler": torch.optim.lr_scheduler.StepLR,
        "learning_rate_scheduler_kwargs": {"step_size": 10},
        "value_preprocessor": RunningStandardScaler,
        "value_preprocessor_kwargs": {"size": 1, "device": "cpu"},
    }
    if is_first:
        cfg = ppo.PPO_DEFAULT_CONFIG | settings
        cfg["experiment"] = {**ppo.PPO_DEFAULT_CONFIG["experiment"], **experiment}
    else:
        cfg = ppo.PPO_CFG(**settings)
    steps: list[int] = []

    class Seen(ppo.PPO):  # type: ignore[misc]
        def post_interaction(self, *, timestep: int, timesteps: int) -> None:
            super().post_interaction(timestep=timestep, timesteps=timesteps)
            assert timesteps == given.iterations * STEPS
            steps.append(timestep)
            if timestep % STEPS == STEPS - 1:
                trained(timestep // STEPS)

    agent = Seen(
        models={"policy": Policy(**spaces), "value": Value(**spaces)},
        memory=RandomMemory(memory_size=STEPS, num_envs=ENVS, device="cpu"),
        cfg=cfg,
        device="cpu",
        **spaces,
    )
    trainer = SequentialTrainer(
        cfg={
            "timesteps": given.iterations * STEPS,
            "headless": True,
            "disable_progressbar": True,
            "close_environment_at_exit": False,
        },
        env=env,
        agents=agent,
    )
    for _ in range(1 + given.twice):
        trainer.train()
    return {
        "total": (steps or [given.iterations * STEPS - 1])[-1] + 1,
        "steps": len(steps),
        "updates": agent.scheduler.last_epoch,
        "weights": weights(agent.models["policy"].parameters()),
    }


def with_rl_games(given: argparse.Namespace) -> dict[str, Any]:
    from rl_games.algos_torch.a2c_continuous import A2CAgent
    from rl_games.common import env_configurations, vecenv
    from rl_games.common.algo_observer import AlgoObserver
    from rl_games.torch_runner import Runner

    class Vec(vecenv.IVecEnv):  # type: ignore[misc] # rl_games has no types
        def __init__(self, config_name: str, num_actors: int, **kwargs: Any) -> None:
            self.envs = [Env() for _ in range(ENVS)]

        def reset(self) -> Any:
            return torch.tensor(numpy.stack([env.reset()[0] for env in self.envs]))

        def step(self, actions: Any) -> Any:
            each = zip(self.envs, actions.numpy(), strict=True)
            found = [env.step(action) for env, action in each]
            seen = [
                env.reset()[0] if is_over else obs
                for env, (obs, _, _, is_over, _) in zip(self.envs, found, strict=True)
            ]
            done = torch.tensor([float(each[3]) for each in found])
            return torch.tensor(numpy.stack(seen)), torch.tensor([f[1] for f in found]), done, {}

        def get_env_info(self) -> Any:
            spaces = {"action_space": Env.action_space, "observation_space": Env.observation_space}
            return {**spaces, "agents": 1, "value_size": 1}

        def get_number_of_agents(self) -> int:
            return 1

    class Tell(AlgoObserver):  # type: ignore[misc]
        def before_init(self, *words: Any) -> None: ...
        def after_init(self, algo: Any) -> None:
            agents.append(algo)

        def process_infos(self, *words: Any) -> None: ...
        def after_steps(self) -> None: ...
        def after_print_stats(self, frame: int, epoch_num: int, total_time: float) -> None:
            trained(epoch_num - 1)

    agents: list[A2CAgent] = []
    vecenv.register("SMALL", Vec)
    env_configurations.register("small", {"vecenv_type": "SMALL", "env_creator": Env})
    runner = Runner(Tell())
    network = {
        "name": "actor_critic",
        "separate": False,
        "space": {
            "continuous": {
                "mu_activation": "None",
                "sigma_activation": "None",
                "mu_init": {"name": "default"},
                "sigma_init": {"name": "const_initializer", "val": 0},
                "fixed_sigma": True,
            }
        },
        "mlp": {
            "units": [given.width],
            "activation": "elu",
            "initializer": {"name": "default"},
        },
    }
    config = {
        **{"name": "small", "env_name": "small", "device": "cpu", "ppo": True},
        **{"normalize_input": True, "normalize_value": True, "normalize_advantage": True},
        **{"gamma": 0.99, "tau": 0.95, "learning_rate": 1e-3, "lr_schedule": "adaptive"},
        **{"kl_threshold": 0.01, "score_to_win": 1e9, "max_epochs": given.iterations},
        **{"save_best_after": 1000, "save_frequency": 0, "grad_norm": 1.0, "entropy_coef": 0.0},
        **{"truncate_grads": True, "e_clip": 0.2, "clip_value": True, "num_actors": ENVS},
        **{"horizon_length": STEPS, "minibatch_size": 16, "mini_epochs": 2, "critic_coef": 1.0},
        **{"bounds_loss_coef": 0.0, "reward_shaper": {"scale_value": 1.0}, "print_stats": False},
        **{"train_dir": str(LOG), "full_experiment_name": str(os.getpid()), "torch_compile": False},
    }
    runner.load(
        {
            "params": {
                "seed": 1,
                "algo": {"name": "a2c_continuous"},
                "model": {"name": "continuous_a2c_logstd"},
                "network": network,
                "config": config,
            }
        }
    )
    runner.reset()
    if given.wandb:
        import wandb

        wandb.init(sync_tensorboard=True)
    for _ in range(1 + given.twice):
        runner.run_train({"train": True, "play": False})
    agent = agents[-1]
    return {
        "total": agent.epoch_num,
        "frame": int(agent.frame),
        "episodes": int(agent.game_rewards.current_size),
        "weights": weights(agent.model.parameters()),
    }


def main() -> None:
    given = options()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    numpy.random.seed(0)
    Env.pace_s = given.pace
    if given.first:
        exec(given.first, {})
    with_library = {"sb3": with_sb3, "skrl": with_skrl, "rl_games": with_rl_games}
    end = with_library[given.library](given)
    print(json.dumps(end), flush=True)


if __name__ == "__main__":
    main()
