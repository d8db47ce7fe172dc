"""Every way in which a run can end: trainer, API and signal, on real processes.

Each case is a row of a table: what the trainer does, how the API answers, which signal comes when;
and what must come of it: verdict, exit code, the run's state at W&B. Nothing may be left running.
The agents of all chosen rows run side by side on one server. `pytest -s` prints the table.
"""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGSEGV, SIGTERM

import pytest

from tests.contract.agents import TRAINER, Agent, World
from tests.contract.faulty_proxy import HANG, INGRESS_404, Before, FaultyProxy, Instead, operation
from tests.serving import ServerProcess, wait_for

SIDE_BY_SIDE = 4
FAKE = Path(__file__).with_name("fake_isaaclab.py")
DONE, FAILED, HANDED_BACK, NODE_UNFIT, CONFIGURATION, INTERRUPTED = 0, 1, 75, 76, 78, 130
GOOD = "folder iterate record log end"
PARAMETERS = {"env.gain": {"distribution": "uniform", "min": 0.5, "max": 2.0}}
GRACE_S = "10"


@dataclass(frozen=True)
class Case:
    """One row. `plain` are the plain trainer's words, `isaac` the steps of Isaac Lab's stand-in."""

    id: str
    said: str
    """What the agent must say of it: a regular expression."""
    state: str = "finished"
    """The run's state at W&B; empty where no run was taken."""
    code: int = DONE
    plain: str = ""
    isaac: str = ""
    command: str = ""
    """A whole command in place of either; FOLDER is the case's folder."""
    api: str = ""
    """The name of a fault in `FAULTS`."""
    signum: int = 0
    at: str = ""
    """When the signal comes: the trainer's note, or a word of the agent behind `says:`."""
    config: dict[str, object] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)


def once(name: str, instead: Instead, times: int = 1) -> Callable[[], Before]:
    """Answer an operation's first calls with something else."""

    def make() -> Before:
        left = [times]

        def before(path: str, body: bytes) -> Instead | None:
            is_the_trainers = b'"files"' in body
            if operation(body) != name or is_the_trainers or not left[0]:
                return None
            left[0] -= 1
            return instead

        return before

    return make


def after(name: str, instead: Instead) -> Callable[[], Before]:
    """Answer all heartbeats with something else once an operation was asked."""

    def make() -> Before:
        seen: list[str] = []

        def before(path: str, body: bytes) -> Instead | None:
            seen.append(operation(body))
            return instead if seen[-1] == "Heartbeat" and name in seen else None

        return before

    return make


def json_answer(text: str) -> Instead:
    return Instead(200, text.encode())


NO_RUN = json_answer('{"data": {"project": {"run": null}}}')
FAULTS: dict[str, Callable[[], Before]] = {
    "run query: one 404 of an ingress": once("Run", INGRESS_404),
    "run query: three 404s of an ingress": once("Run", INGRESS_404, 3),
    "run query: one null": once("Run", NO_RUN),
    "run query: no project once": once("Run", json_answer('{"data": {"project": null}}')),
    "run query: null for ever": once("Run", NO_RUN, 10**9),
    "run query: a list": once("Run", json_answer('{"data": {"project": [1, 2]}}'), 2),
    "run query: a text": once("Run", json_answer('"maintenance"'), 2),
    "run query: 403 once": once("Run", Instead(403, b"{}")),
    "run query: hangs": once("Run", HANG),
    "sweep query: one 404": once("GetSweep", INGRESS_404),
    "sweep query: one null": once("GetSweep", json_answer('{"data": {"project": null}}')),
    "heartbeat: one 404": once("Heartbeat", INGRESS_404),
    "heartbeat: a number": once("Heartbeat", json_answer('{"data": {"agentHeartbeat": 7}}')),
    "heartbeat: commands of another shape": once(
        "Heartbeat", json_answer('{"data": {"agentHeartbeat": {"commands": "{\\"a\\": 1}"}}}')
    ),
    "register: no agent": once("CreateAgent", json_answer('{"data": {"createAgent": null}}')),
    "last words: 401": once("file_stream", Instead(401, b"{}"), 2),
    "last words: 404 for ever": once("file_stream", INGRESS_404, 10**9),
    "last words: 500 twice": once("file_stream", Instead(500, b""), 2),
    "no second run": after("Run", json_answer('{"data": {"agentHeartbeat": {"commands": "[]"}}}')),
    "sweep query hangs": once("GetSweep", HANG, 10**9),
    "sweep query: 503 for ever": once("GetSweep", Instead(503, b"{}"), 10**9),
    "registering hangs": once("CreateAgent", HANG, 10**9),
    "heartbeats hang": once("Heartbeat", HANG, 10**9),
}

