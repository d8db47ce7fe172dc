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

from sweepctl.search.engine_name import EngineName
from sweepctl.server.access.allowed import ApiKeys, check_listen
from sweepctl.server.access.data_key import make_key
from sweepctl.server.access.keyless import (
    KeylessClients,
    KeylessThread,
    KeyRule,
    clear_mark,
    is_from_before_keys,
    refuse_keyless_runs,
)
from sweepctl.server.access.logins import Logins
from sweepctl.server.access.named_keys import WatchedKeys
from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.artifacts.collections import Collections
from sweepctl.server.artifacts.versions import Artifacts
from sweepctl.server.bounds import END_LIMIT_S, IDLE_LIMIT_S, ending
from sweepctl.server.disk import close_file, close_folders
from sweepctl.server.engine.dispatch import Dispatcher
from sweepctl.server.engine.presence import Presence
from sweepctl.server.engine.reaper import Reaper, ReaperThread
from sweepctl.server.engine.results import Results
from sweepctl.server.engine.search_engine import Engines, open_engines
from sweepctl.server.engine.sweeps import Sweeps
from sweepctl.server.engine.work import Work
from sweepctl.server.graphql.executor import Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.early_stop import EarlyStop, EarlyStopThread
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.runs.intake import Intake
from sweepctl.server.store.database import DATABASE, Database, is_taken
from sweepctl.server.store.ended_logins import EndedLogins
from sweepctl.server.store.under_way import is_any_under_way, runs_under_way
from sweepctl.server.web.connections import bounded_protocol, raise_file_limit
from sweepctl.server.web.gate import Gate
from sweepctl.server.web.metrics import Metrics
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.routes import Services, application
from sweepctl_pod.errors import SweepctlError

_SHUTDOWN_LIMIT_S = 5


def serve(
    data: Path,
    host: str,
    port: int,
    *,
    key_rule: KeyRule = KeyRule.ASKED,
    api_keys: Sequence[str] = (),
    allowed_hosts: Sequence[str] = (),
    agent_timeout_s: float = 60.0,
    run_timeout_s: float = 300.0,
    search_engine: EngineName = EngineName.OPTUNA,
    seed: int | None = None,
    metrics_keys: Sequence[str] = (),
    are_metrics_open: bool = False,
    on_listening: Callable[[str], None] | None = None,
) -> None:
    """Serve the data folder until SIGTERM or SIGINT.

    `port` 0 takes a free one; `on_listening` gets the address as soon as requests are answered.
    The key of the folder is asked for, or one of `api_keys`. On loopback it answers to the names
    that loopback has, and to `allowed_hosts`. New sweeps search by `search_engine`, from `seed` if
    they name none. /metrics asks for one of those keys or of `metrics_keys`, which open nothing
    else, unless it is open.
    """
    check_listen(host, is_keyless=key_rule is not KeyRule.ASKED)
    ApiKeys([*api_keys, *metrics_keys])  # what is wrong with them is told before anything is opened
    ending.clear()
    gate = Gate.of(host, allowed_hosts)
    limits = Limits(agent_timeout_s=agent_timeout_s, run_timeout_s=run_timeout_s)
    with (
        _listener(host, port) as listener,
        contextlib.closing(_opened(data, key_rule, has_own_keys=bool(api_keys))) as database,
        contextlib.closing(open_engines(os.environ, log, search_engine)) as engines,
    ):
        keyless = _keyless_clients(database, key_rule)
        keys = _keys(data, key_rule, api_keys, keyless)
        services, reaper, early_stop = build_services(
            database, keys, gate, limits, engines, seed, metrics_keys, are_metrics_open
        )
        _listen(listener, host, port)
        services.collections.tidy()
        url = f"http://{_in_url(host)}:{listener.getsockname()[1]}"
        log(f"data in {data}")
        if database.kept_before:
            log(f"the data was upgraded; as it was before: {database.kept_before}")
        answering = application(services)
        config = uvicorn.Config(
            answering,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            http=bounded_protocol(raise_file_limit()),
            timeout_keep_alive=IDLE_LIMIT_S,
            timeout_graceful_shutdown=_SHUTDOWN_LIMIT_S,
        )
        reaping, stopping = ReaperThread(reaper, log), EarlyStopThread(early_stop, log)
        waiting = KeylessThread(keyless) if keyless is not None else None
        try:
            server = _Server(
                config,
                lambda: on_listening(url) if on_listening else None,
                answering.state.end_long,
            )
            server.run([listener])
        finally:
            engines.close()
            if waiting is not None:
                waiting.stop()
            stopping.stop()
            reaping.stop()
    log("ended")


