"""What is known of a bed that was started: its state file, and its processes seen from the host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.testbed.host import Process
from tests.testbed.layout import Bed, Node
from tests.testbed.requirements import BedUnavailable


@dataclass(frozen=True, slots=True)
class State:
    """What is written down about a bed: enough to find it, use it and end it."""

    process: Process
    is_ready: bool
    key: str
    programs: dict[str, str]

    def write(self, bed: Bed) -> None:
        part = bed.state_file.with_suffix(".part")
        data = {
            "pid": self.process.pid,
            "start_ticks": self.process.start_ticks,
            "is_ready": self.is_ready,
            "key": self.key,
            "programs": self.programs,
        }
        part.write_text(json.dumps(data, indent=1))
        part.replace(bed.state_file)

    @staticmethod
    def read(bed: Bed) -> State | None:
        """What is known of the bed; None where there is none."""
        try:
            data = json.loads(bed.state_file.read_text())
        except FileNotFoundError:
            return None
        process = Process(data["pid"], data["start_ticks"])
        return State(process, data["is_ready"], data["key"], data["programs"])

    @property
    def first(self) -> Process | None:
        """The bed's first process; None once it has ended, and everything with it.

        `process` itself says less: it stands outside the bed, and ends a moment after it.
        """
        return next((each for each in self.process.descendants() if each.is_init), None)

    @property
    def is_up(self) -> bool:
        """Whether all of the bed has come up and is still there."""
        return self.is_ready and self.process.is_alive and self.first is not None


def first_process(bed: Bed) -> Process:
    """The bed's first process."""
    state = State.read(bed)
    first = state.first if state else None
    if first is None:
        raise BedUnavailable(f"test bed '{bed.name}' is not up")
    return first


def node_process(bed: Bed, node: Node) -> Process:
    """The first process of a node."""
    plan = str(bed.node_dir(node) / "plan.json")
    for process in first_process(bed).descendants():
        if process.is_init and plan in process.command:
            return process
    raise BedUnavailable(f"{node.name} of test bed '{bed.name}' is off")


def in_node(bed: Bed, node: Node, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command of the host inside a node: its files, network and processes."""
    target = ("nsenter", f"--target={node_process(bed, node).pid}", "--mount", "--net", "--pid")
    return subprocess.run([*target, "--uts", *command], capture_output=True, text=True)
