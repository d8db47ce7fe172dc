"""The wheel in an environment of its own: what it brings, and that it works without any extra."""

import base64
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from tests import needs
from tests.testbed.binaries import module, programs

ROOT = Path(__file__).parents[2]
TRAINER = Path(__file__).with_name("plain_trainer.py")
UV = [sys.executable, "-m", "uv"]
EXTRAS = ("wandb", "pyarrow", "pandas", "sweeps", "scikit-learn", "torch", "matplotlib")
"""What only an extra may bring."""


def locked() -> str:
    """Give the versions of requirements.lock, as constraints."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return "\n".join(line.removesuffix("\\") for line in lines if re.match(r"[a-z0-9-]+==", line))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from that: what is published is what is tried."""
    folder = tmp_path_factory.mktemp("dist")
    command = [*UV, "build", "-q", "-o", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the `bin` of an environment with the wheel and what it demands, nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    versions = folder / "versions.txt"
    versions.write_text(locked())
    environment = folder / "venv"
    for command in (
        [*UV, "venv", "-q", "-p", sys.executable, str(environment)],
        [*UV, "pip", "install", "-q", "-p", str(environment), "-c", str(versions), str(wheel)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return environment / "bin"


def run(bin: Path, *arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the installed sweepctl with nothing but its own environment."""
    environ = {"PATH": f"{bin}:/usr/bin:/bin", "HOME": str(cwd), "SWEEPCTL_MIN_FREE_MB": "1"}
    environ |= more
    command = [str(bin / "sweepctl"), *arguments]
    return subprocess.run(
        command, env=environ, cwd=cwd, capture_output=True, text=True, timeout=300
    )


def sources(folder: Path) -> dict[str, bytes]:
    """Give what Git would hold of a folder."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }


def test_wheel_holds_both_packages_and_the_chart_whole_and_no_bytecode(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    chart = sources(ROOT / "charts" / "isaac-sweep")
    code = sources(ROOT / "charts" / "isaac-sweep" / "files" / "sweepctl_pod")
    expected = {f"sweepctl/{name}": data for name, data in sources(ROOT / "sweepctl").items()}
    expected |= {f"sweepctl/chart/{name}": data for name, data in chart.items()}
    expected |= {f"sweepctl_pod/{name}": data for name, data in code.items()}
    assert {"sweepctl/py.typed", "sweepctl_pod/py.typed", "sweepctl/chart/.helmignore"} <= set(held)
    metadata = {name for name in held if ".dist-info/" in name}
    assert {name: data for name, data in held.items() if name not in metadata} == expected


def test_sdist_holds_no_bytecode_and_all_that_a_wheel_is_made_of(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {entry.name.partition("/")[2] for entry in tar if entry.isfile()}
    assert [name for name in names if name.endswith(".pyc")] == []
    for folder in ("sweepctl", "charts/isaac-sweep"):
        assert {f"{folder}/{name}" for name in sources(ROOT / folder)} <= names


@pytest.fixture(scope="module")
def compiled(installed: Path) -> Path:
    """Compile what is installed, chart and all, as installers and packagers do."""
    (packages,) = (installed.parent / "lib").glob("python3*/site-packages")
    for name in ("sweepctl", "sweepctl_pod"):
        for legacy in ([], ["-b"]):
            command = [str(installed / "python"), "-m", "compileall", "-q", *legacy]
            subprocess.run([*command, str(packages / name)], check=True, capture_output=True)
    chart = packages / "sweepctl" / "chart"
    code = chart / "files" / "sweepctl_pod"
    assert (code / "agent.pyc").is_file()
    assert list((code / "__pycache__").glob("agent.*.pyc"))
    assert (packages / "sweepctl_pod" / "agent.pyc").is_file()
    return chart


def decided(rendered: str) -> tuple[str, str, Any]:
    """Give the names of the Job and of the pod code, and the code itself."""
    objects = [thing for thing in yaml.safe_load_all(rendered) if thing]
    (job,) = (thing["metadata"]["name"] for thing in objects if thing["kind"] == "Job")
    ((code, files),) = (
        (thing["metadata"]["name"], thing["data"])
        for thing in objects
        if thing["kind"] == "ConfigMap" and "-code-" in thing["metadata"]["name"]
    )
    return job, code, files


def test_compiled_wheel_renders_what_the_checkout_renders(
    installed: Path, compiled: Path, sweep: Path
) -> None:
    render = ("render", "sweep.yaml", "--name", "legs", "-n", "robots")
    here = subprocess.run(
        [sys.executable, "-m", "sweepctl", *render], cwd=sweep, capture_output=True, text=True
    )
    assert here.returncode == 0, here.stderr
    there = run(installed, *render, cwd=sweep)
    assert there.returncode == 0, there.stderr
    assert decided(there.stdout) == decided(here.stdout)


def test_helm_renders_the_chart_of_a_compiled_wheel_as_the_checkout_does(
    compiled: Path, sweep: Path
) -> None:
    helm = needs.got(programs, module("helm"), os.environ, print)["helm"]
    rendered = []
    for chart in (compiled, ROOT / "charts" / "isaac-sweep"):
        command = [str(helm), "template", "legs", str(chart), "-n", "robots"]
        done = subprocess.run(
            [*command, "--set-file", "sweep=sweep.yaml"],
            env={"PATH": os.environ["PATH"], "HOME": str(sweep)},
            cwd=sweep,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        rendered.append(done.stdout)
    assert rendered[0] == rendered[1]


class EmptyCluster(BaseHTTPRequestHandler):
    """A cluster with a namespace, the Secret of the API key, and nothing else."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        status = 404
        body: dict[str, Any] = {"kind": "Status", "status": "Failure", "reason": "NotFound"}
        if path.endswith("/namespaces/robots"):
            status, body = 200, {"kind": "Namespace", "metadata": {"name": "robots"}}
        elif path.endswith("/secrets/wandb"):
            data = {"apiKey": base64.b64encode(b"k" * 40).decode()}
            status, body = 200, {"kind": "Secret", "metadata": {"name": "wandb"}, "data": data}
        elif re.fullmatch(r"/apis?/([a-z.0-9]+/)?v[0-9]+/(namespaces/robots/)?[a-z]+", path):
            status, body = 200, {"kind": "List", "metadata": {}, "items": []}
        self.answer(status, json.dumps(body).encode())

    def do_POST(self) -> None:
        """Admit whatever is tried: the real one is asked for a dry run."""
        assert "dryRun=All" in self.path
        self.answer(201, self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyCluster) as served:
        Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{served.server_port}"
        context = {"cluster": "c", "user": "u", "namespace": "robots"}
        config = {
            **{"apiVersion": "v1", "kind": "Config", "current-context": "c"},
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "contexts": [{"name": "c", "context": context}],
            "users": [{"name": "u", "user": {}}],
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        yield str(tmp_path / "kubeconfig")
        served.shutdown()


def test_submit_says_without_an_extra_what_it_would_make(
    installed: Path, sweep: Path, kubeconfig: str
) -> None:
    arguments = ("submit", "sweep.yaml", "--name", "legs", "--agents", "2", "--with-server")
    done = run(installed, *arguments, "--dry-run=client", cwd=sweep, KUBECONFIG=kubeconfig)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert re.search(r"configmap/legs-code-[0-9a-f]{8} created \(dry run\)", said), said
    assert re.search(r"job(\.batch)?/legs-[0-9a-f]{8} created \(dry run\)", said), said


def test_wheel_brings_no_package_of_an_extra(installed: Path) -> None:
    command = [*UV, "pip", "list", "-q", "-p", str(installed.parent), "--format", "json"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = {package["name"] for package in json.loads(listed)}
    assert "sweepctl" in names
    assert not names & set(EXTRAS)


def test_every_module_is_imported_without_an_extra(installed: Path) -> None:
    code = (
        "import importlib, pkgutil, sweepctl, sweepctl_pod\n"
        "for package in (sweepctl, sweepctl_pod):\n"
        "    for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
    )
    command = [str(installed / "python"), "-P", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "validate"),
        (["validate", "sweep.yaml"], 0, ""),
        (["preview", "sweep.yaml", "-n", "1"], 0, "plain_trainer.py"),
        (["render", "sweep.yaml", "--agents", "2"], 0, "kind: Job"),
    ],
    ids=["help", "validate", "preview", "render"],
)
def test_verb_works_without_an_extra(
    installed: Path, sweep: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(installed, *arguments, cwd=sweep)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout


def test_sweep_is_trained_without_an_extra(installed: Path, sweep: Path) -> None:
    done = run(installed, "local", "sweep.yaml", "--agents", "2", cwd=sweep)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (sweep / "ledger").read_text().count("done") == 2


def test_verb_that_wants_an_extra_names_it(installed: Path, sweep: Path) -> None:
    done = run(installed, "report", "--to", "tables", cwd=sweep)
    assert (done.returncode, done.stdout) == (1, "")
    first, hint = done.stderr.splitlines()
    assert first == "error: report needs pyarrow and wandb, which are not installed"
    assert re.fullmatch(r"  run `uv pip install -p \S+ 'sweepctl\[report\] @ file://\S+'`", hint)
    assert not (sweep / "tables").exists()


def test_advice_to_log_in_names_no_program_that_is_not_there(installed: Path, sweep: Path) -> None:
    done = run(installed, "init", "sweep.yaml", "--project_name", "p", cwd=sweep)
    assert done.returncode == 2
    named = re.findall(r"`(\S+) [^`]*`", done.stderr)
    there = f"{installed}:/usr/bin:/bin".split(":")
    for program in set(named) - {"machine"}:
        assert any(os.access(Path(folder, program), os.X_OK) for folder in there), done.stderr
    assert "set WANDB_API_KEY" in done.stderr


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Give a folder with the sweep of a trainer that needs no package at all."""
    command = [sys.executable, "-S", str(TRAINER), str(tmp_path / "ledger"), "log", "note:done"]
    document = {
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "command": [*command, "${overrides}"],
        "parameters": {"env.gain": {"values": [1.5, 2.5]}},
    }
    (tmp_path / "sweep.yaml").write_text(json.dumps(document))
    return tmp_path
