"""The command line as a whole: help, exit codes, one line for each trouble, no tracebacks."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import typer.main

from sweepctl import cli

Run = Callable[..., tuple[int, str, str]]
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


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["validate"], 2, "Missing argument"),
        (["validate", "none.yaml"], 2, "none.yaml"),
        (["validate", "."], 2, "error:"),
        (["nosuch"], 2, "No such command 'nosuch'"),
        (["validate", "good.yaml", "--nosuch"], 2, "No such option"),
        (["validate", "good.yaml", "-o", "xml"], 2, "xml"),
        (["validate", "bad.yaml"], 2, "metodh"),
        (["preview", "bad.yaml"], 2, "metodh"),
        (["preview", "good.yaml", "-n", "0"], 2, "is not in the range"),
        (["preview", "good.yaml", "--grammar", "yaml"], 2, "write auto, literal or hydra"),
        (["local", "bad.yaml"], 2, "metodh"),
        (["local", "bayes.yaml"], 2, "pip install 'sweepctl[bayes]'"),
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
        (["status", "a/b/c/d"], 2, "does not name a sweep"),
        (["status"], 1, "no sweeps here"),
        (["best", "local/p/x"], 1, "no sweeps here"),
        (["best", "--server", "nonsense"], 2, "try --server http://nonsense"),
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
    (tmp_path / "bayes.yaml").write_text(GOOD.replace("method: random", "method: bayes"))
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
        "sweep.yaml: valid (1 scaled dictionaries)\n",
        "",
    )
    (tmp_path / "sweep.yaml").write_text(GOOD.replace("1.0e-5", "1e-5"))
    code, out, err = sweepctl("validate", "sweep.yaml", "-o", "json")
    found = json.loads(out)
    assert (code, err, found["valid"]) == (2, "", False)
    assert found["problems"][0]["line"] == 7


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
    monkeypatch.setattr("sweepctl.launch.parse_sweep_name", lambda text: 1 / 0)
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
    assert "<stdin>:1:1: the file is empty" in done.stderr


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
