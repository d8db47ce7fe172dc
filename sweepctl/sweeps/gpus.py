"""Which GPUs of this machine each agent of `local` trains on.

Pure, except for `plan_gpus`, which asks nvidia-smi where CUDA_VISIBLE_DEVICES says nothing. What it
gives each agent is that variable: the trainer's `cuda:0` is the first GPU that it names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.preflight import GPU_NAME, NoProgramError, listed_gpus, visible_gpus

VISIBLE = "CUDA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"
_HIDDEN = {VISIBLE: "-1"}
_LISTING_LIMIT_S = 15.0
_RECORD = "gpus.json"
_TWICE = "name it once; agents share it when there are more of them than GPUs"

_LISTED_GPU = re.compile(r"GPU (\d+):(?:.*\(UUID: ([^)]+)\))?")
_LISTED_MIG = re.compile(r"\s+MIG .*\(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked of `local`: which GPUs (None: those that are there), how many each."""

    which: tuple[str, ...] | None = None
    each: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as nvidia-smi lists it; one with MIG devices is used through those only."""

    number: str
    uuid: str
    parts: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """What an agent can be given of this GPU."""
        return self.parts or (self.number,)

    def meant_by(self, name: str) -> tuple[str, ...]:
        """Give the devices that a name means; CUDA also takes the beginning of a UUID."""
        if name == self.number or self.uuid.startswith(name):
            return self.names
        return tuple(part for part in self.parts if part.startswith(name))


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """The GPUs of each agent (none where nothing changes for it), and what to say about them."""

    agents: tuple[tuple[str, ...], ...]
    environ: Mapping[str, str]
    """What the agents' environments have besides their GPUs."""
    notes: tuple[str, ...] = ()

    def environ_of(self, index: int) -> dict[str, str]:
        """Give the variables by which the trainer of an agent sees its GPUs."""
        if not self.agents[index]:
            return dict(self.environ)
        return {**self.environ, VISIBLE: ",".join(self.agents[index])}


def read_wish(which: str, each: int | None) -> Wish:
    """Read --gpus (`auto`, `none` or names) and --gpus-per-agent."""
    if which == "auto":
        return Wish(None, each)
    if which == "none":
        if each is not None:
            raise UsageError("--gpus none leaves no GPUs for --gpus-per-agent", "leave out one")
        return Wish((), None)
    names = tuple(name.strip() for name in which.split(","))
    for name in names:
        if not GPU_NAME.fullmatch(name):
            raise UsageError(
                f"--gpus {which}: '{name}' names no GPU",
                "write auto, none, or numbers and UUIDs as `nvidia-smi -L` lists them: 0,1",
            )
    if len(set(names)) < len(names):
        raise UsageError(f"--gpus {which}: names a GPU twice", _TWICE)
    return Wish(names, each)


def plan_gpus(
    wish: Wish,
    agents: int,
    environ: Mapping[str, str],
    list_gpus: Callable[[Mapping[str, str]], str] | None = None,
) -> GpuPlan:
    """Share this machine's GPUs out among agents; without GPUs nothing is changed."""
    if wish.which == ():
        return GpuPlan(((),) * agents, _HIDDEN)
    if agents == 1 and wish == Wish():
        return GpuPlan(((),), {})  # all that it sees is its own
    if wish.which is None and VISIBLE in environ:
        return _shared(visible_gpus(environ[VISIBLE]), wish, agents, {}, ())
    notes: tuple[str, ...] = ()
    try:
        listed = read_listing(
            list_gpus(environ) if list_gpus else listed_gpus(environ, _LISTING_LIMIT_S)
        )
    except NoProgramError:
        listed = ()
    except SweepctlError as error:
        listed = ()
        notes = (f"{error.message}; which GPUs there are can be said: --gpus 0,1",)
    if wish.which is None:
        names = tuple(name for gpu in listed for name in gpu.names)
    else:
        names, notes = _named(wish.which, listed), ()
    # Without this, CUDA numbers GPUs by their speed and nvidia-smi by their place.
    order = {} if _ORDER in environ else {_ORDER: "PCI_BUS_ID"}
    return _shared(names, wish, agents, order, notes)


