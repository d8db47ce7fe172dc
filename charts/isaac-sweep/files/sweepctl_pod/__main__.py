"""Where Python begins when it is given the folder of the pod code, or `-m sweepctl_pod`: the agent.

The handlers come before every import that takes time: the kernel drops a signal that process 1 does
not handle, and the agent would train into SIGKILL. start.sh has kept SIGTERM blocked until here.
"""

import signal
import sys

received: list[int] = []

for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    if signum != signal.SIGHUP or signal.getsignal(signum) is not signal.SIG_IGN:
        signal.signal(signum, lambda number, frame: received.append(number))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])

import os  # noqa: E402

from sweepctl_pod.agent import main  # noqa: E402

if __name__ == "__main__":
    code = main(sys.argv[1:], os.environ, received)
    # Without the interpreter's own end, which costs seconds on a node where many leave at once.
    os._exit(code)
