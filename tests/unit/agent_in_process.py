"""An agent in this process: a client that answers by script, a trainer that is none, a moved clock.

Nothing here waits: every wait of the agent moves the clock on, and its calls are made at once.
"""

import json
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from sweepctl_pod import agent, heartbeats, waiting
from sweepctl_pod.agent import Agent
from sweepctl_pod.console import Console
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.options import read_options
from sweepctl_pod.run import end_run, process, settings_check, supervise, training
from sweepctl_pod.run.training import Pod
from sweepctl_pod.trainer.bytecode import BytecodeCache
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.waiting import BackgroundCall, Signals, WakeUp
from sweepctl_pod.wandb.client import ApiError, Connection, RunInfo, SweepInfo, WandbClient

CONFIG = {"method": "random", "metric": {"name": "loss"}, "command": ["train"], "parameters": {}}
GONE = ApiError("no such thing", status=404, is_the_apis=True)
INGRESS = ApiError("http://api answered 404", status=404)
DOWN = ApiError("cannot reach http://api: connection refused")
REFUSED = ApiError("http://api answered 401", status=401)


class Clock:
    """The time that the agent sees; something may be done when it comes."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def monotonic(self) -> float:
        return self.now_s

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        self._due.append((self.now_s + seconds, what))

    def move(self, seconds: float) -> None:
        """Let time pass, until something is due: that would wake whoever waits."""
        until = self.now_s + max(seconds, 0.001)
        due = min(self._due, key=lambda due: due[0], default=None)
        if due is None or due[0] > until:
            self.now_s = until
            return
        self._due.remove(due)
        self.now_s = max(self.now_s, due[0])
        due[1]()


class ScriptedClient(WandbClient):
    """Answers each operation by its script, the last answer for ever; notes what is posted."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(Connection("http://api", "key", "lab"))
        self._clock = clock
        self.script: dict[str, list[Any]] = {}
        self.asked: list[tuple[str, float]] = []
        self.posted: list[dict[str, Any]] = []
        self.let_go: list[Sequence[str]] = []

    def _answer(self, name: str, default: Any) -> Any:
        self.asked.append((name, self._clock.now_s))
        left = self.script.get(name, [])
        answer = default if not left else left.pop(0) if len(left) > 1 else left[0]
        answer = answer() if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sweep(self, entity: str, project: str, sweep_id: str) -> SweepInfo:
        text = json.dumps(CONFIG)
        info = SweepInfo(
            "lab", "legs", "s1", "n1", "RUNNING", "random", text, *(None,) * 3, None, None
        )
        return self._answer("sweep", info)  # type: ignore[no-any-return]

    def register_agent(self, entity: str, project: str, sweep_id: str, host: str) -> str:
        return str(self._answer("register", "agent1"))

    def heartbeat(
        self, agent_id: str, run_ids: Sequence[str], metrics: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        if run_ids:
            self.let_go.append(run_ids)
            return []
        return list(self._answer("heartbeat", [{"type": "exit"}]))

    def run(self, entity: str, project: str, run_id: str) -> RunInfo | None:
        return self._answer("run", run_info())  # type: ignore[no-any-return]

    def post_file_stream(
        self, entity: str, project: str, run_id: str, body: Mapping[str, Any], attempt: Any = None
    ) -> dict[str, Any]:
        self._answer("post", None)
        self.posted.append({"run": run_id, **body})
        return {}

    def graphql(
        self, query: str, variables: Mapping[str, Any], attempt: int | None = None
    ) -> dict[str, Any]:
        return dict(self._answer("graphql", {}))


class FakeChild:
    """A trainer that is no process: it has ended as its script says, or ends when it is killed."""

    exit_codes: ClassVar[list[int | None]] = []
    prints: ClassVar[list[bytes]] = []
    is_undying: ClassVar[bool] = False
    clock: ClassVar[Clock]

    def __init__(self, argv: Sequence[str], *, on_lines: Any, on_end: Any, **_: Any) -> None:
        self.pid, self.log_failed = 0, None
        self._code = self.exit_codes.pop(0) if self.exit_codes else 0
        if self.prints:
            on_lines(self.prints.pop(0))

    def has_ended(self) -> bool:
        return self._code is not None

    def output_is_over(self) -> bool:
        return True

    def group_is_alive(self) -> bool:
        return self._code is None

    def signal_group(self, signum: int) -> None:
        if not self.is_undying:
            self._code = -signum if self._code is None else self._code

    def finish(self, is_over: Callable[[], bool]) -> tuple[int, list[int]]:
        while self._code is None and not is_over():
            self.clock.move(0.1)
        return (-signal.SIGKILL, [77]) if self._code is None else (self._code, [])


class Stage:
    """The agent with all that is scripted around it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.client = ScriptedClient(self.clock)
        self.said: list[str] = []
        self.wake_up = WakeUp()
        self.signals = Signals(self.wake_up, 30.0)
        self._folder = folder
        time = SimpleNamespace(
            monotonic=self.clock.monotonic, time=self.clock.monotonic, sleep=self.clock.move
        )
        for module in (agent, waiting, end_run, training, settings_check, supervise):
            monkeypatch.setattr(module, "time", time)
        monkeypatch.setattr(WakeUp, "wait", lambda _, seconds: self.clock.move(min(seconds, 3600)))
        monkeypatch.setattr(training, "Child", FakeChild)
        for name, value in (("exit_codes", []), ("prints", []), ("is_undying", False)):
            monkeypatch.setattr(FakeChild, name, value)
        monkeypatch.setattr(FakeChild, "clock", self.clock, raising=False)
        monkeypatch.setattr(heartbeats.Heartbeats, "_send", lambda self: None)
        monkeypatch.setattr(process.Descendants, "kill_leftovers", lambda *_: [])
        monkeypatch.setattr(BackgroundCall, "__init__", _call_at_once)

    def term(self) -> None:
        """Send SIGTERM."""
        self.signals.note(signal.SIGTERM)

    def act(self, *options: str) -> ExitCode:
        """Have the agent work until it ends."""
        words = ["--sweep", "lab/legs/s1", "--preflight-gpu", "off", "--work", str(self._folder)]
        read = read_options([*words, "--min-free-mb", "1", *options], {"SWEEPCTL_HOST": "pod-0"})
        console = Console()
        console.say = self.said.append  # type: ignore[method-assign, assignment]
        python = TrainerPython({"PATH": ""})
        pod = Pod(
            connection=self.client.connection,
            environ={"PATH": ""},
            work=read.work,
            console=console,
            descendants=SimpleNamespace(  # type: ignore[arg-type]
                marker="token", reap_orphans=lambda: None
            ),
            guardian=SimpleNamespace(watch=lambda pid: None),  # type: ignore[arg-type]
            wake_up=self.wake_up,
            signals=self.signals,
            python=python,
            bytecode=BytecodeCache({"PATH": ""}, python),
            settings=read.settings,
            close_limit_s=read.close_limit_s,
            believed_after_s=read.believed_after_s,
        )
        try:
            return Agent(read, self.client, pod).run()
        finally:
            self.wake_up.close()

    @property
    def text(self) -> str:
        return "\n".join(self.said)

    def exit_records(self) -> list[tuple[str, int]]:
        """Give what W&B was told of the ends of runs."""
        return [(p["run"], p["exitcode"]) for p in self.client.posted if "exitcode" in p]


def _call_at_once(call: Any, work: Callable[[], Any], wake_up: WakeUp) -> None:
    """Make a call when it is begun, in this thread."""
    import threading

    call._work, call._wake_up, call._value, call._error = work, wake_up, None, None
    call._done = threading.Event()
    call._run()


def run_command(run_id: str) -> list[dict[str, Any]]:
    """Give the answer that hands out a run."""
    return [{"type": "run", "run_id": run_id, "args": {}}]


def run_info(**summary: Any) -> RunInfo:
    """Give a run that the trainer's SDK has opened."""
    found = summary or {"loss": 1.5}
    return RunInfo("r1", "n", "running", None, {}, found, None, None, "s1", True, "pod-0", None)
