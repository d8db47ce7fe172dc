"""What there is to train: what all runs of a sweep share, and one run of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sweepctl_pod.command import DEFAULT_COMMAND
from sweepctl_pod.run_record import Claim


@dataclass(frozen=True, slots=True)
class AssignedSweep:
    """What all runs of a sweep share."""

    entity: str
    project: str
    id: str
    command: tuple[object, ...]
    program: str | None
    metric: str | None
    goal: str | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    """What the sweep's config says of each parameter."""
    has_arguments: bool = False
    """Whether another agent has put the parameters into the command."""

    @classmethod
    def of(cls, entity: str, project: str, id: str, config: Mapping[str, object]) -> AssignedSweep:
        """Read a sweep's config; as in W&B's agent the default command stands for no list."""
        command, program = config.get("command"), config.get("program")
        metric, parameters = config.get("metric"), config.get("parameters")
        return cls(
            entity=entity,
            project=project,
            id=id,
            command=tuple(command) if isinstance(command, list) and command else DEFAULT_COMMAND,
            program=None if program is None else str(program),
            metric=metric.get("name") if isinstance(metric, dict) else None,
            goal=metric.get("goal") if isinstance(metric, dict) else None,
            parameters=parameters if isinstance(parameters, dict) else {},
        )


@dataclass(frozen=True, slots=True)
class AssignedRun:
    """One run as it was handed out; `config` is {name: value}."""

    id: str
    config: Mapping[str, object]
    attempt: int | None = None
    """The embedded server's number of this attempt; W&B gives none."""
    losses: int | None = None
    """How many attempts were lost to crashes before, as the embedded server counts for all."""
    claim: Claim | None = None
    """The claim by which this agent took it up itself; None where it was handed out."""
    was_begun: bool = False
    """Whether it was begun before, here or elsewhere: it may have a checkpoint to go on from."""
