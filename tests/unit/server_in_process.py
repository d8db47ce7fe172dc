"""The embedded server inside the tests: a real data file, no socket, a clock that tests move."""

import json
from pathlib import Path
from typing import Any

import anyio
import httpx
from starlette.applications import Starlette

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.access.logins import Logins
from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.artifacts.collections import Collections
from sweepctl.server.artifacts.versions import Artifacts
from sweepctl.server.engine.dispatch import Command, Dispatcher
from sweepctl.server.engine.presence import Presence
from sweepctl.server.engine.reaper import Reaper
from sweepctl.server.engine.results import Results
from sweepctl.server.engine.search_engine import Engines, OptunaEngine, WandbEngine
from sweepctl.server.engine.sweeps import Sweeps
from sweepctl.server.engine.work import Work
from sweepctl.server.graphql.executor import Executor
from sweepctl.server.graphql.resolvers import RESOLVERS
from sweepctl.server.lifecycle import Limits
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.runs.intake import Intake
from sweepctl.server.runs.messages import RunChange, read_stream
from sweepctl.server.store import run_store, sweep_store
from sweepctl.server.store.database import Database
from sweepctl.server.store.ended_logins import EndedLogins
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import RegisteredAgent, Sweep
from sweepctl.server.web.gate import Gate
from sweepctl.server.web.metrics import Metrics
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.routes import Services, application

GRID = {"method": "grid", "parameters": {"a": {"values": [1, 2, 3]}}}


