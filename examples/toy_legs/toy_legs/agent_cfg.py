"""How Toy-Legs is trained: PPO with two small networks, sized for one CPU core."""

from isaaclab.utils import configclass
from isaaclab_rl.rsl_rl import RslRlMLPModelCfg, RslRlOnPolicyRunnerCfg, RslRlPpoAlgorithmCfg


@configclass
class ToyLegsRunnerCfg(RslRlOnPolicyRunnerCfg):
    experiment_name = "toy_legs"
    num_steps_per_env = 16
    max_iterations = 15
    save_interval = 5
    # Every environment starts a whole episode, so the mean reward is that of whole episodes.
    init_at_random_ep_len = False
    actor = RslRlMLPModelCfg(
        hidden_dims=[32, 32],
        activation="elu",
        obs_normalization=False,
        distribution_cfg=RslRlMLPModelCfg.GaussianDistributionCfg(init_std=1.0),
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
