"""What the verbs of sweeps print and how they exit, over what the rooms below answer."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from rich.text import Text

from sweepctl.cli import app as cli
from sweepctl.cli import output
from sweepctl.cli.output import Form
from sweepctl.cli.snapshots import Snapshot, show_snapshots
from sweepctl.jobs import change, targets
from sweepctl.jobs.change import DeletePlan
from sweepctl.jobs.cluster_sweep import ClusterSweep
from sweepctl.jobs.submission import Submission
from sweepctl.jobs.submit import Submitted
from sweepctl.sweeps.disrupt import Disrupted
from sweepctl.sweeps.disruption import Disruption, Kind, Outcome, Target
from sweepctl.sweeps.names import SweepName
from sweepctl_pod.errors import ExitCode
from sweepctl_pod.wandb.client import RunInfo, SweepInfo
from tests.unit.kubernetes_objects import ended, job

Run = Callable[..., tuple[int, str, str]]
PLAN = DeletePlan(
    "legs",
    "robots",
    (("Job", "legs-1a2b3c4d"),),
    (("PersistentVolumeClaim", "legs-runs", "data: --volumes deletes it too"),),
)


def sweep_info() -> SweepInfo:
    return SweepInfo(
        entity="e",
        project="p",
        id="s1",
        node_id="n",
        state="RUNNING",
        method=None,
        description=None,
        display_name=None,
        created_at=None,
        config_text="",
        run_count=None,
        run_count_expected=None,
    )


def run_info(run: str) -> RunInfo:
    return RunInfo(
        id=run,
        node_id="n",
        state="failed",
        config={},
        summary={},
        display_name=None,
        created_at=None,
        heartbeat_at=None,
        sweep_id=None,
        is_started=False,
        host="legs-1a2b3c4d-0",
        exit_code=3,
    )


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process; give exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweepctl", *arguments])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        return int(exit_.value.code or 0), *capsys.readouterr()

    return run


class Patched:
    """A cluster that takes every patch; `dry` says which were only tried."""

    context = "test"

    def __init__(self) -> None:
        self.dry: list[bool] = []

    def patch(self, *_: Any, dry_run: bool = False) -> None:
        self.dry.append(dry_run)


def target(monkeypatch: pytest.MonkeyPatch, *jobs: dict[str, Any]) -> Patched:
    cluster = Patched()
    submission = Submission("legs", "robots", {"metadata": {}}, jobs)
    sweep = ClusterSweep(cluster, "legs", "robots", output.say)  # type: ignore[arg-type]
    monkeypatch.setattr(targets, "resolve_submitted", lambda *_: sweep)
    monkeypatch.setattr("sweepctl.jobs.cluster_sweep.get_submission", lambda *_: submission)
    return cluster


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("none", "job/legs-1a2b3c4d scaled to 5\n"),
        ("client", "job/legs-1a2b3c4d scaled to 5 (dry run)\n"),
        ("server", "job/legs-1a2b3c4d scaled to 5 (server dry run)\n"),
    ],
)
def test_scale_says_what_it_does_or_would_do(
    monkeypatch: pytest.MonkeyPatch, run: Run, strategy: str, said: str
) -> None:
    cluster = target(monkeypatch, job(3))
    assert run("scale", "legs", "5", f"--dry-run={strategy}") == (0, said, "")
    assert cluster.dry == [strategy != "none"]


@pytest.mark.parametrize("strategy", ["none", "client", "server"])
@pytest.mark.parametrize(
    ("jobs", "agents", "message"),
    [
        ([], 5, "error: 'legs' has no Job yet"),
        ([job(3, **ended("Complete"))], 5, "error: the Job of 'legs' has ended (Complete)"),
        ([job(3)], 9999, "error: 9999 agents: expected 1 to 5000"),
    ],
    ids=["no Job", "ended", "too many"],
)
def test_scale_that_cannot_be_is_refused_whether_tried_or_not(
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
    strategy: str,
    jobs: list[dict[str, Any]],
    agents: int,
    message: str,
) -> None:
    cluster = target(monkeypatch, *jobs)
    code, out, err = run("scale", "legs", str(agents), f"--dry-run={strategy}")
    assert (code, out) == (2 if agents > 5000 else 1, "")
    assert err.startswith(message)
    assert not cluster.dry


def test_delete_that_is_declined_deletes_nothing_and_is_no_interruption(
    monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    target(monkeypatch, job())
    monkeypatch.setattr(change, "plan_delete", lambda *_, **__: PLAN)
    terminal = io.StringIO("n\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    code, out, err = run("delete", "legs")
    assert (code, out.strip()) == (ExitCode.FAILED, "")
    assert "error: nothing was deleted" in err


def test_delete_tells_what_is_kept_also_when_there_is_nothing_to_delete(
    monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    target(monkeypatch)
    kept = DeletePlan("legs", "robots", (), PLAN.kept)
    monkeypatch.setattr(change, "plan_delete", lambda *_, **__: kept)
    code, out, err = run("delete", "legs", "--yes")
    assert (code, out) == (0, "legs unchanged: nothing to delete in namespace 'robots'\n")
    assert err == "kept persistentvolumeclaim/legs-runs (data: --volumes deletes it too)\n"


def snapshots(form: Form, count: int) -> Any:
    def view(number: int, room: object) -> Text:
        return Text(f"seen {number} " + "x" * 60)

    def data(number: int) -> dict[str, int]:
        return {"seen": number}

    for number in range(1, count + 1):
        yield Snapshot(
            view=partial(view, number),
            data=partial(data, number),
            name=f"job/{number}",
            form=form,
            is_last=number == count,
        )


def test_watch_prints_every_snapshot_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    show_snapshots(snapshots(Form.TABLE, 3), True)
    assert [line[:6] for line in capsys.readouterr().out.splitlines()] == [
        "seen 1",
        "seen 2",
        "seen 3",
    ]
    show_snapshots(snapshots(Form.YAML, 2), True)
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == [{"seen": 1}, {"seen": 2}]
    show_snapshots(snapshots(Form.NAME, 2), False)
    assert capsys.readouterr().out == "job/1\n"
    assert len(slept) == 3


def test_watch_draws_no_line_wider_than_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for name, value in {"TERM": "xterm", "COLUMNS": "40", "LINES": "20"}.items():
        monkeypatch.setenv(name, value)
    show_snapshots(snapshots(Form.TABLE, 2), True)
    lines = [Text.from_ansi(line).plain for line in capsys.readouterr().out.splitlines()]
    assert any("seen 2" in line for line in lines)
    assert max(map(len, lines)) <= 40


def test_numbers_that_json_has_no_word_for_are_written_as_wandb_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    inf = float("inf")
    output.data({"a": [inf, -inf, float("nan"), 1.5], "b": {"c": (inf,)}}, Form.JSON)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    assert json.loads(capsys.readouterr().out, parse_constant=refuse) == {
        "a": ["Infinity", "-Infinity", "NaN", 1.5],
        "b": {"c": ["Infinity"]},
    }


SWEEP = """
method: random
metric: {name: loss, goal: minimize}
command: [python, t.py]
parameters: {a.b: {min: 0.0, max: 1.0}}
"""


@pytest.mark.parametrize("form", ["json", "yaml", "name"])
def test_what_submit_waits_for_does_not_mix_with_data(
    monkeypatch: pytest.MonkeyPatch, run: Run, tmp_path: Path, form: str
) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    done = Submitted("legs", "robots", job="legs-1a2b3c4d")
    monkeypatch.setattr("sweepctl.jobs.submit.Submitter.run", lambda self: done)
    cluster = SimpleNamespace(namespace="robots")
    monkeypatch.setattr("sweepctl.kube.kubeconfig.open_cluster", lambda *_: cluster)
    monkeypatch.setattr(
        "sweepctl.jobs.cluster_sweep.wait_for_end",
        lambda *_, **__: (ExitCode.FAILED_RUNS, "it has ended"),
    )
    followed: list[Any] = []
    monkeypatch.setattr(ClusterSweep, "follow", lambda *given: followed.append(given))
    code, out, err = run("submit", str(tmp_path / "sweep.yaml"), "--wait", "-o", form)
    assert code == ExitCode.FAILED_RUNS
    assert "it has ended" not in out
    assert "it has ended" in err
    code, out, err = run("submit", str(tmp_path / "sweep.yaml"), "--logs", "-o", form)
    assert (code, out, followed) == (ExitCode.INVALID, "", [])
    assert "--logs" in err


def test_logs_without_a_line_say_where_to_look(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    target(monkeypatch, job())
    monkeypatch.setattr("sweepctl.jobs.cluster_sweep.read_logs", lambda *_: iter(()))
    code, out, err = run("logs", "legs", "--no-follow", "-n", "robots")
    assert (code, out) == (1, "")
    assert err == ("error: no such lines\n  what the agents do: sweepctl status legs -n robots\n")


class Served:
    """The server of a submitted sweep, with what its runs have uploaded."""

    def __init__(self, logs: dict[str, list[str]]) -> None:
        self.logs = logs
        self.sweep_info = sweep_info()

    def sweep(self, *name: str) -> SweepInfo:
        return self.sweep_info

    def runs(self, sweep: SweepInfo) -> list[RunInfo]:
        return [run_info(run) for run in self.logs]

    def run_log(self, sweep: SweepInfo, run: str) -> list[str]:
        return self.logs[run]


def serve(monkeypatch: pytest.MonkeyPatch, **logs: list[str]) -> None:
    """Have no pod tell anything, and the sweep's server have the runs with their output."""
    target(monkeypatch, job())
    monkeypatch.setattr("sweepctl.jobs.cluster_sweep.read_logs", lambda *_: iter(()))
    monkeypatch.setattr("sweepctl.jobs.cluster_sweep.follow_logs", lambda *_, **__: iter(()))
    name = SweepName("e", "p", "s1")
    monkeypatch.setattr("sweepctl.jobs.cluster_sweep.sweep_name", lambda *_: name)
    api = nullcontext(Served(logs))
    monkeypatch.setattr("sweepctl.jobs.cluster_sweep.open_submission_api", lambda *_: api)


