"""The command line as a whole: help, exit codes, one line for each trouble, no tracebacks."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

import pytest
import typer.main

from sweepctl.cli import app as cli
from sweepctl.cli.arguments import current_names, wants_data

Run = Callable[..., tuple[int, str, str]]
LETTERS = {
    *(("-n", "namespace"), ("-o", "output"), ("-f", "values"), ("-l", "selector")),
    *(("-A", "all-namespaces"), ("-w", "watch"), ("-y", "yes"), ("-h", "help")),
}
"""A letter means the same everywhere."""

VERBS = sorted(typer.main.get_command(cli.app).commands)  # type: ignore[attr-defined]

GOOD = """
method: random
metric: {name: reward, goal: maximize}
run_cap: 4
command: [isaaclab, train, --rl_library, rsl_rl, --task, Toy-Legs]
parameters:
  agent.algorithm.learning_rate: {distribution: log_uniform_values, min: 1.0e-5, max: 1.0e-3}
  p_gain_leg:
    distribution: uniform
    min: 0.5
    max: 2.0
    p_gain_leg_cli_path: {value: env.scene.robot.actuators.legs.stiffness}
    p_gain_leg_base_dict:
      value: |
        {".*_hip_yaw_joint": 100.0, ".*_knee_joint": 200.0}
"""


@pytest.fixture
def sweepctl(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Run:
    """Run the command line in this process; give exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SWEEPCTL_DATA", str(tmp_path / "data"))
    for name in (
        "SWEEPCTL_BAYES_PYTHON",
        "SWEEPCTL_VALUES",
        "WANDB_API_KEY",
        "WANDB_BASE_URL",
        "WANDB_ENTITY",
        "WANDB_PROJECT",
        "NETRC",
    ):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sweepctl", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(sweepctl: Run, verb: str) -> None:
    code, out, _ = sweepctl(verb, "--help")
    assert code == 0
    assert f"Example: sweepctl {verb}" in " ".join(out.split())


@pytest.mark.parametrize("verb", VERBS)
def test_options_have_one_name_in_kebab_case_and_one_set_of_forms(sweepctl: Run, verb: str) -> None:
    out = sweepctl(verb, "--help")[1]
    assert not re.findall(r"--\w*_\w*", out)
    letters = re.findall(r"^  (-\w), --([\w-]+)", out, re.MULTILINE)
    assert set(letters) <= LETTERS
    # Those have no answer but text, and a report is a file.
    if verb not in ("agent", "local", "server", "logs", "wait", "report"):
        assert "-o, --output <table|wide|name|json|yaml>" in out


def test_help_names_every_variable_that_a_user_may_set(sweepctl: Run) -> None:
    out = sweepctl("--help")[1]
    package = Path(cli.__file__).parents[1]
    read = {
        name
        for path in package.rglob("*.py")
        if "pod" not in path.relative_to(package).parts
        for name in re.findall(r"environ[^\n]*\"(SWEEPCTL_\w+)\"", path.read_text())
    }
    inner = {"SWEEPCTL_JOB_UID"}
    assert {"SWEEPCTL_DATA", "SWEEPCTL_PATIENCE_S"} <= read
    missing = {name for name in read | {"SWEEPCTL_VALUES"} - inner if f"  {name} " not in out}
    assert missing <= inner
    assert "--debug" in out


@pytest.mark.parametrize(
    ("typed", "means"),
    [
        ("agent --project_name p --agent_count=3", "agent --project-name p --agent-count=3"),
        ("init s.yaml -p p --sweep_ids f_g", "init s.yaml --project-name p --sweep-ids f_g"),
        ("local s.yaml -pmy_p", "local s.yaml --project-name my_p"),
        ("preview s_1.yaml -n 5", "preview s_1.yaml --count 5"),
        ("preview s.yaml -n5", "preview s.yaml --count 5"),
        ("status -n robots", "status -n robots"),
        ("delete legs --data", "delete legs --volumes"),
        ("status --data d_1", "status --data d_1"),
        ("submit s.yaml --set a_b=c_d", "submit s.yaml --set a_b=c_d"),
        ("submit s.yaml --dry_run=client", "submit s.yaml --dry-run=client"),
        ("validate -- --a_b", "validate -- --a_b"),
        ("validate -", "validate -"),
    ],
)
def test_earlier_names_of_options_are_understood(typed: str, means: str) -> None:
    assert current_names(typed.split()) == means.split()


