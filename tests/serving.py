"""A real embedded server as a process of its own, for tests: start, kill, restart, ask."""

import base64
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

API_KEY = "local_server_on_loopback_needs_no_secret_key"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))

Found = TypeVar("Found")


def wait_for(
    what: str, probe: Callable[[], Found | None], limit_s: float = 90.0, pause_s: float = 0.05
) -> Found:
    """Call `probe` until it gives something; fail with `what` when it never does."""
    deadline = time.monotonic() + limit_s
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {limit_s:g} s")
        time.sleep(pause_s)


class ServerProcess:
    """One embedded server on a free loopback port; a restart listens on the same port.

    It asks for no key, unless it is given keys or is to ask for that of its folder.
    """

    def __init__(
        self, data: Path, *options: str, wrapper: tuple[str, ...] = (), is_keyed: bool = False
    ) -> None:
        self.data = data
        has_keys = is_keyed or "--api-keys" in options
        self.options = options if has_keys else (*options, "--keyless")
        self.log_path = data.with_name(data.name + ".log")
        self._wrapper = wrapper
        self._process: subprocess.Popen[str] | None = None
        self.url = ""
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server said on stderr so far."""
        return self.log_path.read_text()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        listen = self.url.removeprefix("http://") or "127.0.0.1:0"
        command = [sys.executable, "-m", "sweepctl.server", "--data", str(self.data)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapper, *command, "--listen", listen, *self.options],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        stdout = self._process.stdout
        assert stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
        line = lines.get(timeout=120)
        assert line.startswith("listening on "), f"{line!r}\n{self.log}"
        self.url = line.split()[-1]

    def kill(self) -> None:
        """End the process as a power cut does."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """End the process in good order and give its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, kind: signal.Signals) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(kind)
        code = self._process.wait(30)
        if self._process.stdout:
            self._process.stdout.close()
        return code

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Ask one GraphQL operation and give its data; errors fail the test."""
        status, answer = self.post("/graphql", {"query": query, "variables": variables or {}})
        assert status == 200, answer
        assert not answer.get("errors"), answer["errors"]
        return dict(answer["data"])

    def post(
        self, path: str, body: Any, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Post JSON, or bytes as they are; give the status and the JSON that answers."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.request("POST", path, raw, headers)
        return status, json.loads(answer or b"{}")

    def stream(self, run: str, body: Any, attempt: int | None = None) -> dict[str, Any]:
        """Post to the file_stream of ENTITY/PROJECT/RUN."""
        headers = {} if attempt is None else {"X-Sweepctl-Attempt": str(attempt)}
        status, answer = self.post(f"/files/{run}/file_stream", body, headers)
        assert status == 200, answer
        return answer

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = API_KEY,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; give status, headers in lower case and body."""
        url = path if path.startswith("http") else self.url + path
        sent = {"Content-Type": "application/json", **(headers or {})}
        if key is not None:
            sent["Authorization"] = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()
        request = urllib.request.Request(url, data=body, headers=sent, method=method)
        try:
            with _DIRECT.open(request, timeout=60) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _lower(error.headers), error.read()


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def sdk_environ(url: str, home: Path) -> dict[str, str]:
    """Give the environment in which a child's wandb client talks to the server at `url` alone."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    # The stock agent runs the trainer by the name `python`: this one has wandb.
    path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
    folders = {
        name: str(home)
        for name in (
            "HOME",
            "WANDB_DIR",
            "WANDB_CONFIG_DIR",
            "WANDB_CACHE_DIR",
            "WANDB_DATA_DIR",
            "WANDB_ARTIFACT_DIR",
        )
    }
    return {
        **kept,
        **folders,
        "PATH": path,
        "WANDB_BASE_URL": url,
        "WANDB_API_KEY": API_KEY,
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