class ApiClient:
    """Sends requests to the routes, without a socket: JSON to http://server:1234."""

    def __init__(self, application: Starlette) -> None:
        self._transport = httpx.ASGITransport(application, raise_app_exceptions=False)

    def request(self, method: str, url: str, **how: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            base, kind = "http://server:1234", {"Content-Type": "application/json"}
            async with httpx.AsyncClient(
                transport=self._transport, base_url=base, headers=kind
            ) as client:
                return await client.request(method, url, **how)

        return anyio.run(send)

    def get(self, url: str) -> httpx.Response:
        return self.request("GET", url)

    def post(self, url: str, **how: Any) -> httpx.Response:
        return self.request("POST", url, **how)

    def put(self, url: str, **how: Any) -> httpx.Response:
        return self.request("PUT", url, **how)


class InProcessServer:
    """One server; `restart` makes it anew over the same data, as a new process would."""

    def __init__(self, folder: Path, limits: Limits = Limits()) -> None:  # noqa: B008
        self.folder = folder
        self.limits = limits
        self.seconds = 1000.0
        self.log: list[str] = []
        self._open()

    def _open(self) -> None:
        self.database = Database(self.folder)
        self.presence = Presence(self.clock)
        log = self.log.append
        self.engines = Engines(OptunaEngine(log), WandbEngine(None, log))
        self.results = Results()
        self.work = Work(self.limits, self.clock, self.log.append)
        self.dispatcher = Dispatcher(
            self.database,
            self.presence,
            self.work,
            self.clock,
            self.log.append,
            self.engines,
            self.results,
        )
        self.intake = Intake(self.database, self.presence, self.work, self.clock, self.log.append)
        self.sweeps = Sweeps(self.database, self.work, self.clock, self.log.append, self.engines)
        self.reaper = Reaper(
            self.database, self.presence, self.dispatcher, self.limits, self.clock, self.clock
        )

    def clock(self) -> float:
        return self.seconds

    def restart(self, after_s: float = 0.0) -> None:
        self.database.close()
        self.seconds += after_s
        self._open()

    def wait(
        self, seconds: float, *, beating: tuple[RegisteredAgent, ...] = (), step_s: float = 1.0
    ) -> None:
        """Let time pass, the reaper looking every second; some agents go on with their runs."""
        end = self.seconds + seconds
        while self.seconds < end:
            self.seconds += step_s
            for agent in beating:
                self.beat(agent, *(run.id for run in self.held(agent)))
            self.reaper.tick()

    def sweep(self, spec: dict[str, Any] | None = None) -> Sweep:
        text = json.dumps(spec or GRID)
        return self.sweeps.upsert({"config": text, "projectName": "p"})[0]

    def set_state(self, sweep: Sweep, state: str) -> None:
        self.sweeps.upsert({"id": sweep.id, "state": state})

    def state(self, sweep: Sweep) -> str:
        with self.database.read() as rows:
            return sweep_store.sweep_by_pk(rows, sweep.pk).state.value

    def agent(self, sweep: Sweep, host: str = "h", *, is_own: bool = True) -> RegisteredAgent:
        return self.dispatcher.register(sweep.id, host, is_own=is_own)

    def beat(self, agent: RegisteredAgent, *reported: str) -> list[Command]:
        return self.dispatcher.heartbeat(agent.pk, reported)[1]

    def take(self, agent: RegisteredAgent) -> Command:
        """Have an idle agent take a run and begin it, as a trainer does by `wandb.init`."""
        (command,) = self.beat(agent)
        assert command["type"] in ("run", "resume"), command
        self.begin(command)
        return command

    def begin(self, command: Command, *, is_resumed: bool = False) -> None:
        run = self.run(command["run_id"])
        config: dict[str, Any] = {"_wandb": {"value": {"t": {}}}}
        change = RunChange({}, config, None, None, "h", is_resumed)
        self.intake.upsert(run.project, run, run.id, change, command.get("attempt"))

    def stream(self, run_id: str, *, attempt: int | None = None, **body: Any) -> bool:
        return self.intake.stream(self.run(run_id), read_stream(body), attempt)

    def end(self, run_id: str, code: int, *, attempt: int | None = None) -> None:
        self.stream(run_id, attempt=attempt, complete=True, exitcode=code)

    def run(self, run_id: str) -> Run:
        with self.database.read() as rows:
            (found,) = [run for run in run_store.runs(rows) if run.id == run_id]
        return found

    def runs(self, sweep: Sweep) -> list[Run]:
        with self.database.read() as rows:
            return run_store.runs(rows, sweep=sweep.pk)

    def states(self, sweep: Sweep) -> list[str]:
        return [run.state.value for run in self.runs(sweep)]

    def held(self, agent: RegisteredAgent) -> list[Run]:
        with self.database.read() as rows:
            return run_store.held_runs(rows, agent.pk)

    def params(self, sweep: Sweep) -> list[dict[str, Any]]:
        with self.database.read() as rows:
            return [params for _, params in run_store.run_params(rows, sweep.pk, 0)]

    def config_text(self, sweep: Sweep) -> str:
        with self.database.read() as rows:
            return sweep_store.sweep_text(rows, sweep.pk)

    def delete(self, run_id: str) -> None:
        with self.database.write() as tx:
            run_store.delete_run(tx, self.run(run_id).pk)


def served(
    server: InProcessServer,
    executor: Executor | None = None,
    keys: tuple[str, ...] = (),
    gate: Gate = Gate(None),  # noqa: B008
    metrics: Metrics | None = None,
) -> ApiClient:
    """Give a client of the server's routes."""
    files, allowed = RunFiles(server.database, server.clock), ApiKeys(keys)
    blobs = Blobs(server.database, files, server.clock)
    routes = Services(
        database=server.database,
        presence=server.presence,
        dispatcher=server.dispatcher,
        intake=server.intake,
        sweeps=server.sweeps,
        files=files,
        blobs=blobs,
        artifacts=Artifacts(server.database, blobs, server.clock, server.log.append),
        collections=Collections(server.database, blobs, server.clock),
        pages=Pages(
            server.database,
            server.presence,
            files,
            server.clock,
            server.limits,
            has_logins=bool(keys),
        ),
        metrics=metrics or Metrics(server.database, server.presence, server.clock, server.limits),
        executor=executor or Executor(RESOLVERS, server.log.append),
        api_keys=allowed,
        logins=Logins(allowed, b"secret", server.clock, EndedLogins(server.database, server.clock)),
        gate=gate,
        now=server.clock,
        log=server.log.append,
    )
    return ApiClient(application(routes))
