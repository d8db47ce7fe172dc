"""The runs that an agent has and has not begun: what W&B handed out, or it took up itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from sweepctl_pod import log_lines
from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.errors import SIGTERM_CODE
from sweepctl_pod.heartbeats import Command
from sweepctl_pod.run.posting import Poster
from sweepctl_pod.run.verdict import Ending, Verdict, unknown_ending
from sweepctl_pod.waiting import LastCalls, NoAnswerError
from sweepctl_pod.wandb.client import WandbClient, unwrap_config


class HandedOut:
    """A queue of runs; false when it is empty."""

    def __init__(
        self, client: WandbClient, last_calls: LastCalls, say: Callable[[str], None]
    ) -> None:
        self._client = client
        self._last_calls = last_calls
        self._say = say
        self._runs: deque[AssignedRun] = deque()
        self.by_own_server = False
        """Whether the embedded server has handed out a run: it gives back what its agents lose."""

    def __bool__(self) -> bool:
        return bool(self._runs)

    @property
    def ids(self) -> list[str]:
        """The runs' ids, for any thread: every heartbeat names them."""
        return [run.id for run in tuple(self._runs)]

    def next(self) -> AssignedRun:
        """Give the next run, which waits no more."""
        return self._runs.popleft()

    def put_first(self, run: AssignedRun) -> None:
        """Add a run before all others."""
        self._runs.appendleft(run)

    def take(self, command: Mapping[str, object]) -> None:
        """Take a run that a command hands out; `resume` is a run that was begun before."""
        run = read_command(dict(command))
        if run is None:
            return
        self.by_own_server = self.by_own_server or run.attempt is not None
        for known in [each for each in self._runs if each.id == run.id]:
            self._runs.remove(known)
        self._runs.append(run)

    def hand_back(self, sweep: Callable[[], AssignedSweep]) -> None:
        """Hand back the runs that this agent will not train."""
        while self._runs:
            verdict = Verdict(Ending.HANDED_BACK, "this agent leaves before it began", SIGTERM_CODE)
            self.post_end(sweep(), self._runs.popleft(), verdict)

    def post_end(self, sweep: AssignedSweep, run: AssignedRun, verdict: Verdict) -> Verdict:
        """Post the end of a run that has not begun, and say it; give what came of that."""
        try:
            Poster(self._client, self._last_calls, sweep, run).post_end(verdict, None)
        except NoAnswerError as silence:
            verdict = unknown_ending(verdict, silence.message)
        self._say(log_lines.run_ends(run.id, verdict.ending.value, verdict.reason))
        return verdict


def read_command(command: Command) -> AssignedRun | None:
    """Read a command that hands out a run; None for any other."""
    if command.get("type") not in ("run", "resume") or not command.get("run_id"):
        return None
    attempt, losses, args = command.get("attempt"), command.get("losses"), command.get("args")
    return AssignedRun(
        id=str(command["run_id"]),
        config=unwrap_config(args if isinstance(args, dict) else {}),
        attempt=attempt if isinstance(attempt, int) else None,
        losses=losses if isinstance(losses, int) else None,
        was_begun=command["type"] == "resume",
    )
