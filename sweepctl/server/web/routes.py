"""The server's HTTP routes: GraphQL, file_stream, files, pages. What blocks runs in threads."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from sweepctl.server.access.allowed import ApiKeys, shown_prefix
from sweepctl.server.access.logins import Logins
from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.artifacts.collections import Collections
from sweepctl.server.artifacts.versions import Artifacts
from sweepctl.server.bounds import MAX_STREAMS
from sweepctl.server.engine.dispatch import Dispatcher
from sweepctl.server.engine.presence import Presence
from sweepctl.server.engine.sweeps import Sweeps
from sweepctl.server.errors import NotFoundError
from sweepctl.server.graphql.context import Context
from sweepctl.server.graphql.executor import DocumentError, Executor
from sweepctl.server.runs.files import RunFiles, checked_name
from sweepctl.server.runs.intake import Intake
from sweepctl.server.runs.messages import read_stream
from sweepctl.server.store import file_store, run_store
from sweepctl.server.store.changes import Kind
from sweepctl.server.store.database import Database
from sweepctl.server.store.run_store import LOCAL_USER, Run
from sweepctl.server.web.action_routes import ActionRoutes
from sweepctl.server.web.actions import Actions, is_action
from sweepctl.server.web.answers import Answers, Handler, segments
from sweepctl.server.web.artifact_routes import ArtifactRoutes
from sweepctl.server.web.connections import raise_file_limit
from sweepctl.server.web.exposition import CONTENT_TYPE
from sweepctl.server.web.gate import Gate, GatedApp
from sweepctl.server.web.heartbeats import heartbeat_answer
from sweepctl.server.web.kept_pages import KeptPages
from sweepctl.server.web.live import Streams
from sweepctl.server.web.login_routes import LoginRoutes
from sweepctl.server.web.metrics import Metrics, kind_of
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.requests import (
    BodyError,
    blocks,
    error_response,
    json_response,
    read_json,
)
from sweepctl.server.web.run_routes import PARTS, RunRoutes
from sweepctl.server.web.static_files import ROUTE, static_file
from sweepctl.server.web.sweep_routes import SweepRoutes, kept_page

_ATTEMPT_HEADER = "x-sweepctl-attempt"
_SHARED_HEADER, _WRITER_HEADER = "x-wandb-use-async-filestream", "x-wandb-async-client-id"
"""What W&B's client sends in shared mode, with GraphQL and posts, and with posts alone."""

_USER_HEADER = "x-wandb-username"
_USER_NAME = re.compile(r"\w[\w.-]{0,127}", re.ASCII)

_WRITERS = 64
"""How many requests may write at once: as many share one commit."""

