"""How Toy-Legs is trained: PPO with two small networks, sized for one CPU core."""

import torch
from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlMLPModelCfg, RslRlOnPolicyRunnerCfg, RslRlPpoAlgorithmCfg

# Networks this small gain nothing from threads, and agents that train side by side lose to them:
# measured on two busy cores, 20 s a run in place of 48.
torch.set_num_threads(1)


@configclass
class ToyLegsRunnerCfg(RslRlOnPolicyRunnerCfg):
    experiment_name = "toy_legs"
    num_steps_per_env = 16
    max_iterations = 12
    save_interval = 5
    # Every environment starts a whole episode, so the mean reward is that of whole episodes.
    init_at_random_ep_len = False
    actor = RslRlMLPModelCfg(
        hidden_dims=[32, 32],
        activation="elu",
        obs_normalization=False,
        distribution_cfg=RslRlMLPModelCfg.GaussianDistributionCfg(init_std=0.3),
    )
    critic = RslRlMLPModelCfg(hidden_dims=[32, 32], activation="elu", obs_normalization=False)
    algorithm = RslRlPpoAlgorithmCfg(
        value_loss_coef=1.0,
        use_clipped_value_loss=True,
        clip_param=0.2,
        entropy_coef=0.005,
        num_learning_epochs=4,
        num_mini_batches=2,
        learning_rate=1.0e-3,
        # "adaptive" leaves the given rate after the first iteration: nothing to search for then.
        schedule="fixed",
        gamma=0.99,
        lam=0.95,
        desired_kl=0.01,
        max_grad_norm=1.0,
    )
