"""What the trainer itself does not save, beside each checkpoint: taken from a runner, and put back.

rsl_rl saves networks and optimizer. Without the rest a resumed training begins as a new one does:
all environments at the start of an episode at once, commands and curriculum as on the first day, no
memory of the last episodes; its rewards fall, or are missing, for a while. Each part is taken and
put back by itself: one that is not there or fails is one line, and the others are restored.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from sweepctl_pod.companion.ranks import Ranks
from sweepctl_pod.companion.scenes import SceneParts, capture_scene, restore_scene
from sweepctl_pod.companion.slots import Slot, Walk, kept, put_back
from sweepctl_pod.companion.speech import reason, say

EPISODE_LENGTHS = "episode_lengths"

_MANAGERS = ("command", "action", "event", "observation", "reward", "termination")
_COUNTERS = frozenset({"common_step_counter", "_sim_step_counter"})
_EPISODES = frozenset({"episode_length_buf", "reset_buf", "reset_terminated", "reset_time_outs"})
_NOT_STATE = frozenset(
    {
        *("_asset", "_env", "env", "sim", "scene", "recorder_manager", "video_recorders"),
        *("window", "_window", "manager_visualizers", "viewport_camera_controller", "metadata"),
        *("render_mode", "_IO_descriptor", "_is_closed"),
    }
)
"""Attributes through which no walk goes: what they hold is another's, or a picture of it."""
_WIRING = ("handle", "debug_vis", "visualizer")


def capture(runner: Any) -> dict[str, Any]:
    """Give what of a runner's state its own checkpoint lacks: what torch.save can write.

    Called at the end of an iteration, before the first action of the next, and perhaps in the
    middle of one when the training is to end. Copies, on the CPU, of plain types alone.
    """
    data: dict[str, Any] = {"rank": Ranks().own, "num_envs": _num_envs(runner), "parts": {}}
    for name, (take, _) in _PARTS.items():
        try:
            part = take(runner)
        except Exception as error:  # of a trainer that we do not know; the rest can be kept
            say(f"{name} is not in the checkpoint: {reason(error)}")
            continue
        if part:
            data["parts"][name] = part
    return data


def restore(runner: Any, data: Mapping[str, Any], only: frozenset[str] | None = None) -> set[str]:
    """Put back what `capture` gave, after the model is loaded and before the training begins.

    Gives the names of what was restored; with "episode_lengths" among them the trainer does not
    draw them anew. `only` restricts it to some parts.
    """
    parts, restored = data.get("parts", {}), set[str]()
    own_envs, envs = _num_envs(runner), data.get("num_envs")
    if own_envs != envs:
        say(f"{own_envs} environments where the checkpoint had {envs}: theirs begin anew")
    for name, (_, put) in _PARTS.items():
        if name not in parts or (only is not None and name not in only):
            continue
        # Ranks must differ in what they sample: only rank 0 goes on exactly where it was.
        if name not in _COMMON and (own_envs != envs or data.get("rank") != Ranks().own):
            continue
        try:
            with sys.modules["torch"].inference_mode():  # its tensors were made in this mode
                refused = put(runner, parts[name])
        except Exception as error:  # as above: the training goes on with less
            say(f"{name} is not restored: {reason(error)}")
            continue
        if refused:
            say(f"{name}: {len(refused)} values do not fit any more, such as {refused[0]}")
        restored.add(name)
    return restored


def _env(runner: Any) -> Any:
    return runner.env.unwrapped


def _num_envs(runner: Any) -> int | None:
    return getattr(getattr(runner, "env", None), "num_envs", None)


# Random generators


def take_random(runner: Any = None) -> dict[str, Any]:
    """Give the states of the generators of Python, numpy and torch."""
    torch, numpy = sys.modules["torch"], sys.modules.get("numpy")
    part: dict[str, Any] = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        part["cuda"] = torch.cuda.get_rng_state_all()
    if numpy is not None:
        name, keys, *rest = numpy.random.get_state()
        part["numpy"] = (name, torch.from_numpy(keys.astype("int64")), *rest)
    # Warp has none: its kernels take a seed each time.
    return part


