"""Several processes that train one run: which one this is, and what they decide together."""

from __future__ import annotations

import sys
from typing import Any


class Ranks:
    """The processes of this training; alone, every answer is one's own."""

    def __init__(self, device: Any = "cpu") -> None:
        self._device = device
        self._distributed = _distributed()
        self.own = 0 if self._distributed is None else int(self._distributed.get_rank())
        """This process's number; 0 writes for all."""

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self._distributed is not None

    def most(self, number: int) -> int:
        """Give the highest number that any of them gives; all come here at the same point."""
        if self._distributed is None:
            return number
        torch = sys.modules["torch"]
        is_on_gpu = self._distributed.get_backend() == "nccl"
        found = torch.tensor([number], device=self._device if is_on_gpu else "cpu")
        self._distributed.all_reduce(found, op=self._distributed.ReduceOp.MAX)
        return int(found.item())


def rank() -> int:
    """Give this process's number."""
    return Ranks().own


def _distributed() -> Any:
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed if distributed.get_world_size() > 1 else None
