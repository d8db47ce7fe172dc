"""What the trainer's Python is asked: YAML as PyYAML reads it, which Isaac Lab is installed."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.trainer.in_trainer import MARK, read_yaml
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.trainer.param_file import param_file_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("a: 1.0e-05", {"a": 1e-05}, id="float"),
        pytest.param("a: 1e-05", {"a": "1e-05"}, id="yaml-1.1-takes-it-for-text"),
        pytest.param("a: !!python/tuple [1, 2.5]", {"a": [1, 2.5]}, id="tuple"),
        pytest.param(
            "a: !!python/object/apply:builtins.slice [0, null, 2]", {"a": [0, None, 2]}, id="slice"
        ),
        pytest.param("a: !!python/name:torch.nn.ELU ''", {"a": ""}, id="name"),
        pytest.param("a: !!python/object:x.Cfg {b: 1}", {"a": {"b": 1}}, id="object"),
        pytest.param("a: !mine {b: !!set {x, y}}", {"a": {"b": ["x", "y"]}}, id="own-tag"),
        pytest.param("{2: a, true: b, null: c}", {"2": "a", "true": "b", "null": "c"}, id="keys"),
        pytest.param("a: 2001-01-01", {"a": "2001-01-01"}, id="date"),
        pytest.param("a: &x [1]\nb: *x", {"a": [1], "b": [1]}, id="alias"),
        pytest.param("a: .inf", {"a": math.inf}, id="infinity"),
        pytest.param("", None, id="empty"),
    ],
)
def test_yaml_is_read_with_its_types_and_without_its_tags(text: str, value: object) -> None:
    found = read_yaml(text.encode())
    if isinstance(found, dict) and isinstance(found.get("a"), dict):
        found["a"] = {k: sorted(v) if isinstance(v, list) else v for k, v in found["a"].items()}
    assert found == value


def install_isaac_lab(folder: Path, parser: str) -> str:
    """Make an `isaaclab_tasks` that must not be imported; give the PYTHONPATH."""
    package = folder / "isaaclab_tasks"
    (package / "utils").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "utils" / "hydra.py").write_text(parser)
    return str(folder)


@pytest.mark.parametrize(
    ("parser", "command", "grammar"),
    [
        pytest.param("def _parse_val(s):\n", ["isaaclab", "train"], Grammar.LITERAL, id="3"),
        pytest.param("def register():\n", ["python", "rsl_rl/train.py"], Grammar.HYDRA, id="2"),
        pytest.param(
            "def _parse_val(s):\n", ["python", "rsl_rl/train.py"], Grammar.LITERAL, id="2s-script"
        ),
        pytest.param(
            "def register():\n", ["isaaclab", "train"], Grammar.HYDRA, id="feature-not-name"
        ),
        pytest.param(
            "def _parse_val(s):\n", ["python", "my.py"], Grammar.LITERAL, id="any-script-of-3s"
        ),
        pytest.param(None, ["python", "my.py"], Grammar.HYDRA, id="no-isaac-lab"),
        pytest.param(None, ["isaaclab", "train"], Grammar.LITERAL, id="no-isaac-lab-but-its-name"),
    ],
)
def test_grammar_is_chosen_by_what_is_installed(
    parser: str | None, command: list[str], grammar: Grammar, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "python").symlink_to(sys.executable)
    (programs / "isaaclab").write_text(f"#!{sys.executable}\n")
    (programs / "isaaclab").chmod(0o755)
    environ = {"PATH": str(programs)}
    if parser is not None:
        environ["PYTHONPATH"] = install_isaac_lab(tmp_path / "lab", parser)
    assert TrainerPython(environ).grammar(command) is grammar


def test_answer_is_found_among_what_launchers_print(tmp_path: Path) -> None:
    launcher = tmp_path / "isaaclab.sh"
    launcher.write_text(
        f"#!/bin/sh\necho '[INFO] Using python from: x'\nshift\nexec {sys.executable} \"$@\"\n"
    )
    launcher.chmod(0o755)
    command = [str(launcher), "-p", "scripts/rsl_rl/train.py"]
    path = install_isaac_lab(tmp_path / "lab", "def _parse_val(")
    python = TrainerPython({"PATH": "/usr/bin:/bin", "PYTHONPATH": path})
    assert python.grammar(command) is Grammar.LITERAL


def test_python_named_by_the_user_is_asked_first(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    answer = MARK + json.dumps({"isaaclab": True, "literal": True, "yaml": True})
    mine.write_text(f"#!/bin/sh\necho '{answer}'\n")
    mine.chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "SWEEPCTL_TRAINER_PYTHON": str(mine)}
    assert TrainerPython(environ).grammar(["./train.sh"]) is Grammar.LITERAL


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(None, "params has no agent.yaml", id="missing"),
        pytest.param("a: [1\n", "params is no YAML", id="garbage"),
        pytest.param("", "params holds no maps", id="empty"),
        pytest.param("- 1\n", "params holds no maps", id="a-list"),
    ],
)
def test_record_that_cannot_be_read_says_why(text: str | None, said: str, tmp_path: Path) -> None:
    python = TrainerPython({"PATH": "/usr/bin:/bin", "SWEEPCTL_TRAINER_PYTHON": sys.executable})
    params = tmp_path / "params"
    params.mkdir()
    (params / "env.yaml").write_text("a: 1\n")
    if text is not None:
        (params / "agent.yaml").write_text(text)
    with pytest.raises(SweepctlError, match=said):
        python.read_params(["isaaclab", "train"], tmp_path)


def test_record_is_read_with_every_tag_taken_for_what_it_holds(tmp_path: Path) -> None:
    python = TrainerPython({"PATH": "/usr/bin:/bin", "SWEEPCTL_TRAINER_PYTHON": sys.executable})
    params = tmp_path / "params"
    params.mkdir()
    (params / "env.yaml").write_text("a: 1\n")
    (params / "agent.yaml").write_text("seed: !!python/tuple [1]\n")
    found = python.read_params(["isaaclab", "train"], tmp_path)
    assert found == {"env": {"a": 1}, "agent": {"seed": [1]}}


def test_file_as_a_script_refuses_what_it_does_not_know() -> None:
    script = Path(sys.modules[TrainerPython.__module__].__file__ or "").with_name("in_trainer.py")
    done = subprocess.run([sys.executable, str(script), "no"], capture_output=True, text=True)
    assert done.returncode == 2
    broken = subprocess.run(
        [sys.executable, str(script), "yaml", "-"], input="a: [", capture_output=True, text=True
    )
    assert broken.returncode == 1
    assert "Traceback" not in broken.stderr


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.*:[]'", max_size=9), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z._]{0,20}", fullmatch=True), VALUES))
def test_parameter_file_is_read_by_pyyaml_to_the_same_values(config: dict[str, object]) -> None:
    config.pop("wandb_version", None)
    found = yaml.safe_load(param_file_text(config))
    assert found.pop("wandb_version") == 1
    assert {name: entry["value"] for name, entry in found.items()} == config
    assert repr({n: e["value"] for n, e in found.items()}) == repr(config)
