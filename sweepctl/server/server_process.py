"""The embedded server as a process of this machine: where its data is, is it alive, start it.

One server owns one data folder; `server.json` in it says where the server listens. A command finds
the server that is there, or starts one for as long as the command needs it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import platformdirs

from sweepctl.server.access.addresses import forget_address, note_address, noted_at, this_boot
from sweepctl.server.access.data_key import KEY_FILE, data_key
from sweepctl.server.disk import make_folder
from sweepctl.server.store.database import DATABASE, taken_by
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import Connection

ENTITY = "local"
"""The entity of everything that an embedded server keeps."""

LOOPBACK_API_KEY = "local_server_on_loopback_needs_no_secret_key"
"""What clients send where no key is known: the wandb client wants 40 characters or more."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_PR_SET_PDEATHSIG = 1

START_LIMIT_S = 60.0
RIVAL_LIMIT_S = 5.0
STOP_LIMIT_S = 15.0


def default_data() -> Path:
    """Give the folder where `local` and `server` keep their data by default."""
    return Path(os.environ.get("SWEEPCTL_DATA") or platformdirs.user_data_dir("sweepctl"))


def agent_logs(data: Path, sweep_id: str) -> Path:
    """Give the folder of the logs of a local sweep's agents."""
    return data / "logs" / sweep_id


def connection(
    url: str, environ: Mapping[str, str] = os.environ, *, data: Path | None = None
) -> Connection:
    """Give the connection to an embedded server at `url`, named by its `data` where we chose it.

    The key is that of the data folder, also where the address alone is known and the folder is
    this user's; else the environment's.
    """
    own = key_of_server(url) if data is None else data_key(data)
    key = own or environ.get("WANDB_API_KEY") or LOOPBACK_API_KEY
    name = f"the embedded server of {data}" if data else None
    return Connection(base_url=url, api_key=key, entity=ENTITY, name=name)


def key_of_server(url: str) -> str | None:
    """Give the key of the server at an address, if it serves a data folder of this user."""
    noted = noted_at(url)
    is_there = noted is not None and taken_by(noted.data) == noted.pid
    return data_key(noted.data) if noted is not None and is_there else None


