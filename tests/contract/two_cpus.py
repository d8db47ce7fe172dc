"""Lets several processes train on CPUs, where Isaac Lab and rsl_rl want GPUs; all else is theirs.

A task module for `SWEEPCTL_TASKS`: Isaac Lab imports it in each process before it trains.
"""

import os
from typing import Any

if os.environ.get("LOCAL_RANK"):
    import torch.distributed
    from isaaclab.app import sim_launcher
    from isaaclab_rl.entrypoints.backends import train_rsl_rl
    from rsl_rl.runners import OnPolicyRunner

    def set_device(cfg: Any, args: dict[str, Any]) -> None:
        cfg.sim.device = args["device"] = "cpu"

    def join(runner: OnPolicyRunner) -> None:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        runner.gpu_local_rank = runner.gpu_global_rank = rank
        runner.gpu_world_size, runner.is_distributed = size, True
        runner.cfg["multi_gpu"] = {"global_rank": rank, "local_rank": rank, "world_size": size}
        torch.distributed.init_process_group("gloo", rank=rank, world_size=size)
        print(f"rank {rank} with {os.environ['OMP_NUM_THREADS']} threads", flush=True)

    sim_launcher._resolve_distributed_device = set_device
    train_rsl_rl.validate_distributed_device = lambda args: None
    OnPolicyRunner._configure_multi_gpu = join