@pytest.mark.parametrize(
    "asked", ["-o json", "-ojson", "--output json", "--output=json", "-o yaml"]
)
def test_an_error_is_one_line_of_json_where_data_was_asked_for(
    sweepctl: Run, tmp_path: Path, asked: str
) -> None:
    (tmp_path / "bad.yaml").write_text(GOOD.replace("method:", "metodh:"))
    code, out, err = sweepctl("status", *asked.split())
    told = json.loads(err)["error"]
    assert (code, out, told["exit_code"]) == (1, "", 1)
    assert told["message"].startswith("no sweeps here")
    assert "sweepctl local" in told["hint"]
    code, out, err = sweepctl("status", "--nosuch", *asked.split())
    assert (code, out, json.loads(err)["error"]["hint"]) == (2, "", "see sweepctl status --help")
    code, out, err = sweepctl("preview", "bad.yaml", *asked.split())
    told = json.loads(err)["error"]
    assert (code, out, told["message"]) == (2, "", "bad.yaml: 1 error")
    assert told["problems"][0]["line"] == 2


def test_an_unexpected_error_is_json_as_well(
    sweepctl: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("sweepctl.jobs.targets.parse_sweep_name", lambda text: 1 / 0)
    code, out, err = sweepctl("status", "-o", "json")
    told = json.loads(err)["error"]
    assert (code, out, told["message"]) == (
        1,
        "",
        "unexpected: ZeroDivisionError: division by zero",
    )
    assert str(tmp_path) in told["hint"]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("status x", False),
        ("status -o", False),
        ("status -o name", False),
        ("status -- -o json", False),
        ("status json", False),
        ("status -n robots --output=yaml", True),
    ],
)
def test_who_asks_for_data_is_told_errors_as_data(arguments: str, wanted: bool) -> None:
    assert wants_data(arguments.split()) is wanted


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["validate"], 2, "Missing argument"),
        (["validate", "none.yaml"], 2, "none.yaml"),
        (["validate", "."], 2, "error:"),
        (["nosuch"], 2, "No such command 'nosuch'"),
        (["validate", "good.yaml", "--nosuch"], 2, "No such option"),
        (["validate", "good.yaml", "-o", "xml"], 2, "xml"),
        (["preview", "bad.yaml"], 2, "metodh"),
        (["preview", "good.yaml", "--count", "0"], 2, "is not in the range"),
        (["preview", "good.yaml", "--grammar", "yaml"], 2, "write auto, literal or hydra"),
        (["local", "bad.yaml"], 2, "metodh"),
        (["local", "good.yaml", "--agents", "0"], 2, "is not in the range"),
        (["local", "good.yaml", "--grammar", "yaml"], 2, "write auto, literal or hydra"),
        (["local", "good.yaml", "--preflight-gpu", "on"], 2, "'on'"),
        (["agent", "--project_name", "p", "--grammar", "yaml"], 2, "write auto, literal or hydra"),
        (["init", "bad.yaml", "--project_name", "p"], 2, "metodh"),
        (["agent", "--project_name", "p"], 2, "create the sweep first"),
        (["agent"], 2, "which sweep?"),
        (["agent", "--sweep", "p/abc"], 2, "no W&B login"),
        (["init", "good.yaml", "--project_name", "p"], 2, "no W&B login"),
        (["init", "good.yaml", "--project_name", "p/q", "--data", "d"], 2, "no name of a project"),
        (["status", "--data", "."], 1, "no sweeps here: the folder . holds none"),
        (["status", "--data", "good.yaml"], 2, "is a file"),
        (["server", "--data", "good.yaml"], 2, "is a file"),
        (["server", "key", "add", "alice", "--data", "good.yaml"], 2, "is a file"),
        (["server", "key", "list", "--data", "d"], 1, "no folder"),
        (["server", "prune", "--older-than", "3x"], 2, "try 30s, 5m, 2h or 7d"),
        (["server", "--data", "d", "--api-keys", "d"], 2, "the API keys in d: No such file"),
        (
            ["server", "--data", "d", "--api-keys", "good.yaml"],
            2,
            "the API keys in good.yaml: no W",
        ),
        (["status", "a/b/c/d"], 2, "does not name a sweep"),
        (["status"], 1, "no sweeps here"),
        (["best", "local/p/x"], 1, "no sweeps here"),
        (["best", "--server", "nonsense"], 2, "try --server http://nonsense"),
        (["stop"], 1, "no sweeps here"),
        (["validate", "good.yaml", "-o", "name"], 2, "write -o table, wide, json or yaml"),
        (["preview", "good.yaml", "-o", "name"], 2, "write -o table, wide, json or yaml"),
        (["doctor", "-o", "name"], 2, "write -o table, wide, json or yaml"),
        (["list", "-A", "--data", "d"], 2, "leave one of them out"),
        (["list", "-l", "a=b", "--server", "http://x"], 2, "leave one of them out"),
        (["server", "--listen", "8080"], 2, "no HOST:PORT"),
        (["server", "--listen", "127.0.0.1:http"], 2, "no HOST:PORT"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_clear_error_and_creates_nothing(
    sweepctl: Run, tmp_path: Path, arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD.replace("method:", "metodh:"))
    before = sorted(path.name for path in tmp_path.iterdir())
    got, out, err = sweepctl(*arguments)
    assert (got, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_validate_answers_on_stdout_and_as_json(sweepctl: Run, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD)
    assert sweepctl("validate", "sweep.yaml") == (
        0,
        "sweep.yaml: valid (1 scaled dictionary)\n",
        "",
    )
    (tmp_path / "sweep.yaml").write_text(GOOD.replace("1.0e-5", "1e-5"))
    code, out, err = sweepctl("validate", "sweep.yaml")
    assert (code, err) == (2, "")
    assert out.startswith("sweep.yaml:7:74: parameters.agent.algorithm.learning_rate.min: ")
    assert out.endswith("\nsweep.yaml: 1 error\n")
    (tmp_path / "sweep.yaml").write_text(GOOD.replace("1.0e-5", "1e-5"))
    code, out, err = sweepctl("validate", "sweep.yaml", "-o", "json")
    found = json.loads(out)
    assert (code, err, found["valid"]) == (2, "", False)
    assert found["problems"][0]["line"] == 7


def test_validate_takes_settings_and_says_what_the_image_must_have(
    sweepctl: Run, tmp_path: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD)
    (tmp_path / "values.yaml").write_text("agents: 2\ncheckpoint: {uri: s3://K7:a/b@bucket/x}\n")
    code, out, err = sweepctl("validate", "sweep.yaml", "-f", "values.yaml")
    assert (code, err) == (2, "")
    assert "values.yaml:2:19: checkpoint.uri: credentials are no part of an address" in out
    assert "K7" not in out
    assert "a/b" not in out
    assert out.endswith("\nsweep.yaml: 1 error\n")
    setting = "checkpoint.uri=s3://bucket/x"
    code, out, err = sweepctl("validate", "sweep.yaml", "--set", setting)
    assert (code, out) == (0, "sweep.yaml: valid (1 scaled dictionary)\n")
    assert "note: checkpoint.uri: fsspec and s3fs must be in the trainer's image" in err
    assert "ends with 78" in err
    code, out, err = sweepctl("render", "sweep.yaml", "--set", setting, "-o", "name")
    assert code == 0
    assert err.count("note: checkpoint.uri: fsspec and s3fs") == 1


ENVIRONMENT = """
method: grid
metric: {name: loss, goal: minimize}
program: train.py
command: [env, "A=${envvar:ZONE}", "${program}", "--to=${envvar:KEY_X}/${envvar:ZONE}", "${args}"]
parameters: {seed: {values: [5]}}
"""


def test_preview_leaves_variables_as_they_are_written(
    sweepctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweep.yaml").write_text(ENVIRONMENT)
    monkeypatch.setenv("ZONE", "lab")
    monkeypatch.delenv("KEY_X", raising=False)
    code, out, err = sweepctl("preview", "sweep.yaml")
    assert code == 0
    written = ["env", "A=${envvar:ZONE}", "train.py", "--to=${envvar:KEY_X}/${envvar:ZONE}"]
    assert shlex.split(out) == [*written, "--seed=5"]
    assert "ZONE is set here" in err
    assert "KEY_X is not set here" in err
    assert "lab" not in out + err

    (run,) = json.loads(sweepctl("preview", "sweep.yaml", "-o", "json")[1])
    assert run["command"] == [*written, "--seed=5"]
    assert [note.split()[0] for note in run["notes"]] == ["ZONE", "KEY_X"]

    code, out, _ = sweepctl("preview", "sweep.yaml", "--expand-env")
    assert shlex.split(out) == ["env", "A=lab", "train.py", "--to=KEY_X/lab", "--seed=5"]


def test_preview_tells_what_the_trainer_is_not_given(sweepctl: Run, tmp_path: Path) -> None:
    text = GOOD.replace("[isaaclab, train,", "[isaaclab, train, --headless, --logger, neptune,")
    assert text != GOOD
    (tmp_path / "sweep.yaml").write_text(text)
    _, out, err = sweepctl("preview", "sweep.yaml", "-n", "4")
    assert out.count("--logger neptune") == 4
    assert "--headless" not in out
    assert err.count("note: left out --headless") == 1
    assert err.count("note: the command says --logger neptune") == 1
    (run,) = json.loads(sweepctl("preview", "sweep.yaml", "-n", "1", "-o", "json")[1])
    assert len(run["notes"]) == 2


def test_preview_shows_where_the_file_of_arguments_stands(sweepctl: Run, tmp_path: Path) -> None:
    text = ENVIRONMENT.replace("${args}", "${args_json_file}")
    (tmp_path / "sweep.yaml").write_text(text)
    code, out, err = sweepctl("preview", "sweep.yaml")
    assert (code, out.split()[-1]) == (0, "parameters-preview1.json")
    assert "each run has its own file" in err


def test_preview_prints_the_same_commands_for_the_same_seed(sweepctl: Run, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD)
    code, first, _ = sweepctl("preview", "sweep.yaml", "-n", "2", "--seed", "7")
    assert code == 0
    assert sweepctl("preview", "sweep.yaml", "-n", "2", "--seed", "7")[1] == first
    assert sweepctl("preview", "sweep.yaml", "-n", "2", "--seed", "8")[1] != first
    assert first.count("isaaclab train") == 2
    code, out, _ = sweepctl("preview", "sweep.yaml", "-n", "1", "--grammar", "hydra", "-o", "json")
    (run,) = json.loads(out)
    factor = run["parameters"]["p_gain_leg"]
    assert (
        "env.scene.robot.actuators.legs.stiffness="
        f"{{.*_hip_yaw_joint:{factor * 100.0!r},.*_knee_joint:{factor * 200.0!r}}}"
    ) in run["command"]


def test_an_unexpected_error_is_one_line_and_its_traceback_a_file(
    sweepctl: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("sweepctl.jobs.targets.parse_sweep_name", lambda text: 1 / 0)
    code, out, err = sweepctl("status")
    assert (code, out) == (1, "")
    assert err.startswith("error: unexpected: ZeroDivisionError: division by zero\n")
    (log,) = tmp_path.glob("sweepctl-*.log")
    assert str(log) in err
    assert "Traceback" in log.read_text()


@pytest.mark.parametrize(
    ("redirections", "code", "says"),
    [
        (">&-", 0, ""),
        ("-n 9999 | head -n 1", 0, ""),
        ("> /dev/full", 1, "error: cannot write the answer: No space left on device"),
        ("-n 9999 > /dev/full", 1, "error: cannot write the answer: No space left on device"),
    ],
    ids=["no stdout", "a reader that leaves", "full at the end", "full in the middle"],
)
def test_a_stdout_that_takes_nothing_is_no_traceback(
    tmp_path: Path, redirections: str, code: int, says: str
) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD)
    done = in_shell(tmp_path, f"sweepctl preview sweep.yaml {redirections}")
    assert (done.returncode, done.stderr.splitlines()[:1]) == (code, [says] if says else [])
    assert "unexpected" not in done.stderr


def test_a_closed_stdin_is_an_empty_file(tmp_path: Path) -> None:
    done = in_shell(tmp_path, "sweepctl validate - <&-")
    assert done.returncode == 2
    assert done.stdout == "<stdin>:1:1: the file is empty\n<stdin>: 1 error\n"


def test_a_file_from_stdin_is_named_the_same_when_it_is_valid(tmp_path: Path) -> None:
    text = "{method: grid, program: t.py, metric: {name: loss, goal: minimize}"
    text += ", parameters: {a: {values: [1]}}}"
    done = in_shell(tmp_path, f"echo '{text}' | sweepctl validate -")
    assert (done.returncode, done.stdout, done.stderr) == (0, "<stdin>: valid\n", "")


def test_answers_are_utf_8_in_any_locale(tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD.replace("Toy-Legs", "Jambes-d'été"), "utf-8")
    done = in_shell(tmp_path, "PYTHONIOENCODING=ascii sweepctl preview sweep.yaml -n 1 -o json")
    assert "Jambes-d'été" in json.loads(done.stdout)[0]["command"]


def in_shell(folder: Path, line: str) -> "subprocess.CompletedProcess[str]":
    sweepctl = f'sweepctl() {{ {sys.executable} -m sweepctl "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", sweepctl + line],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def test_version_is_the_packages(sweepctl: Run) -> None:
    assert sweepctl("--version") == (0, f"sweepctl {metadata.version('sweepctl')}\n", "")


def test_settings_of_the_environment_count_where_no_file_is_named(
    sweepctl: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sweep.yaml").write_text(GOOD)
    (tmp_path / "a.yaml").write_text("gpus: 2\nshmSize: 2Gi\n")
    (tmp_path / "b.yaml").write_text("gpus: 3\n")
    (tmp_path / "c.yaml").write_text("gpus: 5\n")

    def rendered(*more: str) -> tuple[bool, ...]:
        code, out, _ = sweepctl("render", "sweep.yaml", "--name", "x", *more)
        assert code == 0
        gpus = ("nvidia.com/gpu: '3'", "nvidia.com/gpu: '5'", "sizeLimit: 2Gi")
        return tuple(text in out for text in gpus)

    monkeypatch.setenv("SWEEPCTL_VALUES", f"{tmp_path / 'a.yaml'}{os.pathsep}b.yaml")
    assert rendered() == (True, False, True)
    assert rendered("-f", "c.yaml") == (False, True, False)


@pytest.mark.parametrize("verb", [["local", "sweep.yaml"], ["agent", "--sweep", "a/b/c"]])
def test_tasks_that_are_not_there_are_told_before_anything_starts(
    sweepctl: Run, verb: list[str]
) -> None:
    Path("sweep.yaml").write_text(GOOD)
    code, out, err = sweepctl(*verb, "--tasks", "./project")
    assert (code, out) == (2, "")
    assert f"there is no folder {Path.cwd() / 'project'}" in err
    assert not Path("data").exists()


def test_tasks_reach_the_agents_and_leave_this_process_as_it_was(
    sweepctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sweepctl.local import agent, supervisor

    monkeypatch.setenv("SWEEPCTL_TASKS", "before")
    seen = []

    def run_agent(*_: object, tasks: Sequence[str], **__: object) -> int:
        seen.append(agent.tasks_environ(tasks))
        return 0

    def run_local(_spec: object, plan: supervisor.LocalPlan, _view: object) -> int:
        return run_agent(tasks=plan.tasks)

    monkeypatch.setattr(agent, "run_agent", run_agent)
    monkeypatch.setattr(supervisor, "run_local", run_local)
    Path("sweep.yaml").write_text(GOOD)
    Path("project/legs/tasks").mkdir(parents=True)
    Path("project/legs/__init__.py").touch()
    for verb in (["agent", "--sweep", "a/b/c"], ["local", "sweep.yaml"]):
        assert sweepctl(*verb, "--tasks", "arms.tasks", "--tasks", "./project")[0] == 0
        assert sweepctl(*verb)[0] == 0
    assert seen == [{"SWEEPCTL_TASKS": "arms.tasks:./project"}, {}] * 2
    assert os.environ["SWEEPCTL_TASKS"] == "before"
