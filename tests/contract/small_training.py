"""Trains with the real rsl_rl, of whatever version is importable, in a world of a few numbers.

    small_training.py --iterations N [--interval N] [--pace S] [--logger wandb] [--start FILE] …

It prints a line of JSON at its end: how the runner stands, and what `learn` was given to do.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from rsl_rl.runners import OnPolicyRunner

STEPS, ENVS, OBSERVATIONS, ACTIONS = 4, 4, 3, 2


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--iterations", type=int, required=True)
    parser.add_argument("--interval", type=int, default=5)
    parser.add_argument("--pace", type=float, default=0.0, help="seconds of each step")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--logger", default="tensorboard")
    parser.add_argument("--start", default="")
    parser.add_argument("--thread", action="store_true")
    parser.add_argument("--gloo", action="store_true")
    parser.add_argument("--first", default="", help="Python to execute before the training")
    return parser.parse_args()


@dataclass
class Gains:
    hip: float = 1.5


class Env:
    """Rewards actions that are near to the observation; an episode has twenty steps."""

    num_envs, num_actions, max_episode_length, device = ENVS, ACTIONS, 20, "cpu"
    cfg = Gains()

    def __init__(self, pace_s: float, is_dict: bool) -> None:
        self.pace_s, self.is_dict = pace_s, is_dict
        self.episode_length_buf = torch.zeros(ENVS, dtype=torch.long)
        self.obs = torch.rand(ENVS, OBSERVATIONS)
        self.steps = 0

    @property
    def unwrapped(self) -> "Env":
        return self

    env = unwrapped

    def get_observations(self) -> Any:
        if self.is_dict:
            from tensordict import TensorDict

            return TensorDict({"policy": self.obs}, batch_size=[ENVS])
        return self.obs, {"observations": {}}

    def reset(self) -> Any:
        return self.get_observations()

    def step(self, actions: Any) -> Any:
        time.sleep(self.pace_s)
        self.steps += 1
        rewards = -(actions - self.obs[:, :ACTIONS]).square().sum(1)
        self.episode_length_buf = self.episode_length_buf + 1
        dones = (self.episode_length_buf >= self.max_episode_length).long()
        self.episode_length_buf = self.episode_length_buf * (1 - dones)
        self.obs = torch.rand(ENVS, OBSERVATIONS)
        extras: dict[str, Any] = {"observations": {}, "time_outs": dones}
        if self.is_dict:
            return self.get_observations(), rewards, dones, extras
        return self.obs, rewards, dones, extras


def config(given: argparse.Namespace, generation: int) -> dict[str, Any]:
    """Write the runner's settings as its version has them."""
    logger: Any = given.logger
    if generation >= 5 and logger == "wandb":
        logger = {"class_name": "WandbLogWriter", "project_name": os.environ["WANDB_PROJECT"]}
    whole: dict[str, Any] = {
        "num_steps_per_env": STEPS,
        "save_interval": given.interval,
        "logger": logger,
        "wandb_project": os.environ.get("WANDB_PROJECT", ""),
        "run_name": "",
        "empirical_normalization": False,
        "obs_groups": {"policy": ["policy"], "actor": ["policy"], "critic": ["policy"]},
        "algorithm": {"class_name": "PPO", "num_mini_batches": 2, "num_learning_epochs": 2},
        "seed": 1,
    }
    hidden = [given.width]
    if generation >= 5:
        network = {"class_name": "MLPModel", "hidden_dims": hidden, "activation": "elu"}
        distribution = {"class_name": "GaussianDistribution", "init_std": 1.0}
        whole["actor"] = {**network, "distribution_cfg": distribution}
        whole["critic"] = dict(network)
    else:
        whole["policy"] = {
            "class_name": "ActorCritic",
            "init_noise_std": 1.0,
            "actor_hidden_dims": hidden,
            "critic_hidden_dims": hidden,
            "activation": "elu",
        }
    return whole


def installed() -> int:
    try:
        return int(os.environ.get("RSL_RL") or version("rsl-rl-lib").partition(".")[0])
    except PackageNotFoundError:
        return 5


def main() -> None:
    given = options()
    generation = installed()
    torch.manual_seed(1)
    rank = int(os.environ.get("RANK", "0"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if given.gloo:
        # rsl_rl itself wants a GPU for each process.
        def join(runner: Any) -> None:
            runner.gpu_local_rank = runner.gpu_global_rank = rank
            runner.gpu_world_size, runner.is_distributed = size, True
            runner.cfg["multi_gpu"] = {"global_rank": rank, "local_rank": rank, "world_size": size}
            torch.distributed.init_process_group("gloo", rank=rank, world_size=size)

        OnPolicyRunner._configure_multi_gpu = join
    env = Env(given.pace, is_dict=generation >= 3)
    folder = os.path.abspath("log")
    runner = OnPolicyRunner(env, config(given, generation), log_dir=folder, device="cpu")
    if given.start:
        runner.load(given.start)
    if given.first:
        exec(given.first, {"runner": runner, "env": env})
    before = {name: len(vars(owner)) for name, owner in (("alg", runner.alg), ("runner", runner))}
    print("training begins", flush=True)
    if given.thread:
        import threading

        thread = threading.Thread(target=runner.learn, args=(given.iterations, True))
        thread.start()
        thread.join()
    else:
        runner.learn(given.iterations, init_at_random_ep_len=True)
    after = {name: len(vars(owner)) for name, owner in (("alg", runner.alg), ("runner", runner))}
    end = {"at": runner.current_learning_iteration, "steps": env.steps, "before": before}
    weights = [
        float(p.detach().double().sum())
        for g in runner.alg.optimizer.param_groups
        for p in g["params"]
    ]
    print(json.dumps({**end, "after": after, "weights": weights}), flush=True)


if __name__ == "__main__":
    main()
