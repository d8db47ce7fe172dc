"""What runs inside an agent's pod to crash its trainer: SIGKILL to all that the agent has started.

A script of its own: its text is given to the pod's Python, of 3.10 or later, by `python -c`. The
agent itself, which is process 1, stays, and so does what others have started in the container: a
shell of `kubectl exec` is no child of the agent. It prints how many processes it killed.
"""

import os
import signal
import sys
import time

AGENT = b"/opt/sweepctl"
"""The last word of the agent's command line, by which it is known where it is not process 1."""

LIMIT_S = 5.0


def main(proc: str = "/proc") -> int:
    """Kill until nothing is left: a trainer may start processes meanwhile."""
    agent = find_agent(proc)
    if agent is None:
        print("no agent runs here", file=sys.stderr)
        return 1
    killed: set[int] = set()
    deadline = time.monotonic() + LIMIT_S
    while found := offspring(agent, proc):
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            except OSError:
                pass
        if time.monotonic() > deadline:
            print(f"still alive: {found}", file=sys.stderr)
            return 1
        time.sleep(0.01)
    print(len(killed))
    return 0


def find_agent(proc: str = "/proc") -> "int | None":
    """Find the agent: the process whose command is the folder that the pod mounts."""
    for pid in sorted(int(name) for name in os.listdir(proc) if name.isdigit()):
        words = _read(f"{proc}/{pid}/cmdline").rstrip(b"\0").split(b"\0")
        if words[1:] and words[-1].rstrip(b"/") == AGENT:
            return pid
    return None


def offspring(agent: int, proc: str = "/proc") -> "list[int]":
    """List the living processes below the agent, the youngest generation last."""
    parents: dict[int, int] = {}
    for name in os.listdir(proc):
        if name.isdigit():
            # The name stands in parentheses and may hold anything; state and parent follow it.
            fields = _read(f"{proc}/{name}/stat").rpartition(b")")[2].split()
            if len(fields) > 1 and fields[0] not in (b"Z", b"X"):
                parents[int(name)] = int(fields[1])
    found: list[int] = []
    generation = [agent]
    while generation:
        generation = [pid for pid, parent in sorted(parents.items()) if parent in generation]
        found += generation
    return [pid for pid in found if pid != os.getpid()]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


if __name__ == "__main__":
    sys.exit(main())
