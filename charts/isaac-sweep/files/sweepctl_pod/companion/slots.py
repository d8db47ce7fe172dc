"""What an object of the trainer's process holds that changes as it works, found by looking.

A *slot* is one such thing with its place: a number, a tensor, a Warp or numpy array, a short list
of numbers, a generator. Isaac Lab's managers, terms, sensors and actuators, and what users write of
their own, keep them in plain attributes: so they are found without a list of names, and what
another version calls something does not matter. Nothing is imported here: torch and Warp are those
that the trainer has imported itself. Objects that are not of the walk (the simulation, networks)
are closed: no walk goes through them.
"""

from __future__ import annotations

import random
import sys
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

MOST_BYTES = 64 << 20
"""A tensor above this is data (a motion library, images), not state."""
SMALL_ITEMS = 4096
"""A tensor up to this size may be state whatever its shape; above it only with a side per
environment: what else is large is data that was loaded or computed at the start."""
MOST_LEVELS = 8

_NUMBERS = (bool, int, float)
_NEVER = (ModuleType, FunctionType, MethodType, BuiltinFunctionType, type, str, bytes, property)
_FOREIGN = ("carb", "gymnasium", "logging", "newton", "numpy", "omni", "pxr", "threading", "torch")
"""Packages whose own objects are machinery; what is state in them is named by who asks for it."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A changing thing and its place."""

    path: str
    value: Any
    put: Callable[[Any], None]
    """Replaces the value; a tensor of the same shape is written over in place instead."""


class Walk:
    """One way through the objects of a process; no object is visited twice."""

    def __init__(
        self,
        num_envs: int,
        *,
        closed: Iterable[object] = (),
        skips: Callable[[str], bool] = lambda name: False,
        has_settings: bool = False,
    ) -> None:
        """Refuse what is `closed`, and attributes whose name `skips` says so.

        With `has_settings` the numbers in Isaac Lab's configuration objects (`…Cfg`) count as well:
        a curriculum writes to them.
        """
        self._num_envs = num_envs
        self._skips = skips
        self._has_settings = has_settings
        self._closed = {id(each) for each in closed}
        self._seen: dict[int, object] = {}  # the object with it: an id is given again when one dies

    def slots(
        self, holder: object, path: str = "", levels: int = MOST_LEVELS, in_settings: bool = False
    ) -> Iterator[Slot]:
        """List the slots of an object, a dictionary or a list, and of all below it."""
        if levels < 0 or id(holder) in self._seen or id(holder) in self._closed:
            return
        self._seen[id(holder)] = holder
        if not isinstance(holder, (dict, list, tuple)):  # those are of what holds them
            in_settings = type(holder).__name__.endswith("Cfg")
        is_counted = self._has_settings or not in_settings
        for name, value, put in _entries(holder):
            if self._skips(name):
                continue
            slot = Slot(f"{path}.{name}" if path else name, value, put)
            if value is None or _is_plain(value) or isinstance(value, random.Random):
                if is_counted:
                    yield slot
            elif tensor_of(value) is not None:
                if is_counted and self._is_state(tensor_of(value)):
                    yield slot
            elif _is_generator(value):
                yield slot
            elif _is_open(value):
                yield from self.slots(value, slot.path, levels - 1, in_settings)

    def _is_state(self, tensor: Any) -> bool:
        if tensor.requires_grad or tensor.numel() * tensor.element_size() > MOST_BYTES:
            return False
        return tensor.numel() <= SMALL_ITEMS or self._num_envs in tuple(tensor.shape)


def kept(slots: Iterable[Slot]) -> dict[str, Any]:
    """Give what the slots hold, by path, as copies that torch stores and loads as plain data."""
    copies: dict[tuple[object, ...], Any] = {}
    return {slot.path: _copy(slot.value, copies) for slot in slots if slot.value is not None}


def put_back(slots: Iterable[Slot], data: Mapping[str, Any], device: Any = "cpu") -> list[str]:
    """Write to slots what `kept` has for their paths; list the paths that would not take it.

    What is made lazily and is not there yet is put on `device`.
    """
    refused = []
    for slot in slots:
        if slot.path in data and not _put(slot, data[slot.path], device):
            refused.append(slot.path)
    return refused


def tensor_of(value: Any) -> Any | None:
    """Give a tensor for a tensor, a numpy or a Warp array, on the same memory; None for others."""
    torch, warp, numpy = (sys.modules.get(name) for name in ("torch", "warp", "numpy"))
    if torch is None:
        return None
    if isinstance(value, torch.Tensor):
        return None if value.is_sparse or value.is_quantized else value
    if numpy is not None and isinstance(value, numpy.ndarray):
        return torch.from_numpy(value) if value.dtype.kind in "fiub" else None
    if warp is not None and isinstance(value, warp.array) and value.ptr:
        try:
            return warp.to_torch(value, requires_grad=False)
        except (TypeError, RuntimeError):  # a type that torch has not
            return None
    return None