def log(line: str) -> None:
    """Write one event to stderr, as one line whatever is in it."""
    text = "".join(c if c.isprintable() else "\ufffd" for c in line)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"sweepctl server: {text.encode('utf-8', 'replace').decode()}\n")
        sys.stderr.flush()


def _opened(data: Path, rule: KeyRule, *, has_own_keys: bool) -> Database:
    """Open the folder; refuse one with clients at work that would be refused."""
    if rule is KeyRule.ASKED and not has_own_keys and is_from_before_keys(data):
        runs = runs_under_way(data)
        if runs and not is_taken(data):
            refuse_keyless_runs(data, len(runs))
    return Database(data)


def _keyless_clients(database: Database, rule: KeyRule) -> KeylessClients | None:
    """Give who decides about clients without a key; None where none is let in, or all are."""
    if rule is not KeyRule.UNTIL_OLD_RUNS_END:
        return None
    runs = runs_under_way(database.folder) if is_from_before_keys(database.folder) else ()
    if not runs:
        log("no run of an earlier version is under way: the key is asked for")
        return None

    def is_any_live() -> bool:
        with database.read() as rows:
            return is_any_under_way(rows, runs)

    log(f"no key is asked for until {len(runs)} runs of an earlier version have ended")
    return KeylessClients(database.folder, is_any_live, time.monotonic, log)


def _keys(
    data: Path, rule: KeyRule, given: Sequence[str], keyless: KeylessClients | None
) -> ApiKeys:
    if rule is KeyRule.NONE:
        return ApiKeys(())
    close_file(data, DATABASE)
    if closed := close_folders(data):
        log(f"others could read {', '.join(closed)} of {data}: only you can now (0700)")
    keys, named = [make_key(data), *given], WatchedKeys(data, log)
    if keyless is None:
        clear_mark(data)
        return ApiKeys(keys, further=named.hashes)
    return ApiKeys(keys, further=named.hashes, lets_in=keyless.lets_in)


def build_services(
    database: Database,
    api_keys: ApiKeys,
    gate: Gate,
    limits: Limits,
    engines: Engines,
    seed: int | None,
    metrics_keys: Sequence[str] = (),
    are_metrics_open: bool = False,
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
        pages=Pages(
            database, presence, files, time.time, limits, has_logins=bool(api_keys.hashes())
        ),
        metrics=Metrics(
            database,
            presence,
            time.time,
            limits,
            keys=ApiKeys(metrics_keys),
            is_open=are_metrics_open,
        ),
        executor=Executor(RESOLVERS, log),
        api_keys=api_keys,
        logins=Logins(api_keys, database.secret(), time.time, EndedLogins(database, time.time)),
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

    def __init__(
        self, config: uvicorn.Config, on_started: Callable[[], None], on_ending: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_started = on_started
        self._on_ending = on_ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_ending()
        await super().shutdown(sockets)

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
        # asyncio looks at the protocol to send small answers at once: without it, each answer over
        # a connection that is kept waits 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(place[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise SweepctlError(f"cannot listen on {host}: {error.strerror or error}") from error
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(place[4])
        except (OSError, OverflowError) as error:
            raise _not_listening(host, port, error) from error
        yield listener


def _listen(listener: socket.socket, host: str, port: int) -> None:
    """Begin to listen: only when the folder is open and has its key."""
    try:
        listener.listen(1024)
    except OSError as error:
        # Another server has begun to listen since this one took the address.
        raise _not_listening(host, port, error) from error


def _not_listening(host: str, port: int, error: Exception) -> SweepctlError:
    return SweepctlError(
        f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}",
        "give another address: --listen HOST:PORT (port 0 takes a free one)",
    )


def _in_url(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