OTHER_ENDINGS = (
    *("run query: null for ever", "run query: hangs", "no second run", "heartbeats hang"),
    *("last words: 401", "last words: 404 for ever", "last words: 500 twice"),
    *("sweep query hangs", "sweep query: 503 for ever", "registering hangs"),
)
"""The faults that no run finishes under, or that only the words at a run's end meet."""

LONG = "note:start log hang-once note:end"
CASES = [
    # What the trainer alone decides.
    Case("good", r"finished: loss = 1\.5", plain="log"),
    Case("no-metric-asked", "came to its end", plain="note:x", config={"metric": None}),
    Case("nothing-logged", "metric loss was not logged", "failed", plain="note:x"),
    Case("another-metric", "it logged reward", "failed", plain="log:reward"),
    Case("exit-code", "exit code 3; its last line: boom", "failed", plain="log say:boom exit:3"),
    Case("segfault", "SIGSEGV", "failed", plain=f"log signal:{SIGSEGV:d}"),
    Case("killed-once", r"finished: loss", plain=f"note:s log signal-once:{SIGKILL:d}"),
    Case(
        "killed-always",
        r"attempt 2 of 3(.|\n)*\), 3 times",
        "failed",
        plain=f"note:s log signal:{SIGKILL:d}",
    ),
    Case("leaves-a-process", "finished: loss", plain="escape log"),
    Case("killed-behind-a-shell", r"finished: loss", command="shell killed-once"),
    Case(
        "says-disk-full-and-fails",
        "exit code 1",
        "failed",
        plain="log say:No\\u0020space\\u0020left\\u0020on\\u0020device exit:1",
    ),
    Case(
        "says-disk-full-and-ends-well",
        "finished: loss",
        plain="log say:OSError:\\u0020[Errno\\u002028]\\u0020No\\u0020space\\u0020left",
    ),
    Case("no-program", "no such file", "preempted", CONFIGURATION, command="/no/such/trainer"),
    Case("not-executable", "permission denied", "preempted", CONFIGURATION, command="/etc/passwd"),
    Case(
        "shell-finds-nothing",
        "exit code 127",
        "preempted",
        CONFIGURATION,
        command="sh -c no-such-trainer $@",
    ),
    Case(
        "value-no-argv-can-hold",
        "NUL",
        "failed",
        plain="log",
        config={
            "method": "grid",
            "run_cap": None,
            "parameters": {"env.gain": {"values": ["a\0b"]}},
        },
    ),
    # Isaac Lab: evidence, its own record.
    Case("isaac-good", r"finished: loss = 1\.5", isaac=GOOD),
    Case(
        "isaac-no-end",
        "training did not come to its end",
        "failed",
        isaac="folder iterate record log",
    ),
    Case(
        "isaac-last-model-in-place-of-the-line",
        "finished: loss",
        isaac="folder iterate record log model",
    ),
    Case(
        "isaac-end-without-metric",
        "loss was not logged",
        "failed",
        isaac="folder iterate record end",
    ),
    Case(
        "isaac-other-value",
        r"env\.gain: asked for .*, the trainer has 3\.5",
        "failed",
        isaac="folder iterate record:other log end",
    ),
    Case(
        "isaac-other-value-in-a-long-run",
        r"env\.gain: asked for .*, the trainer has 3\.5",
        "failed",
        isaac="folder iterate record:other log hang",
    ),
    Case(
        "isaac-lacks-the-value",
        r"env\.gain: the trainer has no such setting",
        "failed",
        isaac="folder iterate record:without log end",
    ),
    Case(
        "isaac-no-record",
        "finished: .*settings unverified: .*params",
        isaac="folder iterate log end",
    ),
    Case(
        "isaac-garbage-for-a-record",
        "finished: .*settings unverified",
        isaac="folder iterate record:garbage log end",
    ),
    Case(
        "isaac-empty-record",
        "finished: .*settings unverified",
        isaac="folder iterate record:empty log end",
    ),
    Case(
        "isaac-record-required",
        "settings unverified",
        "failed",
        isaac="folder iterate log end",
        environ={"SWEEPCTL_SETTINGS": "require"},
    ),
    Case("isaac-huge-record", "finished: loss", isaac="folder iterate record:huge log end"),
    Case("isaac-segfault-while-closing", "finished: loss", isaac=f"{GOOD} signal:{SIGSEGV:d}"),
    Case("isaac-killed-while-closing", "finished: loss", isaac=f"{GOOD} signal:{SIGKILL:d}"),
    Case(
        "isaac-hangs-while-closing",
        "finished: loss",
        isaac=f"{GOOD} hang",
        environ={"SWEEPCTL_CLOSE_LIMIT_S": "1"},
    ),
    Case("isaac-exits-3-while-closing", "exit code 3", "failed", isaac=f"{GOOD} exit:3"),
    Case(
        "isaac-segfault-before-its-end",
        "SIGSEGV",
        "failed",
        isaac=f"folder iterate record log signal:{SIGSEGV:d}",
    ),
    Case(
        "isaac-behind-a-shell-that-passes-on",
        r"finished: loss",
        command="bash passes on",
        isaac=GOOD,
    ),
    Case(
        "isaac-behind-a-shell-that-drops-the-values",
        r"env\.gain: asked for .*, the trainer has 1\.0",
        "failed",
        command="script drops",
        isaac=GOOD,
    ),
    Case(
        "isaac-behind-a-shell-that-does-not-come-to-its-end",
        "training did not come to its end",
        "failed",
        command="bash passes on",
        isaac="folder iterate record log",
    ),
    Case(
        "isaac-behind-a-shell-killed-after-its-end-may-have-had-more-to-do",
        "attempt 1 of 3(.|\n)*, 3 times",
        "failed",
        command="bash passes on",
        isaac=f"{GOOD} signal:{SIGKILL:d}",
    ),
    # What the API answers.
    *(
        Case(
            f"api-{name.replace(' ', '-').replace(':', '')}",
            "finished: loss",
            plain="log",
            api=name,
        )
        for name in FAULTS
        if name not in OTHER_ENDINGS
    ),
    Case(
        "api-failure-told-late",
        "exit code 3",
        "failed",
        plain="exit:3",
        api="last words: 500 twice",
    ),
    Case("api-run-deleted", "deleted at W&B", "", api="run query: null for ever", plain="log"),
    # SIGTERM in each state that the agent may be in.
    Case(
        "deaf-nvidia-smi-hangs",
        "exit 75",
        "",
        HANDED_BACK,
        plain="log",
        signum=SIGTERM,
        at="hangs",
        environ={"SWEEPCTL_PREFLIGHT_GPU": "auto"},
    ),
    Case(
        "deaf-trainers-python-hangs",
        "exit 75",
        "",
        HANDED_BACK,
        isaac=GOOD,
        signum=SIGTERM,
        at="hangs",
        environ={"SWEEPCTL_TRAINER_PYTHON": "FOLDER/bin/hangs"},
    ),
    Case(
        "deaf-gpus-are-counted",
        "exit 75",
        "*",
        HANDED_BACK,
        command="torchrun --nproc_per_node=gpu train.py",
        signum=SIGTERM,
        at="hangs",
    ),
    Case(
        "deaf-packages-are-looked-for",
        "exit 75",
        "preempted",
        HANDED_BACK,
        isaac=GOOD,
        signum=SIGTERM,
        at="hangs",
        environ={
            "SWEEPCTL_TRAINER_PYTHON": "FOLDER/bin/hangs-for-packages",
            "SWEEPCTL_CACHE": "FOLDER/cache",
        },
    ),
    Case(
        "deaf-record-reader-hangs",
        "exit 75",
        "finished",
        HANDED_BACK,
        isaac=GOOD,
        signum=SIGTERM,
        at="hangs",
        environ={"SWEEPCTL_TRAINER_PYTHON": "FOLDER/bin/hangs-later"},
    ),
    Case(
        "deaf-sweep-query-hangs",
        "exit 75",
        "",
        HANDED_BACK,
        plain="log",
        signum=SIGTERM,
        at="spoiled",
        api="sweep query hangs",
    ),
    Case(
        "deaf-registering-hangs",
        "exit 75",
        "",
        HANDED_BACK,
        plain="log",
        signum=SIGTERM,
        at="spoiled",
        api="registering hangs",
    ),
    Case(
        "deaf-api-in-trouble",
        "exit 75",
        "",
        HANDED_BACK,
        plain="log",
        signum=SIGTERM,
        at="says:trying again",
        api="sweep query: 503 for ever",
    ),
    Case(
        "deaf-both-ignore-it",
        "exit 75",
        "*",
        HANDED_BACK,
        plain="ignore-sigterm note:start hang",
        signum=SIGTERM,
        at="start",
        api="run query: hangs",
    ),
    # Signals.
    Case(
        "sigterm-in-training",
        "handed back",
        "preempted",
        HANDED_BACK,
        plain=LONG,
        signum=SIGTERM,
        at="start",
    ),
    Case(
        "sighup-in-training",
        "handed back",
        "preempted",
        HANDED_BACK,
        plain=LONG,
        signum=SIGHUP,
        at="start",
    ),
    Case(
        "ctrl-c-in-training",
        "handed back",
        "preempted",
        INTERRUPTED,
        plain=LONG,
        signum=SIGINT,
        at="start",
    ),
    Case(
        "sigterm-ignored-by-the-trainer",
        "handed back",
        "preempted",
        HANDED_BACK,
        plain=f"ignore-sigterm {LONG}",
        signum=SIGTERM,
        at="start",
    ),
    Case(
        "sigterm-answered-by-exit-0",
        "handed back",
        "preempted",
        HANDED_BACK,
        plain=f"exit-0-on-sigterm {LONG}",
        signum=SIGTERM,
        at="start",
    ),
    Case(
        "sigterm-in-isaac",
        "handed back",
        "preempted",
        HANDED_BACK,
        isaac="folder iterate record log note:start hang",
        signum=SIGTERM,
        at="start",
    ),
    Case(
        "sigterm-after-isaacs-end",
        "finished: loss",
        "finished",
        HANDED_BACK,
        isaac=f"{GOOD} note:start hang",
        signum=SIGTERM,
        at="start",
    ),
    Case(
        "sigterm-and-401-on-the-last-words",
        "handed back",
        "preempted",
        HANDED_BACK,
        plain=LONG,
        signum=SIGTERM,
        at="start",
        api="last words: 401",
    ),
    Case(
        "sigterm-and-404-to-the-end",
        "W&B gave no answer",
        "*",
        HANDED_BACK,
        plain="note:start hang",
        signum=SIGTERM,
        at="start",
        api="last words: 404 for ever",
    ),
    Case(
        "sigterm-while-heartbeats-hang",
        "exit 75",
        "",
        HANDED_BACK,
        plain="log",
        signum=SIGTERM,
        at="says:overrides in the",
        api="heartbeats hang",
    ),
    Case(
        "sigterm-while-the-run-is-judged",
        "exit 75",
        "*",
        HANDED_BACK,
        plain="log note:start",
        signum=SIGTERM,
        at="start",
        api="run query: hangs",
    ),
    Case(
        "sigterm-while-idle",
        "exit 75",
        "finished",
        HANDED_BACK,
        plain="log",
        signum=SIGTERM,
        at="says:finished: loss",
        api="no second run",
        config={"run_cap": 9},
    ),
]


