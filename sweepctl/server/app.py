"""`serve`: opens the data folder, listens, ends in good order on SIGTERM. One process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

import uvicorn

from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.artifacts.collections import Collections
from sweepctl.server.artifacts.versions import Artifacts
from sweepctl.server.bounds import END_LIMIT_S, IDLE_LIMIT_S, ending
from sweepctl.server.engine.dispatch import Dispatcher
from sweepctl.server.engine.presence import Presence
from sweepctl.server.engine.reaper import Reaper, ReaperThread
from sweepctl.server.engine.results import Results
from sweepctl.server.engine.search_engine import EngineName, Engines, open_engines
from sweepctl.server.engine.sweeps import Sweeps
from sweepctl.server.engine.work import Work
from sweepctl.server.graphql.executor import Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.early_stop import EarlyStop, EarlyStopThread
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.runs.intake import Intake
from sweepctl.server.store.database import Database
from sweepctl.server.web.auth import ApiKeys, check_listen
from sweepctl.server.web.connections import bounded_protocol, raise_file_limit
from sweepctl.server.web.gate import Gate
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.routes import Services, application
from sweepctl_pod.errors import SweepctlError

_SHUTDOWN_LIMIT_S = 5


def serve(
    data: Path,
    host: str,
    port: int,
    *,
    api_keys: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    agent_timeout_s: float = 60.0,
    run_timeout_s: float = 300.0,
    search_engine: EngineName = EngineName.OPTUNA,
    seed: int | None = None,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve the data folder until SIGTERM or SIGINT.

    `port` 0 takes a free one; `on_listening` gets the address as soon as requests are answered.
    Without `api_keys` it listens on loopback only. There it answers to the names that loopback has,
    and to `allowed_hosts`. New sweeps search by `search_engine`, from `seed` if they name none.
    """
    check_listen(host, api_keys)
    ending.clear()
    keys, gate = ApiKeys(api_keys), Gate.of(host, allowed_hosts)
    limits = Limits(agent_timeout_s=agent_timeout_s, run_timeout_s=run_timeout_s)
    with (
        _listener(host, port) as listener,
        contextlib.closing(Database(data)) as database,
        contextlib.closing(open_engines(os.environ, log, search_engine)) as engines,
    ):
        services, reaper, early_stop = build_services(database, keys, gate, limits, engines, seed)
        services.collections.tidy()
        url = f"http://{_in_url(host)}:{listener.getsockname()[1]}"
        log(f"data in {data}")
        if database.kept_before:
            log(f"the data was upgraded; as it was before: {database.kept_before}")
        config = uvicorn.Config(
            application(services),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            http=bounded_protocol(raise_file_limit()),
            timeout_keep_alive=IDLE_LIMIT_S,
            timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
        )
        reaping, stopping = ReaperThread(reaper, log), EarlyStopThread(early_stop, log)
        try:
            _Server(config, lambda: on_listening(url) if on_listening else None).run([listener])
        finally:
            engines.close()
            stopping.stop()
            reaping.stop()
    log("ended")


def log(line: str) -> None:
    """Write one event to stderr, as one line whatever is in it."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in line)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"sweepctl server: {text.encode('utf-8', 'replace').decode()}\n")
        sys.stderr.flush()


def build_services(
    database: Database,
    api_keys: ApiKeys,
    gate: Gate,
    limits: Limits,
    engines: Engines,
    seed: int | None,
) -> tuple[Services, Reaper, EarlyStop]:
    """Give the services that requests are answered with, and the two that act by themselves."""
    presence = Presence(time.monotonic)
    results = Results()
    work = Work(limits, time.time, log)
    dispatcher = Dispatcher(database, presence, work, time.time, log, engines, results)
    intake = Intake(database, presence, work, time.time, log)
    files = RunFiles(database, time.time)
    blobs = Blobs(database, files, time.time)
    services = Services(
        database=database,
        presence=presence,
        dispatcher=dispatcher,
        intake=intake,
        sweeps=Sweeps(database, work, time.time, log, engines, seed),
        files=files,
        blobs=blobs,
        artifacts=Artifacts(database, blobs, time.time, log),
        collections=Collections(database, blobs, time.time),
        pages=Pages(database, presence, files, time.time, limits),
        executor=Executor(RESOLVERS, log),
        api_keys=api_keys,
        gate=gate,
        now=time.time,
        log=log,
    )
    reaper = Reaper(
        database=database,
        presence=presence,
        dispatcher=dispatcher,
        limits=limits,
        clock=time.monotonic,
        now=time.time,
    )
    return services, reaper, EarlyStop(database, intake, results, log)


class _Server(uvicorn.Server):
    """A uvicorn that reports its start, and that returns to its caller after a signal."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        kinds = (signal.SIGTERM, signal.SIGINT)
        previous = {kind: signal.signal(kind, self._end) for kind in kinds}
        try:
            yield
        finally:
            for kind, handler in previous.items():
                signal.signal(kind, handler)

    def _end(self, kind: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        if not self.should_exit:
            ending.set()  # requests that work for long end by that
            threading.Thread(target=_end_anyway, name="end", daemon=True).start()
        self.should_exit = True


def _end_anyway() -> None:
    """End this process, whatever still works in it: what was acknowledged is on the disk."""
    time.sleep(END_LIMIT_S)
    log(f"ended {END_LIMIT_S:g} s after the signal, with requests under way")
    os._exit(0)


@contextlib.contextmanager
def _listener(host: str, port: int) -> Iterator[socket.socket]:
    try:
        place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(place[0], socket.SOCK_STREAM)
    except OSError as error:
        raise SweepctlError(f"cannot listen on {host}: {error.strerror or error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place[4])
            listener.listen(1024)
        except (OSError, OverflowError) as error:
            raise SweepctlError(
                f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
                "give another address: --listen HOST:PORT (port 0 takes a free one)",
            ) from error
        yield listener


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