def stock_clients(data: Path, url: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Give what to type so that W&B's own client uses this server; the key itself is not said.

    Nothing in a pod: what is printed there many may read, and its key comes from a Secret.
    """
    if data_key(data) is None or "KUBERNETES_SERVICE_HOST" in environ:
        return []
    key = shlex.quote(str(data / KEY_FILE))
    return [f"export WANDB_BASE_URL={url} WANDB_API_KEY=$(cat {key})"]


def announce(data: Path, url: str) -> None:
    """Write where the server of this folder listens, for the commands that look for it."""
    written = data / f".server.json.{os.getpid()}"
    written.write_text(json.dumps({"url": url, "pid": os.getpid(), "boot": this_boot()}))
    written.replace(data / "server.json")
    note_address(url, data)


def withdraw(data: Path) -> None:
    """Remove what `announce` wrote, if it is still this process's."""
    with suppress(OSError, ValueError):
        told = json.loads((data / "server.json").read_text())
        if told["pid"] == os.getpid():
            (data / "server.json").unlink()
            forget_address(str(told["url"]))


def live_url(data: Path) -> str | None:
    """Give the address of the live server of this folder, if there is one.

    The server that wrote it has the folder locked. Where nobody has, or another one that is about
    to listen, or where that is so on another machine, somebody else may listen at the address now,
    and is to get no key.
    """
    try:
        told = json.loads((data / "server.json").read_text())
        url, pid, boot = str(told["url"]), told["pid"], told.get("boot", this_boot())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    is_its_own = boot == this_boot() and taken_by(data) == pid
    return url if is_its_own and is_healthy(url) else None


def is_healthy(url: str) -> bool:
    """Say whether a server answers at `url`."""
    try:
        with _DIRECT.open(f"{url}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def is_listening(url: str) -> bool:
    """Say whether a process listens at `url`, however slow its answers are."""
    parts = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=5).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class ServerWish:
    """What a person may ask of a server that another command starts."""

    search_engine: str | None = None
    is_keyless: bool = False
    """Whether it asks for no key while runs of an earlier version are under way."""

    @property
    def options(self) -> list[str]:
        """The options of `sweepctl server`."""
        engine = ["--search-engine", self.search_engine] if self.search_engine else []
        return [*engine, *(["--keyless"] if self.is_keyless else [])]


class ServerProcess:
    """An embedded server that this command started, restarted on the same port when it dies."""

    def __init__(
        self,
        data: Path,
        *,
        agent_timeout_s: float,
        host: str = "127.0.0.1",
        port: int | None = None,
        allowed_hosts: Sequence[str] = (),
        wish: ServerWish = ServerWish(),
    ) -> None:
        self._data = data
        self._host = f"[{host}]" if ":" in host else host
        self._allowed_hosts = allowed_hosts
        self._wish = wish
        self._log = data / "logs" / "server.log"
        self._agent_timeout_s = agent_timeout_s
        self._log_start_bytes = 0
        self._port = port or _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address, the same for all restarts."""
        return f"http://{self._host}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process id of the server that runs now."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server and wait until it answers.

        A SweepctlError has the last line of its log if it does not, within START_LIMIT_S.
        """
        try:
            self.spawn()
        except OSError as error:
            raise SweepctlError(
                f"cannot write in the data folder {self._data}: {error.strerror}",
                "choose another with --data",
            ) from error
        deadline = time.monotonic() + START_LIMIT_S
        while not is_healthy(self.url):
            if self.is_dead() or time.monotonic() > deadline:
                self.stop()
                why, hint = self._last_words()
                raise SweepctlError(
                    f"the embedded server did not start: {why}",
                    "\n".join([*hint, f"its log is {self._log}"]),
                )
            time.sleep(0.05)

    def spawn(self) -> None:
        """Start the server process without waiting for it."""
        command = [
            *(sys.executable, "-m", "sweepctl", "server", "--data", str(self._data)),
            *("--listen", f"{self._host}:{self._port}"),
            *("--agent-timeout", f"{self._agent_timeout_s:g}"),
            *(f"--allowed-host={name}" for name in self._allowed_hosts),
            *self._wish.options,
        ]
        make_folder(self._data, self._log.parent.name)
        with self._log.open("ab") as log:
            self._log_start_bytes = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def _last_words(self) -> tuple[str, list[str]]:
        """Give the last line that this process logged, its error if there is one, and the hint."""
        try:
            said = self._log.read_bytes()[self._log_start_bytes :].decode("utf-8", "replace")
        except OSError:
            said = ""
        lines = said.strip().splitlines()
        errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        if not errors:
            return (lines or ["it said nothing; is the disk full?"])[-1], []
        hint = takewhile(lambda line: line.startswith("  "), lines[errors[-1] + 1 :])
        return lines[errors[-1]].removeprefix("error: "), [line.strip() for line in hint]

    def is_dead(self) -> bool:
        """Say whether the server's process has ended."""
        return self._process is None or self._process.poll() is not None

    def await_end(self) -> None:
        """Wait until the server ends, which is always an error: this process did not end it."""
        if self._process is not None:
            self._process.wait()
        raise SweepctlError(
            f"the embedded server ended: {self._last_words()[0]}", f"its log is {self._log}"
        )

    def stop(self) -> None:
        """End the server and wait for its end."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def connected(data: Path, *, makes: bool = False) -> Iterator[Connection]:
    """Give a connection to a data folder: to its live server, else to one that we start meanwhile.

    A folder without sweeps is an error and stays untouched, unless the caller `makes` a sweep.
    """
    if not makes:
        check_holds_sweeps(data)
    server, url = start_server(data, agent_timeout_s=60)
    try:
        yield connection(url, data=data)
    finally:
        if server is not None:
            server.stop()


def check_holds_sweeps(data: Path) -> None:
    """Raise a SweepctlError if a folder holds no sweeps."""
    if not (data / DATABASE).is_file():
        other = "is a file" if data.exists() else "does not exist"
        state = "holds none" if data.is_dir() else other
        raise SweepctlError(
            f"no sweeps here: the folder {data} {state}",
            "start one with `sweepctl local sweep.yaml`, or name a server with --server URL",
        )


def start_server(
    data: Path,
    *,
    agent_timeout_s: float,
    host: str = "127.0.0.1",
    port: int | None = None,
    allowed_hosts: Sequence[str] = (),
    wish: ServerWish = ServerWish(),
) -> tuple[ServerProcess | None, str]:
    """Use the live server of this folder, else start one; give the process if it is ours."""
    url = live_url(data)
    if url is not None:
        return None, url
    server = ServerProcess(
        data,
        agent_timeout_s=agent_timeout_s,
        host=host,
        port=port,
        allowed_hosts=allowed_hosts,
        wish=wish,
    )
    try:
        server.start()
    except SweepctlError:
        url = _url_of_another(data)
        if url is None:
            raise
        return None, url
    return server, server.url


def _url_of_another(data: Path) -> str | None:
    """Give the address of the server that another command has just started, if there is one."""
    deadline = time.monotonic() + RIVAL_LIMIT_S
    while time.monotonic() < deadline:
        url = live_url(data)
        if url is not None:
            return url
        time.sleep(0.1)
    return None


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends: for `preexec_fn`, after the fork."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