class Stage(World):
    """A case's own folder and programs on the server that all cases share."""

    def __init__(self, server: ServerProcess, folder: Path, case: Case) -> None:
        folder.mkdir(parents=True)
        super().__init__(server, folder)
        self.case = case
        self.proxy: FaultyProxy | None = None
        self.lasted_s = 0.0
        programs = folder / "bin"
        programs.mkdir()
        (programs / "isaaclab").write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
        (programs / "isaaclab").chmod(0o755)
        (programs / "drops.sh").write_text("#!/bin/sh\nexec isaaclab train --task Legs\n")
        (programs / "drops.sh").chmod(0o755)
        self.environ |= {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "FAKE": case.isaac,
            "FAKE_PLAIN": str(TRAINER),
            "FAKE_LEDGER": str(self.ledger),
            "SWEEPCTL_GRACE_S": GRACE_S,
            "SWEEPCTL_BELIEVED_AFTER_S": "1.5",
            **case.environ,
        }
        self.environ = {
            name: value.replace("FOLDER", str(folder)) for name, value in self.environ.items()
        }
        note = f'echo "hangs x" >> {self.ledger}; exec sleep 1000'
        scripts = {
            "nvidia-smi": note,
            "hangs": note,
            # Only the trainer's record, of two files, is never read.
            "hangs-later": f'case "$2-$#" in yaml-4) {note};; esac; exec {sys.executable} "$@"',
            "hangs-for-packages": f'case "$2" in python) {note};; esac; exec {sys.executable} "$@"',
        }
        for name, text in scripts.items():
            (programs / name).write_text(f"#!/bin/sh\n{text}\n")
            (programs / name).chmod(0o755)
        if case.api:
            self.proxy = FaultyProxy(server.url, before=FAULTS[case.api]())
            self.environ["WANDB_BASE_URL"] = self.proxy.url

    def command(self) -> list[str]:
        """Give the sweep's command."""
        case = self.case
        if case.command == "shell killed-once":
            words = " ".join(self.trainer("note:s", "log", f"signal-once:{SIGKILL:d}"))
            return ["sh", "-c", f'{words} "$@"; exit $?']
        if case.command == "bash passes on":
            return ["bash", "-c", 'isaaclab train --task Legs "$@"']
        if case.command == "script drops":
            return [str(self.folder / "bin" / "drops.sh")]
        if case.command:
            return case.command.split(" ", 2)
        if case.isaac:
            return ["isaaclab", "train", "--task", "Legs"]
        return self.trainer(*case.plain.split())

    def play(self) -> tuple[Agent, str]:
        """Run the case to its end; give the agent and the state of its run."""
        case = self.case
        sweep = self.sweep(self.command(), **case.config)
        agent = self.start(sweep)
        if case.at == "spoiled":
            wait_for("a spoiled answer", lambda: self.proxy and self.proxy.spoiled)
        elif case.at.startswith("says:"):
            agent.says(case.at.removeprefix("says:"))
        elif case.at:
            self.wait_noted(case.at)
        if case.signum:
            agent.send(case.signum)
        began = time.monotonic()
        agent.wait(180)
        self.lasted_s = time.monotonic() - began
        states = {run.state for run in self.runs(sweep)}
        return agent, " ".join(sorted(states))

    def end(self) -> None:
        super().end()
        if self.proxy:
            self.proxy.close()


