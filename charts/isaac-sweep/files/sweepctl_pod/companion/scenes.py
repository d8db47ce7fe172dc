"""A scene of Isaac Lab in the middle of its episodes: taken from the simulation, and put back.

Poses and velocities go through the scene's own `get_state` and `reset_to`, which every backend has.
What these leave out is found beside: sensors' and actuators' buffers, the velocities of the step
before (accelerations are their differences), targets, and for Newton the very arrays of its state
and the solver's warm start, so that the next step is the same to the last bit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sweepctl_pod.companion.slots import Slot, Walk, kept, put_back, tensor_of

_ASSETS = (
    *("articulations", "deformable_objects", "rigid_objects", "rigid_object_collections"),
    *("cable_objects", "surface_grippers"),
)
_OF_DATA = re.compile(
    r"_?(sim_timestamp|timestamp|data|previous_.*|.*_acc(_w)?|.*_target|default_.*|computed_.*"
    r"|applied_.*|soft_.*|actuator_.*|body_state_dirty|joint_(dynamic_)?friction.*)"
)
"""What an asset's data cannot compute again from poses and velocities."""
_NOT_STATE = re.compile(
    r".*(cfg|view|_env|asset|sim$|drawer|visualizer|handle|_ta$|kernel_|construction|_ALL_).*"
)
"""Attributes of actuators and sensors that are wiring, or another name for what is kept."""
_OF_SOLVER = ("qacc_warmstart", "act", "ctrl", "qfrc_applied", "xfrc_applied", "time")
"""What MuJoCo Warp carries from one step to the next besides Newton's own state."""


@dataclass(frozen=True, slots=True)
class SceneParts:
    """A scene's parts by name; empty for an environment without one."""

    scene: Any
    terrain: Any
    assets: Mapping[str, Any]
    sensors: Mapping[str, Any]

    @classmethod
    def of(cls, env: Any) -> SceneParts:
        """Find the scene of an environment."""
        scene = getattr(env, "scene", None)
        assets = {
            f"{kind}.{name}": asset
            for kind in _ASSETS
            for name, asset in (getattr(scene, kind, None) or {}).items()
        }
        return cls(
            scene,
            getattr(scene, "terrain", None),
            assets,
            dict(getattr(scene, "sensors", None) or {}),
        )

    def all(self) -> list[object]:
        """List all objects that belong to the scene."""
        return [self.scene, self.terrain, *self.assets.values(), *self.sensors.values()]


def capture_scene(env: Any) -> dict[str, Any]:
    """Give the state of an environment's scene; nothing when it has none."""
    parts = SceneParts.of(env)
    if parts.scene is None or not hasattr(parts.scene, "get_state"):
        return {}
    poses = {
        kind: {
            name: {what: tensor.detach().to("cpu", copy=True) for what, tensor in each.items()}
            for name, each in assets.items()
            if isinstance(each, dict)
        }
        for kind, assets in parts.scene.get_state().items()
    }
    return {"poses": poses, "rest": kept(_slots(env, parts)), "solver": kept(_solver_slots(env))}


def restore_scene(env: Any, part: Mapping[str, Any]) -> list[str]:
    """Put a scene back into that state; list what did not fit."""
    parts = SceneParts.of(env)
    parts.scene.reset_to(part["poses"])
    env.sim.forward()
    refused = put_back(_solver_slots(env), part["solver"])
    _mark_old(parts)
    return refused + put_back(_slots(env, parts), part["rest"])


def _slots(env: Any, parts: SceneParts) -> Iterator[Slot]:
    """List what poses and velocities leave out, asset by asset."""
    walk = Walk(
        env.num_envs,
        closed=(env, *parts.all()),
        skips=lambda name: bool(_NOT_STATE.fullmatch(name)),
    )
    for name, asset in parts.assets.items():
        data = vars(asset).get("_data")
        if data is not None:
            only = {key: each for key, each in vars(data).items() if _OF_DATA.fullmatch(key)}
            for slot in walk.slots(only, f"{name}.data"):
                key = slot.path.rpartition(".")[2]
                # `only` is a copy: a value that is replaced is replaced in the data itself.
                yield (
                    Slot(slot.path, slot.value, partial(setattr, data, key))
                    if key in only
                    else slot
                )
        yield from walk.slots(getattr(asset, "actuators", None) or {}, f"{name}.actuators")
        own = {k: v for k, v in vars(asset).items() if k.endswith(("_target_sim", "_effort_sim"))}
        yield from walk.slots(own, name)
    for name, sensor in parts.sensors.items():
        yield from walk.slots(dict(vars(sensor)), f"sensors.{name}")


def _solver_slots(env: Any) -> Iterator[Slot]:
    """List the arrays of Newton's state, control and solver; nothing for another backend."""
    manager = getattr(env.sim, "physics_manager", None)
    for source in ("get_state_0", "get_control"):
        arrays = getattr(manager, source, lambda: None)()
        for name, value in vars(arrays).items() if arrays is not None else ():
            if tensor_of(value) is not None:
                yield Slot(f"{source}.{name}", value, partial(setattr, arrays, name))
    solver = getattr(getattr(manager, "_solver", None), "mjw_data", None)
    for name in _OF_SOLVER:
        if tensor_of(getattr(solver, name, None)) is not None:
            yield Slot(f"solver.{name}", getattr(solver, name), partial(setattr, solver, name))


def _mark_old(parts: SceneParts) -> None:
    """Have an asset's data compute again whatever it derived from the state before."""
    for asset in parts.assets.values():
        for buffer in vars(vars(asset).get("_data") or sys).values():
            if type(buffer).__name__ == "TimestampedBuffer":
                buffer.timestamp = -1.0
