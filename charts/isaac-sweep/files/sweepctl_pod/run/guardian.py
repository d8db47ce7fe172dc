"""The watcher that lives a little longer than a killed agent, and kills the trainer that is left.

It is a script of its own: `guardian.py MARKER` reads from standard input, line by line, the process
group of the agent's current child (0: none). When the input ends the agent is gone: the watcher
kills the group, then every process with the agent's marker in its environment. It imports the
standard library alone, so that it starts at once and stays small.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress

LIMIT_S = 10.0


def main(marker: str) -> int:
    """Watch until the agent is gone, then clean up."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    os.chdir("/")
    group = 0
    for line in sys.stdin:
        group = int(line)
    if group > 1:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)
    wanted = f"SWEEPCTL_AGENT={marker}".encode()
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        found = [pid for pid in _processes() if wanted in _environ(pid)]
        if not found:
            return 0
        for pid in found:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return 1


def _processes() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _environ(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