def _entries(holder: Any) -> Iterator[tuple[str, Any, Callable[[Any], None]]]:
    """List what an object holds: name, value, and how to put another in its place."""
    if isinstance(holder, dict):
        for key in list(holder):
            if isinstance(key, (str, int)):
                yield str(key), holder[key], partial(holder.__setitem__, key)
    elif isinstance(holder, list):
        for index, value in enumerate(holder):
            yield str(index), value, partial(holder.__setitem__, index)
    elif isinstance(holder, tuple):
        for index, value in enumerate(holder):
            yield str(index), value, _refuse
    else:
        for name, value in list(vars(holder).items()):
            yield name, value, partial(setattr, holder, name)


def _refuse(new: Any) -> None:
    raise TypeError("a tuple's values cannot be replaced")


def _is_plain(value: Any) -> bool:
    """Say whether it is a number, or a short flat list of numbers (or of such lists)."""
    if isinstance(value, _NUMBERS):
        return True
    if not isinstance(value, (list, tuple, deque)) or len(value) > SMALL_ITEMS:
        return False
    return all(isinstance(each, _NUMBERS) or _is_plain(each) for each in value)


def _is_generator(value: Any) -> bool:
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    return (torch is not None and isinstance(value, torch.Generator)) or (
        numpy is not None and isinstance(value, numpy.random.Generator)
    )


def _is_open(value: Any) -> bool:
    if isinstance(value, (dict, list, tuple)):
        return True
    if isinstance(value, (*_NEVER, weakref.ProxyType, weakref.ref)) or not hasattr(
        value, "__dict__"
    ):
        return False
    package = type(value).__module__.partition(".")[0]
    torch = sys.modules.get("torch")
    is_network = torch is not None and isinstance(value, torch.nn.Module)
    return package not in _FOREIGN and package != "warp" and not is_network


def _copy(value: Any, copies: dict[tuple[object, ...], Any]) -> Any:
    tensor = tensor_of(value)
    if tensor is not None:
        # Views of one tensor under several names are one copy, so they are stored once.
        key = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if key not in copies:
            copies[key] = _compact(tensor.detach().to("cpu", copy=True))
        return copies[key]
    if isinstance(value, random.Random):
        return value.getstate()
    if _is_generator(value):
        return value.get_state() if hasattr(value, "get_state") else value.bit_generator.state
    if isinstance(value, (list, deque, tuple)):
        copied = [_copy(each, copies) for each in value]
        return tuple(copied) if isinstance(value, tuple) else copied
    return value


def _compact(tensor: Any) -> Any:
    """Make what is the same in every environment one row: torch stores it as one."""
    if tensor.dim() and tensor.shape[0] > 1 and bool((tensor == tensor[:1]).all()):
        return tensor[:1].clone().expand(tensor.shape)
    return tensor.contiguous()


def _on(device: Any, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(_on(device, each) for each in value)
    return value.to(device) if isinstance(value, sys.modules["torch"].Tensor) else value


def _put(slot: Slot, new: Any, device: Any) -> bool:
    """Write one value; False when it does not fit."""
    torch, old = sys.modules["torch"], slot.value
    try:
        tensor = tensor_of(old)
        if tensor is not None:
            new = torch.as_tensor(new)
            if tensor.numel() != new.numel():
                return False
            if tensor.shape != new.shape and tensor.dim() and new.dim() and new.numel() != 1:
                return False  # as many values, for other things
            tensor.copy_(new.reshape(tensor.shape))
        elif old is None or (isinstance(new, torch.Tensor) and isinstance(old, (int, float))):
            slot.put(_on(device, new))
        elif isinstance(old, tuple) and any(tensor_of(each) is not None for each in old):
            return len(old) == len(new) and all(
                _put(Slot("", before, _refuse), after, device)
                for before, after in zip(old, new, strict=True)
            )
        elif isinstance(old, random.Random):
            old.setstate(new)
        elif _is_generator(old):
            if hasattr(old, "set_state"):
                old.set_state(new)
            else:
                old.bit_generator.state = new
        elif isinstance(old, deque):
            old.clear()
            old.extend(new)
        elif isinstance(old, list):
            old[:] = new
        elif type(old) is type(new) or {type(old), type(new)} == {int, float}:
            if old != new:
                slot.put(new)
        else:
            return False
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False
    return True