def record(folder: Path, gpus: Mapping[str, Sequence[str]]) -> None:
    """Write beside the agents' logs which GPUs each has, for `status`."""
    (folder / _RECORD).write_text(json.dumps(dict(gpus)))


def recorded(folder: Path) -> dict[str, tuple[str, ...]]:
    """Give what `record` wrote: GPUs by the agent's host; nothing where there is no such file."""
    try:
        found = json.loads((folder / _RECORD).read_text())
        return {host: tuple(gpus) for host, gpus in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def read_listing(text: str) -> tuple[Gpu, ...]:
    """Read what `nvidia-smi -L` prints."""
    found: list[Gpu] = []
    for line in text.splitlines():
        if gpu := _LISTED_GPU.match(line):
            found.append(Gpu(gpu[1], gpu[2] or ""))
        elif found and (part := _LISTED_MIG.match(line)):
            last = found[-1]
            found[-1] = Gpu(last.number, last.uuid, (*last.parts, part[1]))
    return tuple(found)


def label(gpus: Sequence[str]) -> str:
    """Write an agent's GPUs for a table: `0,1`; of a UUID only its first part."""
    return ",".join(name if name.isdigit() else name[:12] for name in gpus)


def _named(wanted: Sequence[str], listed: Sequence[Gpu]) -> tuple[str, ...]:
    """Give what the names of --gpus stand for; without a listing they are not checked."""
    if not listed:
        return tuple(wanted)
    found: list[str] = []
    for name in wanted:
        meant = [each for gpu in listed for each in gpu.meant_by(name)]
        if not meant:
            known = ", ".join(name for gpu in listed for name in gpu.names)
            raise UsageError(f"--gpus: there is no GPU {name}", f"nvidia-smi lists {known}")
        if twice := set(meant) & set(found):
            raise UsageError(f"--gpus {','.join(wanted)}: names GPU {min(twice)} twice", _TWICE)
        found += meant
    return tuple(found)


def _shared(
    names: tuple[str, ...],
    wish: Wish,
    agents: int,
    environ: Mapping[str, str],
    notes: tuple[str, ...],
) -> GpuPlan:
    """Give each agent GPUs of its own; where there are too few and none were asked for, share."""
    if not names:
        if wish.each is None:
            return GpuPlan(((),) * agents, {}, notes)
        why = notes[0] if notes else "there is no GPU to give to an agent"
        raise UsageError(why, "leave --gpus-per-agent out to train without")
    each = wish.each or (len(names) if agents == 1 else 1)
    if each > 1 and any(name.startswith("MIG-") for name in names):
        raise UsageError(
            f"an agent cannot have {each} MIG devices: CUDA shows a program one of them",
            "write --gpus-per-agent 1, or name whole GPUs with --gpus",
        )
    if agents * each <= len(names):
        shares = tuple(names[i * each : (i + 1) * each] for i in range(agents))
        told = ", ".join(f"agent-{index}: {label(gpus)}" for index, gpus in enumerate(shares))
        return GpuPlan(shares, environ, (*notes, f"GPUs of {told}"))
    there = f"{_count(len(names), 'GPU')} ({label(names)})"
    if wish.each is not None:
        fitting = len(names) // each
        raise UsageError(
            f"{_count(agents, 'agent')} with {_count(each, 'GPU')} each:"
            f" {agents * each} wanted, {there} found",
            f"write --agents {fitting}, or fewer GPUs for each" if fitting else "write fewer",
        )
    shares = tuple((names[index % len(names)],) for index in range(agents))
    return GpuPlan(
        shares,
        environ,
        (
            *notes,
            f"warning: {agents} agents share {there}: they train more slowly, in less GPU memory",
            f"  one GPU for each agent: --agents {len(names)}; on the CPU: --gpus none",
        ),
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' if number != 1 else ''}"
