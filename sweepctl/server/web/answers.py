"""Which answer a request gets: its key is checked, and its errors become HTTP statuses.

401 is answered to a wrong key only and 404 to what is gone for good: W&B's client gives up on both.
Trouble that may pass is 503, which the client tries again.
"""

from __future__ import annotations

import traceback
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from graphql import ExecutionResult, GraphQLError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.bounds import EndingError, TooCostlyError
from sweepctl.server.errors import (
    BadMessageError,
    EngineUnavailableError,
    FileNameError,
    GoneError,
    NotFoundError,
    StoreUnavailableError,
)
from sweepctl.server.store.troubles import Troubles
from sweepctl.server.web.login_routes import LoginRoutes, place_of
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.requests import (
    BodyError,
    error_response,
    json_response,
    page_response,
)
from sweepctl_pod.errors import SweepctlError

_RETRY_AFTER = {"Retry-After": "5"}
_API = (
    "graphql",
    "files",
    "storage",
    "blobs",
    "wandb_artifacts",
    "artifacts",
    "artifactsV2",
)
_SIGNED = ("storage", "blobs", "wandb_artifacts")

Handler = Callable[[Request], Awaitable[Response]]


class Answers:
    """Turns what handlers give and raise into responses; it logs what nobody expected once."""

    def __init__(
        self,
        api_keys: ApiKeys,
        logins: LoginRoutes,
        pages: Pages,
        troubles: Troubles,
        log: Callable[[str], None],
    ) -> None:
        self._api_keys = api_keys
        self._logins = logins
        self._pages = pages
        self._troubles = troubles
        self._log = log
        self._logged_traces: set[str] = set()

    def guarded(self, handler: Handler, *, is_open: bool) -> Handler:
        """Check the key, and turn errors into answers."""

        async def answer(request: Request) -> Response:
            refusal = None if is_open else self._unless_allowed(request)
            if refusal is not None:
                return refusal
            try:
                return await handler(request)
            except BodyError as error:
                return error_response(error.status, error.message)
            except (BadMessageError, FileNameError) as error:
                return error_response(400, error.message)
            except TooCostlyError as error:
                return error_response(400, error.message)
            except EndingError as error:
                return error_response(503, error.message, _RETRY_AFTER)
            except GoneError as error:
                return error_response(409, error.message)
            except RecursionError:
                return error_response(400, "what was sent is nested too deeply")
            except NotFoundError as error:
                return self._missing(request, error.message)
            except (StoreUnavailableError, EngineUnavailableError) as error:
                return self._unavailable(error.message)
            except OSError as error:
                return self._unavailable(f"the data folder is not usable now: {error.strerror}")
            except ClientDisconnect:
                return Response(status_code=400)
            except Exception as error:
                return self._unexpected(request, error)

        return answer

    def _unless_allowed(self, request: Request) -> Response | None:
        """Answer what has no key: people with the login, clients in the form they expect."""
        is_write = request.method not in ("GET", "HEAD")
        given = request.headers.get("authorization")
        is_allowed = self._api_keys.allows(given, is_write=is_write)
        is_allowed = is_allowed or self._logins.is_logged_in(request)
        by_link = self._logins.by_link(request, is_allowed=is_allowed)
        if by_link is not None or is_allowed:
            return by_link
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            return self._logins.form(place_of(request))
        headers = {"WWW-Authenticate": 'Basic realm="sweepctl"'}
        return error_response(401, "the API key is not one of this server's", headers)

    def of_graphql(self, request: Request, result: ExecutionResult) -> Response:
        """Answer with the result of an operation; an error that may pass is the whole answer."""
        errors: list[dict[str, str]] = []
        for error in result.errors or []:
            cause = error.original_error
            if isinstance(cause, StoreUnavailableError | EngineUnavailableError):
                return self._unavailable(cause.message)
            if isinstance(cause, EndingError):
                return error_response(503, cause.message, _RETRY_AFTER)
            if isinstance(cause, NotFoundError):
                return error_response(404, cause.message)
            if isinstance(cause, GoneError):
                # As at W&B, whose client gives up then.
                return error_response(409, cause.message)
            if isinstance(cause, OSError):
                return self._unavailable(f"the data folder is not usable now: {cause.strerror}")
            if cause is not None and not isinstance(cause, SweepctlError | GraphQLError):
                if not isinstance(cause, OverflowError | UnicodeError | RecursionError):
                    return self._unexpected(request, cause)
                errors.append({"message": f"a value cannot be stored: {cause}"})
                continue
            errors.append({"message": error.message})
        document: dict[str, Any] = {"data": result.data}
        if errors:
            document["errors"] = errors
        return json_response(document)

    def _missing(self, request: Request, message: str) -> Response:
        """Answer people with a page, and clients in the form they expect."""
        is_for_people = "text/html" in request.headers.get("accept", "")
        if request.method != "GET" or not is_for_people or segments(request)[0] in _API:
            return error_response(404, message)
        return page_response(self._pages.missing(message), 404)

    def _unavailable(self, message: str) -> Response:
        self._troubles.note(message, self._log)
        return error_response(503, message, _RETRY_AFTER)

    def _unexpected(self, request: Request, error: Exception) -> Response:
        # A signed address opens a file to whoever reads it in the log.
        is_signed = segments(request)[0] in _SIGNED
        path = f"/{segments(request)[0]}/…" if is_signed else request.url.path
        where = f"{request.method} {path}"
        self._log(f"unexpected error at {where}: {type(error).__name__}: {error}")
        # Clients come again and again: where in the code it was is logged once.
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        if trace not in self._logged_traces:
            self._logged_traces.add(trace)
            for line in trace.rstrip().splitlines():
                self._log(line)
        return error_response(500, "an unexpected error in the server; its log tells more")


def segments(request: Request) -> list[str]:
    """Take the path apart before it is decoded: a project's name may hold a slash."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    return [urllib.parse.unquote(part) for part in raw.decode("latin-1").strip("/").split("/")]