def put_random(runner: Any, part: Mapping[str, Any]) -> list[str]:
    """Put back what `take_random` gave; give the names of what does not fit."""
    torch, numpy = sys.modules["torch"], sys.modules.get("numpy")
    random.setstate(part["python"])
    torch.set_rng_state(part["torch"])
    refused = []
    if "cuda" in part and torch.cuda.is_available():
        if len(part["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(part["cuda"])
        else:
            refused.append("cuda")
    if "numpy" in part and numpy is not None:
        name, keys, *rest = part["numpy"]
        numpy.random.set_state((name, keys.numpy().astype("uint32"), *rest))
    return refused


# rsl_rl


_TOTALS = ("tot_timesteps", "tot_time", "rewbuffer", "lenbuffer", "erewbuffer", "irewbuffer")
_SUMS = ("cur_reward_sum", "cur_episode_length", "cur_ereward_sum", "cur_ireward_sum")


def _total_slots(runner: Any) -> Iterator[Slot]:
    """List what rsl_rl reports from: its logger's since 4.0, the runner's own before.

    Before 4.0 the last episodes' rewards are local to `learn`, where nobody reaches them.
    """
    for holder in (getattr(runner, "logger", None), runner):
        names = [name for name in (*_TOTALS, *_SUMS) if name in getattr(holder, "__dict__", {})]
        for name in names:
            yield _attribute(holder, name)


def _algorithm_slots(runner: Any) -> Iterator[Slot]:
    """List what of the algorithm is in no state_dict.

    Before rsl_rl 4.0 the adaptive learning rate of the optimizer is loaded, and overwritten at the
    first step by the one of the configuration. Memories of recurrent policies belong to the
    episodes that go on.
    """
    algorithm = runner.alg
    if "learning_rate" in vars(algorithm):
        yield _attribute(algorithm, "learning_rate")
    networks = sys.modules["torch"].nn.Module
    for name, value in list(vars(algorithm).items()):
        if isinstance(value, networks):
            for inner, module in value.named_modules():
                for attribute in ("hidden_state", "hidden_states", "update_counter", "weight"):
                    if attribute not in module.__dict__:
                        continue
                    slot = _attribute(module, attribute)
                    yield Slot(f"{name}.{inner}.{attribute}", slot.value, slot.put)


def _attribute(holder: Any, name: str) -> Slot:
    return Slot(name, getattr(holder, name), partial(setattr, holder, name))


# The environment


def _walk(runner: Any) -> Walk:
    """Prepare a walk through the environment that stays out of the simulation and its assets."""
    env = _env(runner)
    scene = SceneParts.of(env)
    return Walk(
        runner.env.num_envs,
        closed=(runner, runner.env, runner.env.env, env, *scene.all()),
        skips=lambda name: name in _NOT_STATE or any(part in name for part in _WIRING),
        has_settings=_has_curriculum(env),
    )


def _has_curriculum(env: Any) -> bool:
    """Say whether a curriculum may have changed settings; else they are what is configured."""
    return bool(getattr(getattr(env, "curriculum_manager", None), "active_terms", None))


def _counter_slots(runner: Any) -> Iterator[Slot]:
    env = _env(runner)
    yield from (_attribute(env, name) for name in sorted(_COUNTERS) if hasattr(env, name))


def _episode_slots(runner: Any) -> Iterator[Slot]:
    env = _env(runner)
    yield from (_attribute(env, name) for name in sorted(_EPISODES) if hasattr(env, name))


def _curriculum_slots(runner: Any) -> Iterator[Slot]:
    """List the curriculum's terms, and where on the terrain each environment is."""
    env = _env(runner)
    walk = _walk(runner)
    if _has_curriculum(env):
        yield from walk.slots(env.curriculum_manager, "curriculum_manager")
    terrain = getattr(getattr(env, "scene", None), "terrain", None)
    for name in ("terrain_levels", "terrain_types", "env_origins"):
        if getattr(terrain, name, None) is not None:
            slot = _attribute(terrain, name)
            yield Slot(f"terrain.{name}", slot.value, slot.put)


def _environment_slots(runner: Any) -> Iterator[Slot]:
    """List the managers' terms and what a direct environment keeps in its own attributes."""
    env, walk = _env(runner), _walk(runner)
    for name in _MANAGERS:
        manager = getattr(env, f"{name}_manager", None)
        if manager is not None:
            yield from walk.slots(manager, f"{name}_manager")
    apart = _COUNTERS | _EPISODES | {"cfg", "curriculum_manager"}
    own = {name: value for name, value in vars(env).items() if name not in apart}
    for slot in walk.slots(own, "env"):
        name = slot.path.removeprefix("env.")
        # The dictionary above is a copy of the environment's: a value replaced is replaced there.
        yield _attribute_at(env, name, slot) if name in own else slot


def _attribute_at(env: Any, name: str, slot: Slot) -> Slot:
    return Slot(slot.path, slot.value, partial(setattr, env, name))


def _part(
    slots: Callable[[Any], Iterator[Slot]],
) -> tuple[Callable[[Any], dict[str, Any]], Callable[[Any, Any], list[str]]]:
    """Make a part of what is found slot by slot."""
    return (
        lambda runner: kept(slots(runner)),
        lambda runner, part: put_back(slots(runner), part, runner.env.device),
    )


_PARTS: Mapping[str, tuple[Callable[[Any], dict[str, Any]], Callable[[Any, Any], list[str]]]] = {
    # In the order in which they are put back: writing poses marks what follows from them as old,
    # and the generators come last, since anything before may draw.
    "physics": (
        lambda runner: capture_scene(_env(runner)),
        lambda runner, part: restore_scene(_env(runner), part),
    ),
    "environment": _part(_environment_slots),
    "curriculum": _part(_curriculum_slots),
    "counters": _part(_counter_slots),
    EPISODE_LENGTHS: _part(_episode_slots),
    "totals": _part(_total_slots),
    "algorithm": _part(_algorithm_slots),
    "random": (take_random, put_random),
}
PARTS = tuple(_PARTS)
_COMMON = frozenset({"counters", "totals", "algorithm"})
"""Parts that a rank takes from another's state: what does not fit in them is left out."""