class Table:
    """The chosen cases, played side by side; each result is waited for by its own test."""

    def __init__(self, server: ServerProcess, folder: Path, cases: list[Case]) -> None:
        self._pool = ThreadPoolExecutor(SIDE_BY_SIDE)
        self._stages = {case.id: Stage(server, folder / case.id, case) for case in cases}
        self._results: dict[str, Future[tuple[Agent, str]]] = {
            case.id: self._pool.submit(self._stages[case.id].play) for case in cases
        }

    def result(self, case: Case) -> tuple[Stage, Agent, str]:
        agent, state = self._results[case.id].result()
        return self._stages[case.id], agent, state

    def end(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        for stage in self._stages.values():
            stage.end()


@pytest.fixture(scope="module")
def table(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Table]:
    """Give the results of the cases that this session has chosen."""
    folder = tmp_path_factory.mktemp("endings")
    chosen = [
        item.callspec.params["case"]
        for item in request.session.items
        if item.path == Path(__file__) and hasattr(item, "callspec")
    ]
    server = ServerProcess(folder / "server")
    table = Table(server, folder, [case for case in chosen if isinstance(case, Case)])
    yield table
    table.end()
    server.kill()


def test_table_has_at_least_sixty_endings_each_with_a_name_of_its_own() -> None:
    assert len({case.id for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in CASES])
def test_ending(case: Case, table: Table) -> None:
    stage, agent, state = table.result(case)
    code = agent.process.returncode
    print(f"{case.id:45} exit {code:3}  {state or '-':10} {agent.said.splitlines()[-2:][0][:90]}")
    assert code == case.code, agent.said
    assert re.search(case.said, agent.said, re.IGNORECASE), agent.said
    if case.state != "*":
        assert state == (case.state or state), agent.said
    if case.state == "*":
        assert "failed" not in state, agent.said
    assert "Traceback" not in agent.said
    if case.signum:
        assert stage.lasted_s <= float(GRACE_S), agent.said  # the kernel kills what stays longer
    stage.nothing_is_left()
