"""A server whose certificate is not trusted: what is said, and when nothing is checked."""

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweepctl_pod.wandb.connection import connection_from_environ
from tests import needs


class Handler(http.server.BaseHTTPRequestHandler):
    """Knows one user, and asks for no key."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps({"data": {"viewer": {"id": "1", "entity": "me"}}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Secure:
    """A server behind TLS and the file with its CA."""

    url: str
    ca: Path


def serve(folder: Path, names: str) -> Iterator[Secure]:
    needs.program("openssl", "openssl")
    ca, key = folder / "ca.crt", folder / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=w"]
    made += ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(ca)]
    subprocess.run(made, check=True, capture_output=True)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield Secure(f"https://127.0.0.1:{server.server_port}", ca)
    server.shutdown()
    server.server_close()


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Secure]:
    yield from serve(tmp_path, "IP:127.0.0.1")


@pytest.fixture
def misnamed(tmp_path: Path) -> Iterator[Secure]:
    yield from serve(tmp_path, "DNS:wandb.example.org")


ASK = """
import sys
from pathlib import Path
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import WandbClient, connection_from_environ
import os
for _ in range(2):
    client = WandbClient(connection_from_environ(os.environ, Path("/nowhere")), timeout_s=20)
    try:
        print(client.viewer_entity())
    except SweepctlError as error:
        print(error.message, error.hint, sep="\\n")
"""


def ask(url: str, **environ: str) -> tuple[list[str], str]:
    """Ask who one is, twice, in a child of its own; give the lines and what else is said."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**kept, "WANDB_BASE_URL": url, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def test_unknown_ca_is_told_with_the_variable_that_names_one(secure: Secure) -> None:
    lines, stderr = ask(secure.url)
    assert lines[0].startswith(f"cannot reach {secure.url}: its certificate is not trusted: self")
    assert "in SSL_CERT_FILE (for pods: the setting caBundle)" in lines[1]
    assert "WANDB_INSECURE_DISABLE_SSL=true" in lines[1]
    assert stderr == ""


def test_command_line_says_so_at_once(secure: Secure, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(
        "command: [x]\nmethod: grid\nparameters: {a: {value: 1}}\n"
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "WANDB_BASE_URL": secure.url}
    done = subprocess.run(
        [sys.executable, "-m", "sweepctl", "init", "sweep.yaml", "--project_name", "p"],
        env={**environ, "WANDB_API_KEY": "k" * 40, "SWEEPCTL_PATIENCE_S": "1000"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert f"error: cannot reach {secure.url}: its certificate is not trusted" in done.stderr
    assert "SSL_CERT_FILE" in done.stderr
    assert "trying again" not in done.stderr


def test_file_of_the_ca_is_enough(secure: Secure) -> None:
    assert ask(secure.url, SSL_CERT_FILE=str(secure.ca)) == (["me", "me"], "")


def test_file_of_the_ca_that_is_not_there_is_told(secure: Secure) -> None:
    lines, _ = ask(secure.url, SSL_CERT_FILE="/nowhere/ca.crt")
    assert lines[1] == "SSL_CERT_FILE names /nowhere/ca.crt, and there is no such file"


def test_certificate_of_another_host_is_not_a_matter_of_the_ca(misnamed: Secure) -> None:
    lines, _ = ask(misnamed.url, SSL_CERT_FILE=str(misnamed.ca))
    assert "IP address mismatch" in lines[0]
    assert lines[1] == "check WANDB_BASE_URL, the server's certificate and the clock here"


def test_no_certificate_is_checked_where_the_wandb_client_checks_none(misnamed: Secure) -> None:
    lines, stderr = ask(misnamed.url, WANDB_INSECURE_DISABLE_SSL="true")
    assert lines == ["me", "me"]
    assert stderr.count("WANDB_INSECURE_DISABLE_SSL is set") == stderr.count("\n") == 1


TURN_OFF = ("true", "True", "TRUE", "1", "yes", "y", "t", "on", "YES", "On")
DO_NOT = ("false", "0", "no", "off", "", "n", "f", "2", " true", "enabled", "None")


@pytest.mark.parametrize("word", [*TURN_OFF, *DO_NOT])
def test_words_that_turn_the_check_off_are_the_wandb_clients(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb import env

    monkeypatch.setenv("WANDB_INSECURE_DISABLE_SSL", word)
    ours = connection_from_environ(os.environ, Path("/nowhere"))
    assert ours.checks_certificate is not bool(env.ssl_disabled())
    assert ours.checks_certificate is (word in DO_NOT)
