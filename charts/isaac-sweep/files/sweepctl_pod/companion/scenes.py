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
_OF_MODEL = re.compile(
    r"body_(inv_)?(mass|inertia)|body_com|shape_material_\w+|gravity"
    r"|joint_(target_k[ed]|armature|friction|damping|effort_limit|velocity_limit|limit_\w+)"
)
"""What events randomize of Newton's model, at each reset or from time to time."""
_OF_JOINTS = ("stiffness", "damping", "armature")
"""The same of another backend's joints, by Isaac Lab's names."""


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
        actuators = [
            actuator
            for asset in self.assets.values()
            for actuator in (getattr(asset, "actuators", None) or {}).values()
        ]
        own = (self.scene, self.terrain)
        return [*own, *self.assets.values(), *self.sensors.values(), *actuators]


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
    return {
        "poses": poses,
        "rest": kept(_slots(env, parts)),
        "solver": kept(_solver_slots(env)),
        "model": kept(_model_slots(env)) or kept(_joint_slots(parts)),
    }


def restore_scene(env: Any, part: Mapping[str, Any]) -> list[str]:
    """Put a scene back into that state; list what did not fit."""
    parts = SceneParts.of(env)
    parts.scene.reset_to(part["poses"])
    env.sim.forward()
    refused = _restore_model(env, parts, part["model"])
    refused += put_back(_solver_slots(env), part["solver"])
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


def _model_slots(env: Any) -> Iterator[Slot]:
    """List the arrays of Newton's model that events may have changed; nothing without one."""
    model = getattr(getattr(env.sim, "physics_manager", None), "get_model", lambda: None)()
    for name, value in vars(model).items() if model is not None else ():
        if _OF_MODEL.fullmatch(name) and tensor_of(value) is not None:
            yield Slot(name, value, partial(setattr, model, name))


def _joint_slots(parts: SceneParts) -> Iterator[Slot]:
    """List the gains of the simulated joints; a value put is written to the simulation."""
    for asset_name, asset in parts.assets.items():
        for name in _OF_JOINTS:
            value = getattr(getattr(asset, "data", None), f"joint_{name}", None)
            value = getattr(value, "torch", value)
            if tensor_of(value) is not None:
                yield Slot(f"{asset_name}.{name}", value, partial(_write_joints, asset, name))


def _write_joints(asset: Any, name: str, value: Any) -> None:
    write = getattr(asset, f"write_joint_{name}_to_sim_index", None)
    if write is not None:
        write(**{name: value})
    else:  # before Isaac Lab 3
        getattr(asset, f"write_joint_{name}_to_sim")(value)


def _restore_model(env: Any, parts: SceneParts, data: Mapping[str, Any]) -> list[str]:
    """Write what differs: most tasks randomize nothing after their start, which is the same."""
    slots = list(_model_slots(env))
    changed = [slot for slot in slots or _joint_slots(parts) if _differs(slot, data)]
    if slots:
        refused = put_back(changed, data)
        if changed:
            env.sim.physics_manager.add_model_change(sys.modules["newton"].ModelFlags.ALL)
        return refused
    for slot in changed:
        slot.put(data[slot.path].to(slot.value.device))
    return []


def _differs(slot: Slot, data: Mapping[str, Any]) -> bool:
    new, old = data.get(slot.path), tensor_of(slot.value)
    if new is None or old is None or new.shape != old.shape:
        return False
    return not bool((new.to(old.device) == old).all())


def _mark_old(parts: SceneParts) -> None:
    """Have an asset's data compute again whatever it derived from the state before."""
    for asset in parts.assets.values():
        for buffer in vars(vars(asset).get("_data") or sys).values():
            if type(buffer).__name__ == "TimestampedBuffer":
                buffer.timestamp = -1.0
