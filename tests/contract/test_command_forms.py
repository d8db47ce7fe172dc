"""Sweep files of every form: the trainer's argv is the one of `wandb sweep` and `wandb agent`.

Each file of command_forms/ is created at one embedded server by the real `wandb sweep`, and by what
`init`, `submit` and `local` use. The real stock agent runs what we created, our agent what the
stock client created, and the trainer writes down its own command line. What both ought to be is the
expansion of the real client for the very values that the server handed out.
"""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps import utils as newest_client

from sweepctl.search.next_params import next_params
from sweepctl.sweepfile.load import SweepSpec, load_sweep
from sweepctl.sweepfile.preview import preview_runs
from sweepctl.sweeps.api import WandbApi
from sweepctl.sweeps.create import create_sweep
from sweepctl_pod.command import DEFAULT_COMMAND, KNOWN_MACROS, uses_args
from sweepctl_pod.errors import SpecError
from sweepctl_pod.overrides import Grammar, overrides_from_config
from sweepctl_pod.run_parameters import run_parameters
from sweepctl_pod.stored_form import stored_config
from sweepctl_pod.trainer.in_trainer import read_yaml
from sweepctl_pod.trainer.resolve import resolve
from sweepctl_pod.wandb.client import Connection, WandbClient
from tests.contract.agents import SOURCES
from tests.contract.wheels import Wheel, unpacked
from tests.serving import API_KEY, ServerProcess, sdk_environ

FORMS = Path(__file__).with_name("command_forms")
WANDBS = sorted(FORMS.glob("*.yaml"))
"""What W&B takes as it stands: the stock command line creates it as well."""
DRAWN = sorted((FORMS / "drawn").glob("*.yaml"))
"""What W&B takes, and only W&B's own engine chooses values for: here they are drawn."""
OURS = sorted((FORMS / "ours").glob("*.yaml"))
"""What only sweepctl flattens, and commands that have overrides: the wrapper's under any agent."""
REFUSED = sorted((FORMS / "refused").glob("*.yaml"))
OLDEST = Wheel(
    "wandb", "0.16.6", "5810019a3b981c796e98ea58557a7c380f18834e0c6bdaed15df115522e5616e"
)
VARIABLES = {"FORM_A": "a value", "FORM_B": "b", "FORM_MACRO": "${args_no_hyphens}"}

CREATE = """
import contextlib, io, json, re, sys
from wandb.cli.cli import cli
made = {}
for file in sys.argv[1:]:
    said, problem = io.StringIO(), ""
    with contextlib.redirect_stderr(said):
        try:
            cli(["sweep", "--entity", "local", "--project", "stock", file], standalone_mode=False)
        except (Exception, SystemExit) as error:
            problem = repr(error)
    found = re.search(r"sweep with ID: (\\S+)", said.getvalue())
    made[file] = {"id": found and found[1], "said": said.getvalue() + problem}
print(json.dumps(made))
"""
TAKE = """
import sys
from wandb import wandb_agent
wandb_agent.Agent.POLL_INTERVAL = 0.2
for name in sys.argv[1:]:
    wandb_agent.run_agent(name)
"""


def old_client() -> ModuleType:
    """Give the expansion of the oldest client: these parts of its source, no more."""
    source = (unpacked(OLDEST) / "wandb/sdk/launch/sweeps/utils.py").read_text()
    wanted = (
        "import json",
        "import os",
        "import re",
        "from typing",
        "DEFAULT_SWEEP_COMMAND",
        "SWEEP_COMMAND_ENV_VAR_REGEX",
        "def create_sweep_command",
    )
    kept = [node for node in ast.parse(source).body if ast.unparse(node).startswith(wanted)]
    module = ModuleType("wandb_0_16_6")
    exec(compile(ast.Module(kept, []), "utils.py", "exec"), module.__dict__)
    return module


def clients_argv(
    client: ModuleType, command: object, program: object, args: Mapping[str, Any]
) -> list[Any]:
    """Expand a command as the client's agent does (wandb_agent.py, `_command_run`)."""
    wrapped = {"args": {name: {"value": value} for name, value in args.items()}}
    words = client.create_sweep_command(list(command) if isinstance(command, list) else [])
    found = client.create_sweep_command_args(wrapped)
    found |= {"interpreter": ["python"], "program": [program], "env": ["/usr/bin/env"]}
    found["args_json_file"] = [f"FILE {found['args_json'][0]}"]
    argv: list[Any] = []
    for word in map(str, words):
        is_macro = word.startswith("${") and word.endswith("}")
        argv += (found.get(word[2:-1]) or []) if is_macro else [word]
    return argv


