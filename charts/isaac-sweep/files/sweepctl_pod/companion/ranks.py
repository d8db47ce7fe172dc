"""Several processes that train one run: which one this is, and what they decide together."""

from __future__ import annotations

import sys
from typing import Any


def rank() -> int:
    """Give this process's number; 0 writes for all."""
    distributed = _distributed()
    return 0 if distributed is None else int(distributed.get_rank())


def any_of(fact: bool, device: Any) -> bool:
    """Say whether a fact holds in any of the processes; all of them ask at the same point."""
    distributed = _distributed()
    if distributed is None:
        return fact
    torch = sys.modules["torch"]
    is_on_gpu = distributed.get_backend() == "nccl"
    found = torch.tensor([int(fact)], device=device if is_on_gpu else "cpu")
    distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
    return bool(found.item())


def _distributed() -> Any:
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed if distributed.get_world_size() > 1 else None