_CHANGING = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the routes lead to."""

    database: Database
    presence: Presence
    dispatcher: Dispatcher
    intake: Intake
    sweeps: Sweeps
    files: RunFiles
    blobs: Blobs
    artifacts: Artifacts
    collections: Collections
    pages: Pages
    metrics: Metrics
    executor: Executor
    api_keys: ApiKeys
    logins: Logins
    gate: Gate
    now: Callable[[], float]
    log: Callable[[str], None]


def application(services: Services) -> Starlette:
    """Give the ASGI application; its `state.end_long()` ends what would go on for long."""
    logins = LoginRoutes(services.logins, services.pages)
    troubles = services.database.troubles
    answers = Answers(services.api_keys, logins, services.pages, troubles, services.log)
    routes, artifact_routes = (
        _Routes(services, answers, logins),
        ArtifactRoutes(services.blobs, services.files),
    )

    times = services.metrics.requests

    def route(path: str, handler: Handler, *methods: str, is_open: bool = False) -> Route:
        answer = times.timed(kind_of(path, methods[0]), answers.guarded(handler, is_open=is_open))
        return Route(path, answer, methods=methods)

    app = Starlette(
        routes=[
            route("/healthz", routes.health, "GET", is_open=True),
            # Open: it asks for a key by itself.
            route("/metrics", routes.metrics, "GET", is_open=True),
            route("/graphql", routes.graphql, "POST"),
            route("/files/{rest:path}", routes.file_stream, "POST"),
            route("/files/{rest:path}", routes.download, "GET"),
            # W&B's client sends no key here: the address is signed.
            route("/storage/{run:int}/{token}/{name:path}", routes.put, "PUT", is_open=True),
            route("/storage/{run:int}/{token}/{name:path}", routes.get, "GET", is_open=True),
            *(
                route(f"/{place}/{{rest:path}}", routes.preflight, "OPTIONS", is_open=True)
                for place in ("storage", "wandb_artifacts", "blobs")
            ),
            route("/wandb_artifacts/{rest:path}", artifact_routes.put, "PUT", is_open=True),
            route("/wandb_artifacts/{rest:path}", artifact_routes.get, "GET", is_open=True),
            route("/blobs/{rest:path}", artifact_routes.put, "PUT", is_open=True),
            route("/blobs/{rest:path}", artifact_routes.get, "GET", is_open=True),
            route("/artifacts/{rest:path}", artifact_routes.by_digest, "GET"),
            route("/artifactsV2/{rest:path}", artifact_routes.by_digest, "GET"),
            # Open: it is part of this package, and the form of the login loads it as well.
            route(ROUTE, static_file, "GET", is_open=True),
            route("/login", logins.log_in, "POST", is_open=True),
            route("/login/links", logins.new_link, "POST"),
            route("/", routes.sweeps_page, "GET"),
            route("/{rest:path}", routes.page, "GET"),
            # Open: W&B's client asks for its telemetry without a key, and takes a 401 for yes.
            route("/{rest:path}", routes.unknown, *_CHANGING, is_open=True),
        ],
        middleware=[Middleware(GatedApp, gate=services.gate)],
    )

    def end_long() -> None:
        routes.streams.close()
        services.pages.figures.close()

    app.state.end_long = end_long
    return app


class _Routes:
    def __init__(self, services: Services, answers: Answers, logins: LoginRoutes) -> None:
        self._services = services
        self._answers = answers
        self.actions = ActionRoutes(
            Actions(services.database, services.sweeps, services.intake),
            services.api_keys,
            services.logins,
            logins,
            services.pages,
        )
        self._kept = KeptPages(services.database.version)
        changes = services.database.changes
        self._sweep_pages = SweepRoutes(services.pages, self._kept, changes)
        self._run_pages = RunRoutes(services.pages, self._kept, changes, services.database)
        self.streams = Streams(changes, min(MAX_STREAMS, raise_file_limit() // 4))
        # Apart from the threads that read: those of writers may all wait for the disk.
        self._writers = CapacityLimiter(_WRITERS)

    async def health(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def metrics(self, request: Request) -> Response:
        """Tell Prometheus what it asks: by a key for this alone, by the server's, or by none."""
        given, metrics = request.headers.get("authorization"), self._services.metrics
        if not (metrics.are_for(given) or self._services.api_keys.allows(given, is_write=False)):
            headers = {"WWW-Authenticate": 'Bearer realm="sweepctl metrics"'}
            return error_response(401, "the key is none that opens /metrics", headers)
        return Response(await metrics.answer(), media_type=CONTENT_TYPE)

    async def graphql(self, request: Request) -> Response:
        body = await read_json(request)
        if not isinstance(body, dict) or not isinstance(body.get("query"), str):
            raise BodyError(400, "a GraphQL request is a map with the text `query`")
        variables, name = body.get("variables") or {}, body.get("operationName")
        if not isinstance(variables, dict) or not isinstance(name, str | None):
            raise BodyError(400, "`variables` is a map and `operationName` a text")
        at_once = heartbeat_answer(self._services.dispatcher, body["query"], variables, name)
        if "agentHeartbeat" in body["query"]:
            request.state.kind = "heartbeat"
        if at_once is not None:
            return json_response(at_once)
        context = self._context(request)
        limiter = self._writers if "mutation" in body["query"] else None
        try:
            return await to_thread.run_sync(
                lambda: self._answers.of_graphql(
                    request,
                    self._services.executor.execute(body["query"], variables, name, context),
                ),
                limiter=limiter,
            )
        except DocumentError as error:
            return json_response({"errors": [{"message": e.message} for e in error.errors]}, 400)

    async def file_stream(self, request: Request) -> Response:
        parts = segments(request)[1:]
        if len(parts) != 4 or parts[3] != "file_stream":
            return error_response(404, "only a run's file_stream takes posts")
        writer = request.headers.get(_WRITER_HEADER) if _is_shared(request) else None
        message = read_stream(await read_json(request), writer)
        attempt = _attempt(request)

        def store_it() -> bool:
            run = self._run_at(*parts[:3])
            return self._services.intake.stream(run, message, attempt)

        is_stopped = await to_thread.run_sync(store_it, limiter=self._writers)
        stopped = {"stopped": True} if is_stopped else {}
        return json_response({"exitcode": None, "limits": {}, **stopped})

    async def download(self, request: Request) -> Response:
        parts = segments(request)[1:]
        if len(parts) < 4:
            return error_response(404, "a file's address is /files/ENTITY/PROJECT/RUN/NAME")
        run = await to_thread.run_sync(self._run_at, parts[0], parts[1], parts[2])
        return await self._file(run.pk, "/".join(parts[3:]))

    async def get(self, request: Request) -> Response:
        run, name = self._signed(request)
        return await self._file(run, name)

    async def put(self, request: Request) -> Response:
        run_pk, name = self._signed(request)
        checked_name(name)
        upload = await self._services.files.receive(blocks(request))

        def keep() -> None:
            with self._services.database.read() as rows:
                run = run_store.find_run(rows, pk=run_pk)
            if run is None:
                self._services.files.discard(upload)
                raise NotFoundError("the run was deleted")
            self._services.files.keep(run, name, upload)

        await to_thread.run_sync(keep)
        return Response(status_code=200)

    async def preflight(self, request: Request) -> Response:
        """Tell a browser that this server's own pages may get and put files.

        A request that names another origin does not come this far.
        """
        headers = {"Access-Control-Allow-Methods": "GET, PUT", "Vary": "Origin"}
        if origin := request.headers.get("origin"):
            headers["Access-Control-Allow-Origin"] = origin
        if wanted := request.headers.get("access-control-request-headers"):
            headers["Access-Control-Allow-Headers"] = wanted[:1000]
        return Response(status_code=204, headers=headers)

    async def unknown(self, request: Request) -> Response:
        if request.method == "POST" and is_action(names := segments(request)):
            request.state.kind = "page"
            return await self.actions.act(request, names)
        # W&B's client switches its telemetry off at a 404.
        raise NotFoundError(f"there is nothing at {request.url.path}")

    async def sweeps_page(self, request: Request) -> Response:
        return await kept_page(self._kept, request, ("",), self._services.pages.sweeps)

    async def page(self, request: Request) -> Response:
        pages, metric = self._services.pages, request.query_params.get("metric")
        is_held = "hold" in request.query_params
        names = segments(request)
        if is_action(names):
            return await self.actions.ask(request, names)
        match names:
            case [_, _, "sweeps" | "runs", _, "events"]:
                return await self._events(request, names)
            case [entity, project, "sweeps", sweep]:
                return await self._sweep_pages.page(request, entity, project, sweep)
            case [entity, project, "sweeps", sweep, "figures", name]:
                return await self._sweep_pages.figure(request, entity, project, sweep, name)
            case [entity, project, "compare"]:
                return await self._run_pages.compare(request, entity, project)
            case [entity, project, "runs", run, part] if part in PARTS:
                return await self._run_pages.part(request, entity, project, run, part)

        def write() -> str:
            match names:
                case [entity, project]:
                    return pages.sweeps(entity, project)
                case [entity, project, "runs", run]:
                    return pages.run(entity, project, run, metric, is_held=is_held)
            raise NotFoundError(f"there is nothing at {request.url.path}")

        return await kept_page(self._kept, request, (*names, metric, is_held), write)

    async def _events(self, request: Request, names: list[str]) -> Response:
        """Answer with the stream of what changes on the page of a sweep or run."""
        entity, project, kind, name, _ = names

        def find() -> tuple[Kind, int]:
            if kind == "sweeps":
                return "sweep", self._services.pages.reader.find(entity, project, name)[1].pk
            return "run", self._run_at(entity, project, name).pk

        return self.streams.response(request, *await to_thread.run_sync(find))

    async def _file(self, run: int, name: str) -> Response:
        def find() -> file_store.StoredFile | None:
            with self._services.database.read() as rows:
                return file_store.find_file(rows, run, name)

        file = await to_thread.run_sync(find)
        if file is None or not self._services.files.path(file).is_file():
            raise NotFoundError(f"the run has no file {name!r}")
        # What a run uploaded is never shown as a page of this server's.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return FileResponse(
            self._services.files.path(file), headers=headers, filename=name.rpartition("/")[2]
        )

    def _signed(self, request: Request) -> tuple[int, str]:
        run, token = request.path_params["run"], request.path_params["token"]
        name = "/".join(segments(request)[3:])
        if not self._services.files.is_signed(request.method, run, name, token):
            words = f"the address is not signed by this server for a {request.method} now"
            raise BodyError(403, f"{words}: ask for it again")
        return run, name

    def _run_at(self, entity: str, project: str, run_id: str) -> Run:
        with self._services.database.read() as rows:
            run = run_store.find_run_by_path(rows, entity, project, run_id)
        if run is None:
            raise NotFoundError(f"no run {entity}/{project}/{run_id}")
        return run

    def _context(self, request: Request) -> Context:
        services = self._services
        return Context(
            database=services.database,
            presence=services.presence,
            dispatcher=services.dispatcher,
            intake=services.intake,
            sweeps=services.sweeps,
            files=services.files,
            blobs=services.blobs,
            artifacts=services.artifacts,
            collections=services.collections,
            now=services.now,
            base_url=_base_url(request),
            attempt=_attempt(request),
            is_shared=_is_shared(request),
            user=_user(request),
            key_prefix=shown_prefix(request.headers.get("authorization")),
            is_own_client=request.headers.get("user-agent", "").startswith("sweepctl"),
        )


def _attempt(request: Request) -> int | None:
    text = request.headers.get(_ATTEMPT_HEADER, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _is_shared(request: Request) -> bool:
    return request.headers.get(_SHARED_HEADER, "").lower() == "true"


def _user(request: Request) -> str:
    """Give the name that `WANDB_USERNAME` has W&B's client send."""
    name = request.headers.get(_USER_HEADER, "")
    return name if _USER_NAME.fullmatch(name) else LOCAL_USER


def _base_url(request: Request) -> str:
    """Give this server's address as the client knows it, so that a port-forward works."""
    scheme = request.headers.get("x-forwarded-proto", request.url.scheme)
    if scheme not in ("http", "https"):
        scheme = request.url.scheme
    return f"{scheme}://{request.headers.get('host') or request.url.netloc}"
