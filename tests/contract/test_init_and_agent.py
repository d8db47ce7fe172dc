"""`init` and `agent`, the ancestor's two scripts, at a server that the environment names."""

import http.server
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Sdk
from tests.serving import ServerProcess, sdk_environ

TRAINER = """
import wandb
run = wandb.init()
run.log({"reward": run.config["x"]})
run.finish()
"""

Sweepctl = Callable[..., tuple[int, str, str]]


class LossyProxy(http.server.ThreadingHTTPServer):
    """Passes requests on, but answers 502 in place of the first `losses` answers to `operation`."""

    daemon_threads = True

    def __init__(self, target: str, operation: str, losses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target, self.operation, self.losses = target, operation.encode(), losses
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Passing(http.server.BaseHTTPRequestHandler):
    server: LossyProxy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
        request = urllib.request.Request(self.server.target + self.path, body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, said = answer.status, answer.read()
        if self.server.operation in body and self.server.losses > 0:
            self.server.losses -= 1
            status, said = 502, b"lost"
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def lossy(server: ServerProcess) -> Iterator[Callable[[str, int], LossyProxy]]:
    proxies: list[LossyProxy] = []

    def start(operation: str, losses: int) -> LossyProxy:
        proxies.append(LossyProxy(server.url, operation, losses))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.shutdown()
        proxy.server_close()


@pytest.fixture
def sweepctl(tmp_path: Path) -> Sweepctl:
    """Run the command line in a process of its own, in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(TRAINER)
    sweep: dict[str, Any] = {
        "method": "grid",
        "metric": {"name": "reward", "goal": "maximize"},
        "command": [sys.executable, "train.py"],
        "parameters": {"x": {"values": [1.0, 2.0, 3.0]}},
    }
    (folder / "sweep.yaml").write_text(json.dumps(sweep))

    def run(url: str, *arguments: str, **environ: str) -> tuple[int, str, str]:
        home = sdk_environ(url, tmp_path / "home")
        done = subprocess.run(
            [sys.executable, "-m", "sweepctl", *arguments],
            env={**home, "PYTHONPATH": os.getcwd(), **environ},
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    return run


def sweeps_of(server: ServerProcess, project: str) -> list[str]:
    answer = server.graphql(
        'query($p: String!) { project(name: $p, entityName: "local")'
        " { sweeps(first: 50) { edges { node { name } } } } }",
        {"p": project},
    )
    found = answer["project"]
    return [edge["node"]["name"] for edge in found["sweeps"]["edges"]] if found else []


@pytest.mark.parametrize("losses", [0, 1, 3])
def test_init_creates_one_sweep_whatever_answers_are_lost(
    server: ServerProcess,
    lossy: Callable[[str, int], LossyProxy],
    sweepctl: Sweepctl,
    losses: int,
) -> None:
    proxy = lossy("upsertSweep", losses)
    code, out, err = sweepctl(proxy.url, "init", "sweep.yaml", "--project_name", "legs")
    assert code == 0, err
    (sweep,) = sweeps_of(server, "legs")
    assert out == f"sweep/local/legs/{sweep} created\n"
    assert proxy.losses == max(0, losses - 1), "it looks before it creates again"


def test_a_sweep_that_names_no_project_is_found_by_the_wandb_client(
    server: ServerProcess, sweepctl: Sweepctl, sdk: Sdk
) -> None:
    code, out, err = sweepctl(server.url, "init", "sweep.yaml")
    assert code == 0, err
    path = out.split()[0].partition("/")[2]
    asked = "import json, sys, wandb; print(json.dumps(wandb.Api().sweep(sys.argv[1]).id))"
    assert sdk.ask(asked, path) == path.rpartition("/")[2]


def test_init_then_agents_in_turn_take_every_run_once(
    server: ServerProcess, sweepctl: Sweepctl, tmp_path: Path
) -> None:
    code, out, err = sweepctl(server.url, "init", "sweep.yaml", "--project_name", "legs")
    assert code == 0, err
    (sweep,) = sweeps_of(server, "legs")
    assert json.loads((tmp_path / "work" / "sweep_ids.json").read_text()) == {"legs": sweep}
    assert f"/local/legs/sweeps/{sweep}" in err
    taken = ("agent", "--project_name", "legs", "--agent_count")
    code, out, err = sweepctl(server.url, *taken, "2")
    assert code == 0, out + err
    code, out, err = sweepctl(server.url, *taken, "15")
    assert code == 0, out + err
    code, out, err = sweepctl(
        server.url, "status", f"local/legs/{sweep}", "-o", "json", "--server", server.url
    )
    assert code == 0, err
    seen = json.loads(out)
    assert (seen["state"], seen["counts"]) == ("FINISHED", {"finished": 3})
    assert sorted(run["metric"] for run in seen["runs"]) == [1.0, 2.0, 3.0]
    code, out, err = sweepctl(server.url, "best", f"legs/{sweep}", "--top", "1", "-o", "json")
    assert code == 0, err
    assert json.loads(out)["runs"][0]["metric"] == {"reward": 3.0}


@pytest.mark.parametrize(
    ("trainer", "code", "taken"),
    [
        pytest.param("raise SystemExit('no GPU')", 3, 3, id="all fail: it gives up"),
        pytest.param(
            TRAINER.replace("wandb.init()", "wandb.init(); assert run.config['x'] > 1.5"),
            0,
            5,
            id="some fail",
        ),
    ],
)
def test_agents_exit_code_tells_whether_all_its_runs_failed(
    server: ServerProcess, sweepctl: Sweepctl, tmp_path: Path, trainer: str, code: int, taken: int
) -> None:
    folder = tmp_path / "work"
    sweep = json.loads((folder / "sweep.yaml").read_text())
    sweep["parameters"] = {"x": {"values": [1.0, 2.0, 3.0, 4.0, 5.0]}}
    (folder / "sweep.yaml").write_text(json.dumps(sweep))
    (folder / "train.py").write_text(trainer)
    assert sweepctl(server.url, "init", "sweep.yaml", "--project_name", "legs")[0] == 0
    told = sweepctl(server.url, "agent", "--project_name", "legs", "--agent_count", "9")
    assert told[0] == code, told
    assert ("gave up after 3 runs" in told[1] + told[2]) == (code == 3)
    (name,) = sweeps_of(server, "legs")
    _, out, _ = sweepctl(server.url, "status", f"local/legs/{name}", "-o", "json")
    assert len(json.loads(out)["runs"]) == taken


def test_a_limit_that_is_no_number_is_refused(sweepctl: Sweepctl) -> None:
    code, _, err = sweepctl(
        "http://127.0.0.1:9",
        *("agent", "--sweep", "local/p/s", "--max-initial-failures", "many"),
    )
    assert code == 2
    assert "--max-initial-failures many: expected a number of runs" in err


def test_refused_key_is_one_error_that_says_how_to_log_in(
    start_server: Callable[..., ServerProcess], sweepctl: Sweepctl, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("k" * 40 + "\n")
    server = start_server("--api-keys", str(keys))
    wrong = "w" * 40
    arguments = ("init", "sweep.yaml", "--project_name", "legs")
    code, out, err = sweepctl(server.url, *arguments, WANDB_API_KEY=wrong)
    assert (code, out) == (1, "")
    assert "refused the API key (401)" in err
    assert "set WANDB_API_KEY" in err
    assert wrong not in err
    assert not (tmp_path / "work" / "sweep_ids.json").exists()
    code, out, err = sweepctl(server.url, *arguments, WANDB_API_KEY="k" * 40)
    assert code == 0, err


def test_key_and_address_are_found_in_netrc_as_the_wandb_client_does(
    start_server: Callable[..., ServerProcess], sweepctl: Sweepctl, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("k" * 40 + "\n")
    server = start_server("--api-keys", str(keys))
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {'k' * 40}\n")
    netrc.chmod(0o600)
    code, out, err = sweepctl(
        server.url,
        *("init", "sweep.yaml", "--project_name", "legs"),
        WANDB_API_KEY="",
        NETRC=str(netrc),
    )
    assert code == 0, err
    assert out.startswith("sweep/local/legs/")


def test_a_server_that_is_away_is_an_error_with_its_address(
    sweepctl: Sweepctl, tmp_path: Path
) -> None:
    code, out, err = sweepctl(
        "http://127.0.0.1:9",
        *("init", "sweep.yaml", "--project_name", "legs"),
        SWEEPCTL_PATIENCE_S="1",
    )
    assert (code, out) == (1, "")
    assert "cannot reach http://127.0.0.1:9" in err
    assert "Traceback" not in err
    assert not (tmp_path / "work" / "sweep_ids.json").exists()