def expected_argv(
    config: Mapping[str, Any], args: Mapping[str, Any], client: ModuleType = newest_client
) -> list[Any]:
    """Give what the trainer of a run finds on its command line.

    The programs before it are gone by then, and W&B knows no overrides: they are put in here.
    """
    command = config.get("command")
    if isinstance(command, list) and "sweepctl.pod.run" in command:
        command = command[command.index("sweepctl.pod.run") + 1 :]
        overrides = [o.text(Grammar.LITERAL) for o in overrides_from_config(args)]
        if "${overrides}" in command:
            place = command.index("${overrides}")
            command = [*command[:place], *overrides, *command[place + 1 :]]
        elif not any("${args" in word for word in command):
            command = [*command, *overrides]
    return without_launcher(clients_argv(client, command, config.get("program"), args))


@dataclass(frozen=True)
class Run:
    """One run: what the server handed out, and what the trainer found on its command line."""

    handed_out: Mapping[str, Any]
    argv: list[str]
    parameters: Mapping[str, Any]
    """What is in the file of $WANDB_SWEEP_PARAM_PATH."""


@dataclass(frozen=True)
class Form:
    """A sweep file, what was stored of it, and its runs."""

    file: Path
    stored_by_stock: Any
    """The config as the stock client sent it; None where it does not take the file."""
    stored: Mapping[str, Any]
    under_stock: list[Run]
    """The stock agent's runs of the sweep that we created."""
    under_ours: list[Run]
    """Our agent's runs of the sweep that the stock client created, where it can."""


