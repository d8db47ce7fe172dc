"""What people read: the ranked runs with exact values, the event lines, the data forms."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from sweepctl.cli import job_views, output, views
from sweepctl.cli.screen import Room
from sweepctl.jobs.agents import AgentRow, IndexState, JobStatus
from sweepctl.jobs.state import SubmittedState
from sweepctl.jobs.submission import Submission
from sweepctl.kube.pod_reasons import Reason
from sweepctl.search.metric import Metric
from sweepctl.sweeps.best import best_runs
from sweepctl.sweeps.progress import Phase
from sweepctl.sweeps.status import RunRow, SweepStatus, searched_parameters
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run_record import Attempt, RunRecord

TABLE = {".*_hip_(yaw|roll)_joint": 100.0, ".*_knee_joint": 200.0}
CONFIG: dict[str, Any] = {
    "method": "random",
    "metric": {"name": "reward", "goal": "maximize"},
    "command": ["isaaclab", "train", "--task", "Toy-Legs"],
    "parameters": {
        "p_gain_leg": {"distribution": "uniform", "min": 0.5, "max": 2.0},
        "p_gain_leg_cli_path": {"value": "env.legs.stiffness"},
        "p_gain_leg_base_dict": {"value": json.dumps(TABLE)},
        "agent.lr": {"values": [1e-5, 1e-3]},
        "agent.lr_type": {"value": "float"},
    },
}


def row(run_id: str, factor: float, metric: float | None, state: str = "finished") -> RunRow:
    parameters = {
        "p_gain_leg": factor,
        "p_gain_leg_cli_path": "env.legs.stiffness",
        "p_gain_leg_base_dict": json.dumps(TABLE),
        "agent.lr": 1e-5,
        "agent.lr_type": "float",
        "log_dir": "/somewhere",
    }
    return RunRow(
        run_id,
        state,
        "host-0",
        metric,
        6,
        70.0,
        parameters,
        duration_s=61.0,
        done=7,
        steps=8,
    )


REWARD = Metric("reward", "maximize")


def status(*rows: RunRow, metric: Metric | None = REWARD) -> SweepStatus:
    return SweepStatus("local/legs/s1", None, "RUNNING", "random", metric, 4, rows)


def test_searched_parameters_are_those_that_the_sweep_varies() -> None:
    assert searched_parameters(CONFIG) == ["p_gain_leg", "agent.lr"]


def test_best_run_carries_factor_times_table_and_a_command_that_repeats_it() -> None:
    seen = status(row("a1", 1.1, 0.5), row("b2", 0.7, 0.9))
    best = best_runs(seen, CONFIG, top=10)
    assert [entry.run.id for entry in best] == ["b2", "a1"]
    assert best[0].sampled == {"p_gain_leg": 0.7, "agent.lr": 1e-05}
    values = best[0].as_dict("reward")["overrides"]
    assert values == {
        "env.legs.stiffness": {key: 0.7 * value for key, value in TABLE.items()},
        "agent.lr": 1e-05,
    }
    assert best[0].command[:4] == ("isaaclab", "train", "--task", "Toy-Legs")
    assert "agent.lr=1e-05" in best[0].command
    assert "log_dir" not in best[0].shell_command()


def test_best_gives_arguments_in_the_order_in_which_wandb_hands_them_out() -> None:
    parameters = {"z": {"values": [1]}, "a": {"values": [2]}, "m_type": {"value": "x"}}
    config = {**CONFIG, "command": None, "program": "train.py", "parameters": parameters}
    found = replace(row("a1", 1.0, 0.5), parameters={"z": 1, "a": 2, "m_type": "x", "other": 3})
    (best,) = best_runs(status(found), config, top=1)
    assert best.command == (
        *("/usr/bin/env", "python", "train.py"),
        *("--a=2", "--m_type=x", "--z=1"),
    )


def test_best_gives_the_script_that_wandbs_own_agent_has_run_as_it_stands() -> None:
    config = {**CONFIG, "command": ["bash", "-c", "python mine.py"]}
    (best,) = best_runs(status(row("a1", 1.1, 0.5)), config, top=1)
    assert best.command == ("bash", "-c", "python mine.py")
    assert best.sampled == {"p_gain_leg": 1.1, "agent.lr": 1e-05}


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"command": None, "program": None}, "the command uses ${program}, and there is none"),
        ({"command": ["python", "${program}"]}, "the command uses ${program}, and there is none"),
    ],
    ids=["a function of the user's own process", "program forgotten"],
)
def test_best_ranks_runs_that_no_command_repeats_and_says_why(
    changed: dict[str, Any], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {key: value for key, value in {**CONFIG, **changed}.items() if value is not None}
    seen = status(row("a1", 1.1, 0.5), row("b2", 0.7, 0.9))
    runs = best_runs(seen, config, top=10)
    views.print_best(seen, runs)
    printed = capsys.readouterr().out
    assert [entry.run.id for entry in runs] == ["b2", "a1"]
    assert f"no command runs it again: {why}" in printed
    assert "run it again:" not in printed
    assert [entry.get("why_no_command") for entry in views.best_data(seen, runs)["runs"]] == [
        why
    ] * 2


def test_best_prints_exact_gains_and_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    seen = status(row("b2", 0.7, 0.9))
    views.print_best(seen, best_runs(seen, CONFIG, top=10))
    printed = capsys.readouterr().out
    assert "env.legs.stiffness" in printed
    assert repr(0.7 * 100.0) in printed
    assert ".*_hip_(yaw|roll)_joint" in printed
    assert "agent.lr = 1e-05" in printed
    by = "run it again (by the sweep's command: the run has no record of its own):"
    assert f"{by}\n  isaaclab train --task Toy-Legs" in printed
    assert "--run_timestamp b2" in printed


def test_best_prints_the_command_that_was_executed_and_asks_for_no_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = status(*(row(f"r{number}", 1.0, number / 10) for number in range(9)))
    asked: list[str] = []

    def record_of(run: str) -> RunRecord:
        asked.append(run)
        return RunRecord(("./go", "${envvar:TASK}", "a b"), "literal", "host-0", 1)

    runs = best_runs(seen, CONFIG, top=5, record_of=record_of, recorded=1)
    views.print_best(seen, runs)
    assert "run it again:\n  ./go '${envvar:TASK}' 'a b'\n" in capsys.readouterr().out
    assert asked == ["r8"]
    assert [entry["command_is_recorded"] for entry in views.best_data(seen, runs)["runs"]] == [
        *(True, False, False, False, False)
    ]
    best_runs(seen, CONFIG, top=5, record_of=record_of)
    assert len(asked) == 6
    best_runs(seen, CONFIG, top=5, grammar=Grammar.HYDRA, record_of=record_of)
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("command", "again"),
    [
        (
            ["${env}", "python", "-m", "sweepctl.pod.run", "isaaclab", "train", "--headless"],
            "isaaclab train agent.lr=1e-05 --logger wandb",
        ),
        (
            ["./isaaclab.sh", "-p", "scripts/wandb_sweep/train_wrapper.py", "--task", "T"],
            "./isaaclab.sh -p scripts/train.py --task T",
        ),
        (["python", "t.py", "--key=${envvar:KEY}"], "python t.py '--key=${envvar:KEY}'"),
        (["${interpreter}", "${program}", "${args}"], "python train.py --agent.lr=1e-05"),
    ],
    ids=["wrapper", "ancestor", "variable", "args"],
)
def test_best_resolves_what_was_not_recorded_as_agent_and_preview_do(
    command: list[str], again: str
) -> None:
    config = {
        **CONFIG,
        "command": command,
        "program": "train.py",
        "parameters": {"agent.lr": {"values": [1e-5, 1e-3]}},
    }
    (best,) = best_runs(status(row("b2", 1.0, 0.5)), config, top=1)
    assert best.shell_command().startswith(again)
    assert not best.is_recorded


@pytest.mark.parametrize(
    ("seen", "says"),
    [
        (status(metric=None), "the sweep has no metric"),
        (status(row("a1", 1.0, None)), "no run has finished with reward yet"),
        (status(row("a1", 1.0, 0.5, "failed")), "no run has finished with reward yet"),
    ],
    ids=["no metric", "metric not logged", "failed"],
)
def test_best_says_why_there_is_none(
    seen: SweepStatus, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    views.print_best(seen, best_runs(seen, CONFIG, top=10))
    assert says in capsys.readouterr().out


@pytest.mark.parametrize(
    ("entry", "reason", "line"),
    [
        (row("a1", 1.0, 0.5), None, "run a1: finished on host-0 with reward 0.5"),
        (row("a1", 1.0, 0.5, "running"), None, "run a1: running on host-0"),
        (row("a1", 1.0, None, "failed"), "exit code 1", "run a1: failed on host-0: exit code 1"),
        (replace(row("a1", 1.0, None, "pending"), agent=None), None, "run a1: pending"),
    ],
    ids=["finished", "running", "failed", "pending"],
)
def test_event_line_says_what_became_of_a_run(entry: RunRow, reason: str | None, line: str) -> None:
    seen = status(entry)
    assert views.event_line(replace(entry, reason=reason), seen) == f"{line} [1 {entry.state} of 4]"


def test_status_table_keeps_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    views.print_status(status(row("abcd1234", 1.0, 0.123456789)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["SWEEP", "STATE", "METHOD"]
    assert lines[3].split() == ["RUN", "STATE", "STEP", "METRIC", "TIME", "AGENT"]
    assert lines[4].split() == ["abcd1234", "finished", "7/8", "0.123457", "1m1s", "host-0"]
    assert max(len(line.rstrip()) for line in lines) <= 80


def test_status_gives_each_reason_once_and_a_metric_that_is_no_number_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [
        replace(row(f"r{number}", 1.0, None, "failed"), reason="no such file: motions.npz")
        for number in range(5)
    ]
    odd = replace(row("odd1", 1.0, None, "failed"), metric_instead="NaN", reason="it is NaN")
    late = replace(row("done", 1.0, 0.5), duration_s=191.0)
    views.print_status(status(*rows, odd, late))
    printed = capsys.readouterr().out
    assert "5 runs (r0, r1, r2 …) failed: no such file: motions.npz" in printed
    assert "run odd1 failed: it is NaN" in printed
    table = {line.split()[0]: line.split() for line in printed.splitlines() if line.strip()}
    assert table["odd1"][3] == "NaN"
    assert table["done"][4] == "3m11s"
    data = views.status_data(status(*rows, odd, late))["runs"]
    assert (data[0]["reason"], data[0]["duration_s"]) == ("no such file: motions.npz", 61.0)
    assert (data[5]["metric"], data[5]["metric_instead"]) == (None, "NaN")


def crowd() -> SweepStatus:
    rows = [
        *(row(f"done{number:04}", 1.0, float(number)) for number in range(9)),
        replace(row("bad00000", 1.0, None, "failed"), reason="no metric"),
        *(
            replace(
                row(f"busy{number:04}", 1.0, None, "preempting" if number else "running"),
                agent="a-sweep-with-a-long-name-1a2b3c4d-12",
                phase=Phase.TRAINING,
                done=12000,
                steps=15000,
            )
            for number in range(9)
        ),
    ]
    return SweepStatus("local/legs/s1", None, "RUNNING", "random", REWARD, 30, tuple(rows))


@pytest.mark.parametrize("columns", [200, 100, 80, 70, 60, 40])
@pytest.mark.parametrize("lines", [60, 24, 12, 8])
def test_what_is_drawn_fits_and_keeps_whole_states(columns: int, lines: int) -> None:
    console = output.console(width=columns)
    with console.capture() as drawn:
        console.print(views.status_view(crowd(), Room(columns, lines)))
    shown = drawn.get().splitlines()
    assert len(shown) <= lines - 1
    assert max(map(len, shown)) <= columns
    rows = [line.split() for line in shown[4:] if line[:4] in ("done", "busy", "bad0")]
    assert {line[1] for line in rows} <= {"running", "preempting", "finished", "failed"}
    assert "done0008" in [line[0] for line in rows]
    assert rows[0][0] == "busy0000"
    if len(rows) < 19:
        assert f"… {19 - len(rows)} more: " in drawn.get()


def submitted(agents: int, *reasons: Reason) -> SubmittedState:
    name = "a-sweep-with-a-long-name"
    rows = tuple(
        AgentRow(
            index=number,
            name=f"{name}-1a2b3c4d-{number}",
            state=IndexState.PENDING if number < len(reasons) else IndexState.RUNNING,
            pod=None,
            node=None,
            run=None if number < len(reasons) else crowd().runs[-1],
            failures=0,
            age_s=60.0,
            reason=reasons[number] if number < len(reasons) else None,
        )
        for number in range(agents)
    )
    return SubmittedState(
        submission=Submission(name, "robots", None, ()),
        job=JobStatus(name, f"{name}-1a2b3c4d", "robots", agents, 9, False, None, None, 60.0, rows),
        sweep=crowd(),
        config={},
        unread=None,
    )


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (60, 24), (60, 12), (132, 50)])
@pytest.mark.parametrize("agents", [1, 16, 300])
def test_a_submitted_sweep_is_drawn_in_the_room_that_there_is(
    columns: int, lines: int, agents: int
) -> None:
    why = [Reason(f"no node has a GPU, says {number}") for number in range(min(agents - 1, 9))]
    state = submitted(agents, *why)
    console = output.console(width=columns)
    with console.capture() as drawn:
        view = job_views.state_view(state, Room(columns, lines), wide=False)
        console.print(view, soft_wrap=False, no_wrap=True, overflow="ellipsis", crop=True)
    shown = [line.rstrip() for line in drawn.get().splitlines()]
    assert len(shown) <= lines - 1
    assert max(map(len, shown)) <= columns
    rows = [line.split() for line in shown if re.match(r"\d+ ", line)]
    assert {row[1] for row in rows} <= {"Running", "Pending"}
    assert "Running" in {row[1] for row in rows}
    if len(rows) < agents:
        assert f"… {agents - len(rows)} more agents: " in drawn.get()


@pytest.mark.parametrize(
    ("width", "text"),
    [
        (None, "NAME         STATE    NOTE\na-long-name  running  nothing to say"),
        (40, "NAME         STATE    NOTE\na-long-name  running  nothing to say"),
        (34, "NAME         STATE    NOTE\na-long-name  running  nothing to …"),
        (30, "NAME         STATE\na-long-name  running"),
        (12, "NAME\na-long-name"),
        (5, "NAME\na-long-name"),
    ],
)
def test_a_table_gives_up_what_is_worth_least(width: int | None, text: str) -> None:
    columns = [
        output.Column("NAME", 3),
        output.Column("STATE", 2),
        output.Column("NOTE", 1, elastic=True),
    ]
    console = output.console()
    with console.capture() as drawn:
        cells = [["a-long-name", "running", "nothing to say"]]
        console.print(output.fitted_table(columns, cells, width))
    assert drawn.get().splitlines() == text.splitlines()


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "file"])
def test_no_line_of_a_table_ends_in_blanks_that_a_narrow_terminal_would_break(
    is_terminal: bool,
) -> None:
    console = output.console()
    console._force_terminal = is_terminal
    rows = [["a1", "finished", ""], ["b2", "", ""], ["", "", ""], ["c3", "running", "a-long-one"]]
    with console.capture() as drawn:
        console.print(output.table(["RUN", "STATE", "A.LONGER.NAME"], rows))
        console.print("after it")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", drawn.get()).splitlines()
    assert lines == [
        "RUN  STATE     A.LONGER.NAME",
        "a1   finished",
        "b2",
        "",
        "c3   running   a-long-one",
        "after it",
    ]


def test_a_metric_is_named_as_it_is_where_its_name_has_brackets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = status(row("a1", 1.0, None, "failed"), metric=Metric("eval[mean]", "maximize"))
    views.print_best(named, [])
    assert "no run has finished with eval[mean] yet" in capsys.readouterr().out


def test_data_forms_are_plain_json() -> None:
    seen = status(row("a1", 1.1, 0.5))
    assert json.loads(json.dumps(views.status_data(seen)))["counts"] == {"finished": 1}
    data = views.best_data(seen, best_runs(seen, CONFIG, top=1))
    assert json.loads(json.dumps(data))["runs"][0]["rank"] == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((None, "<none>"), (0, "0s"), (59.9, "59s"), (60, "1m"), (184, "3m4s")),
        *((7500, "2h5m"), (273600, "3d4h"), (-5, "0s")),
    ],
)
def test_age_is_written_as_kubectl_does(seconds: float | None, text: str) -> None:
    assert output.age(seconds) == text


def test_a_failure_is_told_with_the_reason_that_its_agent_gives_a_moment_later(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running, failed = row("a1", 1.0, None, "running"), row("a1", 1.0, None, "failed")
    other = row("b2", 1.0, None, "crashed")
    with views.LocalView() as view:
        view.show(status(running))
        view.show(status(failed))
        told = replace(failed, reason="exit code 3")
        view.show(status(told, other))
        view.end(status(told, other), [])
    lines = capsys.readouterr().out.splitlines()[:3]
    assert [line.partition(" [")[0] for line in lines] == [
        "run a1: running on host-0",
        "run a1: failed on host-0: exit code 3",
        "run b2: crashed on host-0",
    ]


def test_a_run_without_its_metric_is_not_told_as_finished_before_its_agent_has_judged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    running, bare = row("a1", 1.0, None, "running"), row("a1", 1.0, None)
    stays = row("b2", 1.0, None)
    with views.LocalView() as view:
        view.show(status(running))
        view.show(status(bare))
        failed = replace(bare, state="failed", reason="metric reward is NaN")
        view.show(status(failed, stays))
        view.end(status(failed, stays), [])
    lines = capsys.readouterr().out.splitlines()[:3]
    assert [line.partition(" [")[0] for line in lines] == [
        "run a1: running on host-0",
        "run a1: failed on host-0: metric reward is NaN",
        "run b2: finished on host-0",
    ]


def test_a_finished_run_of_a_sweep_without_a_metric_is_told_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with views.LocalView() as view:
        view.show(status(row("a1", 1.0, None), metric=None))
        assert capsys.readouterr().out.startswith("run a1: finished on host-0 [")


def text_of(view: Any) -> list[str]:
    console = output.console()
    with console.capture() as drawn:
        console.print(view)
    return drawn.get().splitlines()


DISTURBED = RunRecord(
    *((), "literal", "host-1", 3),
    attempts=(
        Attempt(1, "host-0", "node-1", "", 1.0, 9.0, "SIGTERM", 0, 41),
        Attempt(2, "host-0", "node-1", "", 10.0, None, "silence", 42, 50),
        Attempt(
            *(3, "host-1"),
            began_at=99.0,
            first=45,
            waited_from=90.0,
            started_at=100.0,
            trained_from=130.5,
            gpus=2,
            gpu="NVIDIA L40S",
        ),
    ),
)


def test_wide_shows_the_attempts_of_runs_what_ended_them_and_what_was_trained_again() -> None:
    disturbed = replace(row("r1", 1.0, 2.0, "running"), record=DISTURBED)
    calm = replace(
        row("r2", 1.0, 2.0), record=RunRecord((), "", "h", 1, attempts=(Attempt(1, "h"),))
    )
    status = SweepStatus("e/p/s", None, "RUNNING", "random", None, None, (disturbed, calm))
    lines = text_of(views.status_view(status, wide=True))
    told = [" ".join(line.partition("host-0")[2].split()) for line in lines[4:6]]
    assert told == ["1m10s 3 SIGTERM, silence 6", "1m10s 1 0"]
    assert "ATTEMPTS  ENDED BY          REPEATED" in lines[3]
    assert "ATTEMPTS" not in "".join(text_of(views.status_view(status)))
    (first, _) = views.status_data(status)["runs"]
    assert first["iterations_repeated"] == 6
    assert [each["ended_by"] for each in first["attempts"]] == ["SIGTERM", "silence", None]
    assert first["attempts"][2] == {
        "attempt": 3,
        "agent": "host-1",
        "node": None,
        "began_at": 99.0,
        "ended_at": None,
        "ended_by": None,
        "first_iteration": 45,
        "last_iteration": None,
        "waited_from": 90.0,
        "started_at": 100.0,
        "trained_from": 130.5,
        "trained_until": None,
        "first_iteration_after_s": 31.5,
        "gpus": 2,
        "gpu": "NVIDIA L40S",
    }


def test_a_submitted_sweep_tells_who_goes_on_with_the_run_of_an_index_that_failed() -> None:
    attempts = (Attempt(1, "legs-1a2b3c4d-1", began_at=1.0), Attempt(2, "legs-1a2b3c4d-0"))
    record = RunRecord((), "", "h", 2, attempts=attempts)
    disturbed = replace(row("r1", 1.0, None, "running"), record=record)
    status = SweepStatus("e/p/s", None, "RUNNING", "random", None, None, (disturbed,))
    agents = tuple(
        AgentRow(n, f"legs-1a2b3c4d-{n}", state, None, None, None, 0, None, None)
        for n, state in enumerate((IndexState.RUNNING, IndexState.FAILED))
    )
    state = SubmittedState(
        Submission("legs", "robots", None, ()),
        JobStatus("legs", "legs-1a2b3c4d", "robots", 2, 1, False, None, None, 60.0, agents),
        status,
        {},
        None,
    )
    said = text_of(job_views.state_view(state, wide=False))
    assert "index 1 failed; its run r1 goes on at agent 0" in said
    wide = text_of(job_views.state_view(state, wide=True))
    assert "RUN  STATE    ATTEMPTS  ENDED BY  REPEATED   LAST AT" in wide
    assert job_views.state_data(state)["handed_on"] == [{"agent": 1, "run": "r1", "to": "0"}]