def test_logs_of_a_run_whose_pod_is_gone_are_what_was_uploaded(
    monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    serve(monkeypatch, r1=["no such file: motions.npz"], r2=[])
    code, out, err = run("logs", "legs", "--no-follow", "-n", "robots", "--run", "r1")
    assert (code, out) == (0, "no such file: motions.npz\n")
    assert err == "run r1 failed: the trainer ended with exit code 3\n"
    code, out, err = run("logs", "legs", "--no-follow", "-n", "robots", "--run", "r2")
    assert (code, out) == (1, "")
    assert "there is no output of r2" in err
    assert "sweepctl status legs -n robots" in err


@pytest.mark.parametrize("follows", ["--follow", "--no-follow"])
def test_logs_of_an_unknown_run_name_those_that_there_are(
    monkeypatch: pytest.MonkeyPatch, run: Run, follows: str
) -> None:
    serve(monkeypatch, r1=[], r2=[])
    code, out, err = run("logs", "legs", follows, "-n", "robots", "--run", "r3")
    assert (code, out) == (1, "")
    assert err == "error: sweep s1 has no run r3\n  it has r1, r2\n"


class Sweeps:
    """A server with one sweep whose state can be set."""

    def __init__(self) -> None:
        self.set: list[str] = []

    def set_state(self, sweep: Any, state: str) -> None:
        self.set.append(state)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Sweeps:
    api = Sweeps()
    sweep = SimpleNamespace(
        entity="me", project="legs", id="s1", state="RUNNING", full_name="me/legs/s1"
    )
    monkeypatch.setattr(targets, "is_in_cluster", lambda *_: False)
    monkeypatch.setattr("sweepctl.sweeps.handle.open_api", lambda *_: nullcontext(api))
    monkeypatch.setattr("sweepctl.sweeps.handle.find_sweep", lambda *_: sweep)
    return api


CHANGES = [("stop", "FINISHED", "stopped"), ("pause", "PAUSED", "paused")]


@pytest.mark.parametrize(("verb", "state", "done"), CHANGES)
def test_a_sweep_that_nobody_named_is_not_changed_without_a_yes(
    monkeypatch: pytest.MonkeyPatch, run: Run, served: Sweeps, verb: str, state: str, done: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, err = run(verb)
    assert (code, out, served.set) == (ExitCode.INVALID, "", [])
    assert f"sweepctl {verb} me/legs/s1, or say --yes" in err
    for answer, ends, changed in (("n\n", ExitCode.FAILED, []), ("y\n", 0, [state])):
        terminal = io.StringIO(answer)
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stdin", terminal)
        code, out, err = run(verb)
        assert (code, served.set) == (ends, changed)
        assert f"{verb} me/legs/s1?" in err


@pytest.mark.parametrize("arguments", [["-y"], ["--yes"], ["me/legs/s1"]])
@pytest.mark.parametrize(("verb", "state", "done"), CHANGES)
def test_a_named_sweep_or_a_yes_is_not_asked_about(
    monkeypatch: pytest.MonkeyPatch,
    run: Run,
    served: Sweeps,
    arguments: list[str],
    verb: str,
    state: str,
    done: str,
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, _ = run(verb, *arguments)
    assert (code, out, served.set) == (0, f"sweep/me/legs/s1 {done}\n", [state])


def test_resume_of_a_sweep_that_runs_changes_nothing_in_any_form(run: Run, served: Sweeps) -> None:
    assert run("resume", "s1")[1] == "sweep/me/legs/s1 unchanged\n"
    assert run("resume", "s1", "-o", "name")[1] == "sweep/me/legs/s1\n"
    assert json.loads(run("resume", "s1", "-o", "json")[1]) == {
        "object": "sweep/me/legs/s1",
        "result": "unchanged",
        "dry_run": "none",
        "notes": [],
    }
    assert yaml.safe_load(run("stop", "--dry-run=client", "-o", "yaml")[1])["result"] == "stopped"
    assert served.set == []


class Stage:
    """A scene with two agents that train; none is ever hit."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def check(self, kind: Kind) -> None:
        pass

    def targets(self) -> list[Target]:
        return [
            Target(f"legs-1a2b3c4d-{n}", f"r{n}", n, f"legs-1a2b3c4d-{n}-x", f"u{n}", "node-1")
            for n in range(2)
        ]

    def strike(self, kind: Kind, target: Target, *, is_dry: bool) -> bool:
        assert is_dry
        self.asked.append(target.run)
        return True


@pytest.mark.parametrize(("strategy", "asked"), [("client", 0), ("server", 2)])
def test_disrupt_says_which_pods_it_would_hit(
    monkeypatch: pytest.MonkeyPatch, run: Run, strategy: str, asked: int
) -> None:
    stage = Stage()
    target(monkeypatch, job(2))
    monkeypatch.setattr(ClusterSweep, "scene", lambda _: nullcontext(stage))
    tried = {"client": "dry run", "server": "server dry run"}[strategy]
    words = [
        "disrupt",
        "legs",
        "-n",
        "robots",
        "--kind",
        "evict",
        "--count",
        "3",
        f"--dry-run={strategy}",
    ]
    code, out, err = run(*words)
    assert (code, sorted(out.splitlines())) == (
        0,
        [f"pod/legs-1a2b3c4d-{n}-x evict, run r{n} ({tried})" for n in range(2)],
    )
    assert err == "note: 2 agents train a run now; the others are drawn later\n"
    assert len(stage.asked) == asked
    shown = json.loads(run(*words, "-o", "json")[1])
    assert {each["pod"] for each in shown} == {"legs-1a2b3c4d-0-x", "legs-1a2b3c4d-1-x"}


HIT = Disruption(
    *(1, Kind.FORCE, Target("legs-0", "r0", 0, "legs-0-x", "u", "node-1"), 100.0, 1, True, True, 9),
    outcome=Outcome.AGAIN,
    took_s=12.3,
    went_to="legs-1",
    repeated=4,
    attempts=2,
)


@pytest.mark.parametrize(
    ("done", "code", "told"),
    [
        (Disrupted((HIT,)), 0, ""),
        (Disrupted((HIT,), is_interrupted=True), 130, ""),
        (Disrupted((HIT, replace(HIT, outcome=Outcome.FAILED, went_to=None))), 3, ""),
        (
            Disrupted((HIT,), "sweep e/p/s has ended"),
            1,
            "error: sweep e/p/s has ended; 1 of 2 disruptions were made\n",
        ),
    ],
    ids=["all went on", "interrupted", "one failed", "fewer than planned"],
)
def test_disrupt_tells_what_it_cost_however_it_ends(
    monkeypatch: pytest.MonkeyPatch, run: Run, done: Disrupted, code: int, told: str
) -> None:
    target(monkeypatch, job(2))
    monkeypatch.setattr(ClusterSweep, "scene", lambda _: nullcontext(Stage()))
    monkeypatch.setattr("sweepctl.sweeps.disrupt.disrupt", lambda *_, **__: done)
    words = ["disrupt", "legs", "-n", "robots", "--kind", "force", "--count", "2"]
    ended, out, err = run(*words)
    assert ended == code
    titles, first, *_ = out.splitlines()
    assert " ".join(titles.split()) == "KIND POD RUN OUTCOME AFTER NOW AT REPEATED ATTEMPTS"
    assert " ".join(first.split()) == "force legs-0-x r0 trains again 12s legs-1 4 2"
    assert err.startswith(f"{len(done.disruptions)} disruption")
    assert err.endswith(told)
    ended, out, _ = run(*words, "-o", "json")
    (first_data, *_) = json.loads(out)["disruptions"]
    assert (ended, first_data["iterations_repeated"], first_data["took_s"]) == (code, 4, 12.3)


def test_disrupt_without_a_kind_or_with_a_wrong_time_is_refused(run: Run) -> None:
    assert run("disrupt", "legs")[0] == 2
    code, _, err = run("disrupt", "legs", "--kind", "crash", "--every", "soon")
    assert (code, err.splitlines()[0]) == (2, "error: --every soon is no length of time")