class Stage:
    """A server on which both create sweeps and both run them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ServerProcess(folder / "data")
        self.connection = Connection(self.server.url, API_KEY, "local")
        self.client = WandbClient(self.connection)
        self.out = folder / "records"
        self.out.mkdir()
        shutil.copy(FORMS / "dump_argv.py", folder)
        self.environ = {
            **sdk_environ(self.server.url, folder / "home"),
            **VARIABLES,
            "FORMS_OUT": str(self.out),
            "PYTHONPATH": SOURCES,
            "WANDB_DIR": str(folder),
            "SWEEPCTL_WORK": str(folder / "work"),
            "SWEEPCTL_PREFLIGHT_GPU": "off",
            "SWEEPCTL_MIN_FREE_MB": "1",
            "SWEEPCTL_GRAMMAR": "literal",
            "TERMINATION_LOG": str(folder / "termination-log"),
        }

    def run(self, *command: str, **environ: str) -> str:
        """Run this Python in the stage's folder to its good end; give its stdout."""
        done = subprocess.run(
            [sys.executable, *command],
            env={**self.environ, **environ},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def create_by_stock(self, files: Sequence[Path]) -> dict[Path, dict[str, str]]:
        """Have `wandb sweep` create sweeps; give the id, and what was said, by file."""
        said = self.run("-c", CREATE, *map(str, files), WANDB_SILENT="false")
        made = json.loads(said.splitlines()[-1])
        return {file: made[str(file)] for file in files}

    def create_by_us(self, file: Path, project: str) -> str:
        """Create a sweep as `init`, `submit` and `local` do; give its id."""
        api = WandbApi(self.connection, on_wait=print)
        return create_sweep(api, load_sweep(str(file)), "local", project).id

    def stored(self, project: str, sweep: str) -> Any:
        """Give a sweep's config as the server has it."""
        return yaml.safe_load(self.client.sweep("local", project, sweep).config_text)

    def runs(self, project: str, sweep: str) -> list[Run]:
        """Give the runs of a sweep whose trainer was started."""
        return [
            read_record(record, run.config)
            for run in self.client.runs("local", project, sweep)
            if (record := self.out / f"{run.id}.json").exists()
        ]


def read_record(record: Path, handed_out: Mapping[str, Any]) -> Run:
    """Read what a trainer wrote down; a file of arguments stands with its content."""
    said = json.loads(record.read_text())
    argv = [
        f"FILE {said['files'][word]}" if word in said["files"] else word for word in said["argv"]
    ]
    parameters = yaml.safe_load(said["parameters"])
    assert parameters.pop("wandb_version") == 1
    return Run(handed_out, argv, {name: entry["value"] for name, entry in parameters.items()})


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Give a server with nothing on it."""
    stage = Stage(tmp_path_factory.mktemp("forms"))
    yield stage
    stage.server.kill()


@pytest.fixture(scope="module")
def forms(stage: Stage) -> dict[str, Form]:
    """Create every sweep in both ways, and have each run by the other's agent."""
    by_stock = stage.create_by_stock(WANDBS)
    for made in by_stock.values():
        assert made["id"], made["said"]
    for_stock = {file: stage.create_by_us(file, "for-stock") for file in (*WANDBS, *OURS)}
    for_ours = {file: ("stock", by_stock[file]["id"]) for file in WANDBS}
    for_ours |= {file: ("for-ours", stage.create_by_us(file, "for-ours")) for file in OURS}
    stage.run("-c", TAKE, *(f"local/for-stock/{sweep}" for sweep in for_stock.values()))
    for project, sweep in for_ours.values():
        stage.run("-S", "-m", "sweepctl_pod", "--sweep", f"local/{project}/{sweep}")
    return {
        file.stem: Form(
            file,
            stage.stored(*for_ours[file]) if file in WANDBS else None,
            stage.stored("for-stock", for_stock[file]),
            stage.runs("for-stock", for_stock[file]),
            stage.runs(*for_ours[file]),
        )
        for file in (*WANDBS, *OURS)
    }


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the variables that the commands name."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("file", [*WANDBS, *OURS], ids=lambda file: file.stem)
def test_argv_is_the_real_clients_under_either_agent(file: Path, forms: dict[str, Form]) -> None:
    form = forms[file.stem]
    for runs in (form.under_stock, form.under_ours):
        assert runs, "no trainer was started"
        for run in runs:
            assert run.argv == expected_argv(form.stored, run.handed_out)
            assert repr(run.parameters) == repr(run.handed_out)
    if form.stored["method"] == "grid":
        argvs = [sorted(run.argv for run in runs) for runs in (form.under_stock, form.under_ours)]
        assert argvs[0] == argvs[1]


@pytest.mark.parametrize("file", WANDBS, ids=lambda file: file.stem)
def test_what_is_sent_is_what_the_stock_client_sends(file: Path, forms: dict[str, Form]) -> None:
    stored, by_stock = dict(forms[file.stem].stored), dict(forms[file.stem].stored_by_stock)
    # By the mark in its description a sweep is found again when the answer to its creation is lost.
    description = stored.pop("description").partition("sweepctl:")[0].strip()
    assert description == by_stock.pop("description", "")
    assert stored == by_stock
    for name, form in stored["parameters"].items():
        assert repr(sorted(form.items())) == repr(sorted(by_stock["parameters"][name].items()))


def heartbeats(config: Mapping[str, Any], count: int = 4) -> Iterator[dict[str, Any]]:
    """Draw what a server may hand out, also with each 1.0 that JSON has made 1."""
    rng = random.Random(3)
    spec = {**config, "method": "random"}
    for _ in range(count):
        sampled = next_params(spec, [], rng) or {}
        yield json.loads(json.dumps(sampled))
        yield shortened(sampled)


def shortened(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shortened(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.parametrize("client", ["oldest", "newest"])
@pytest.mark.parametrize("file", [*WANDBS, *DRAWN], ids=lambda file: file.stem)
def test_expansion_is_each_clients_for_whatever_is_handed_out(file: Path, client: str) -> None:
    spec = load_sweep(str(file))
    config = spec.to_wandb_config()
    module = old_client() if client == "oldest" else newest_client
    if client == "oldest" and {"${args_append_hydra}", "${args_override_hydra}"} & set(
        map(str, spec.command or ())
    ):
        pytest.skip("the oldest client has no such macro")
    for args in heartbeats(config):
        assert resolved(spec, args) == expected_argv(config, args, module)


def resolved(spec: SweepSpec, args: Mapping[str, Any]) -> list[str]:
    """Give the trainer's argv as our agent makes it of what was handed out."""
    found = resolve(
        spec.command or DEFAULT_COMMAND,
        program=spec.program,
        parameters=run_parameters(args, spec.config["parameters"]),
        run_id="r",
        entity="local",
        project="p",
        grammar=Grammar.LITERAL,
        environ=os.environ,
        args_json_file=f"FILE {json.dumps(args)}",
    )
    return without_launcher(list(found.argv))


def without_launcher(argv: list[Any]) -> list[Any]:
    """Leave out a shell's, and `env` with what it sets: they are gone when the trainer runs."""
    if argv[:2] == ["sh", "-c"]:
        argv = argv[4:]
    while argv[0] == "/usr/bin/env" or "=" in argv[0]:
        argv = argv[1:]
    return argv


@pytest.fixture(scope="module")
def refusals(stage: Stage) -> dict[str, str]:
    """Give what W&B's side says to each file that we refuse."""
    found = {}
    for file, made in stage.create_by_stock(REFUSED).items():
        config = yaml.safe_load(file.read_text())
        cannot_start = None in clients_argv(
            newest_client, config.get("command"), config.get("program"), {}
        )
        if made["id"] and cannot_start:
            found[file.stem] = "its agent cannot start a program that has no name"
        elif not made["id"]:
            found[file.stem] = re.sub(r"(?s).*CommError\(.|(\\n)?.\)\)$", "", made["said"].strip())
    return found


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_what_we_refuse_is_refused_there_too(file: Path, refusals: dict[str, str]) -> None:
    assert file.stem in refusals
    with pytest.raises(SpecError):
        load_sweep(str(file))


@pytest.mark.parametrize("file", [*WANDBS, *DRAWN, *OURS], ids=lambda file: file.stem)
def test_chart_sends_and_preview_shows_the_same(file: Path) -> None:
    spec = load_sweep(str(file))
    assert repr(stored_config(read_yaml(file.read_bytes()))) == repr(spec.to_wandb_config())
    seen = preview_runs(spec, count=2, grammar=Grammar.LITERAL, environ=VARIABLES, expand_env=True)
    for number, run in enumerate(seen, start=1):
        argv = expected_argv(spec.config, run.parameters)
        path, words = f"parameters-preview{number}.json", list(run.command)
        words = [f"FILE {json.dumps(run.parameters)}" if word == path else word for word in words]
        assert without_launcher(words) == argv


COMPANIONS = {
    "agent.rate": {"values": [1, 2]},
    "agent.rate_type": {"value": "float"},
    "gain": {"value": 2},
    "gain_type": {"value": "float"},
    "gain_cli_path": {"value": "env.gains"},
    "gain_base_dict": {"value": '{"k": 1.5}'},
    "lr": {"value": 3},
    "lr_type": {"value": "float"},
    "policy": {"value": "mlp"},
    "policy_type": {"value": "str"},
}
"""What sweeps of WBC-AGILE and of earlier versions hold; the policy's type is a parameter."""


def test_companions_of_older_sweeps_are_used_and_passed_on_by_no_macro(stage: Stage) -> None:
    macros = [macro for macro in KNOWN_MACROS if "args" in macro]
    config = {
        **{"method": "grid", "metric": {"name": "loss", "goal": "minimize"}},
        **{"program": "dump_argv.py", "parameters": COMPANIONS},
        "command": ["python", "${program}", "${overrides}", *macros],
    }
    sweep = stage.client.create_sweep("local", "older", json.dumps(config))
    stage.run("-S", "-m", "sweepctl_pod", "--sweep", f"local/older/{sweep.id}")
    runs = stage.runs("older", sweep.id)
    assert len(runs) == 2
    for run in runs:
        rate = run.handed_out["agent.rate"]
        kept = {
            name: value
            for name, value in run.handed_out.items()
            if not name.endswith("_type") or name == "policy_type"
        }
        command = ["python", "${program}", f"agent.rate={rate}.0", "env.gains={'k':3.0}", *macros]
        assert run.argv == clients_argv(newest_client, command, "dump_argv.py", kept)
        assert run.parameters == kept


@pytest.mark.parametrize("name", ["default-command", "args-no-hyphens", "wrapper-args"])
def test_local_gives_the_trainer_the_same(name: str, stage: Stage, tmp_path: Path) -> None:
    out = tmp_path / "records"
    out.mkdir()
    stage.run(
        *("-m", "sweepctl", "local", str(FORMS / f"{name}.yaml"), "--agents", "1"),
        *("--data", str(tmp_path / "data")),
        FORMS_OUT=str(out),
        WANDB_BASE_URL="",
    )
    config = load_sweep(str(FORMS / f"{name}.yaml")).to_wandb_config()
    records = [read_record(record, {}) for record in out.glob("*.json")]
    assert len(records) == 2
    for run in records:
        assert run.argv == expected_argv(config, run.parameters)


def test_table_of_all_forms(
    forms: dict[str, Form], refusals: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [("FILE", "METHOD", "PARAMETERS GO BY", "RUNS", "ARGV")]
    for name, form in forms.items():
        command = form.stored.get("command") or []
        macros = [str(w) for w in command if uses_args([w]) or w == "${overrides}"]
        runs = [*form.under_stock, *form.under_ours]
        equal = sum(run.argv == expected_argv(form.stored, run.handed_out) for run in runs)
        by = "all macros" if len(macros) > 5 else " ".join(dict.fromkeys(macros))
        by = by or ("${args}, by default" if not form.stored.get("command") else "")
        by = by or ("overrides at the end" if "sweepctl.pod.run" in command else "nothing")
        verdict = "equal" if equal == len(runs) else f"{len(runs) - equal} DIFFER"
        rows.append((name, form.stored["method"], by, str(len(runs)), verdict))
    for file in DRAWN:
        spec = load_sweep(str(file))
        drawn = [*heartbeats(spec.to_wandb_config())]
        same = all(resolved(spec, args) == expected_argv(spec.config, args) for args in drawn)
        verdict = "equal" if same else "DIFFERS"
        rows.append((file.stem, spec.method, "${args_no_hyphens}", f"{len(drawn)} drawn", verdict))
    accepted = len(rows)
    for file in REFUSED:
        rows.append((file.stem, "", "", "", f"refused by both: {refusals[file.stem]}"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    with capsys.disabled():
        print()
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
            print("  ".join(cells), row[4])
    assert accepted > 30
    assert all(row[4] == "equal" for row in rows[1:accepted])
