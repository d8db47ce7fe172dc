"""The login of people: the form, the cookie, and links that log in once."""

from __future__ import annotations

import urllib.parse

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sweepctl.server.access.logins import LINK_S, Logins, cookie_name, place_inside
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.requests import (
    BodyError,
    json_response,
    page_response,
    read_body,
    read_json,
)

_LINK = "login"
_NOT_KEPT = {"Cache-Control": "no-store"}
_MAX_FORM_BYTES = 1 << 16
"""Whoever sends the form has shown no key yet."""

_MAX_FIELDS = 10


class LoginRoutes:
    """Answers what has to do with logins; `answers` asks it about requests without a key."""

    def __init__(self, logins: Logins, pages: Pages) -> None:
        self._logins = logins
        self._pages = pages

    def is_logged_in(self, request: Request) -> bool:
        """Say whether a request that only reads comes with a cookie that holds."""
        name = cookie_name(request.headers.get("host", ""))
        return request.method in ("GET", "HEAD") and self._logins.holds(request.cookies.get(name))

    def by_link(self, request: Request, *, is_allowed: bool) -> Response | None:
        """Log in who comes by a link, unless that is no need; None for another request."""
        token = request.query_params.get(_LINK)
        if token is None or request.method != "GET":
            return None
        place = _without_link(request)
        cookie = self._logins.of_link(token)
        if cookie is not None:
            # A page that goes on by itself: after a redirect the browser would still count this as
            # a visit from where the link stood, and keep the cookie back.
            answer = page_response(self._pages.logged_in(place), headers=_NOT_KEPT)
            self._keep(request, answer, cookie)
            return answer
        if is_allowed:
            return RedirectResponse(place, 303, headers=_NOT_KEPT)
        return self.form(place, f"This link was used, or is older than {LINK_S:g} s.")

    def form(self, place: str, problem: str | None = None) -> Response:
        """Ask for the key, to go on to a place then."""
        return page_response(self._pages.login(place, problem), 401, headers=_NOT_KEPT)

    async def log_in(self, request: Request) -> Response:
        """Take the key that was typed into the form."""
        sites = request.headers.getlist("sec-fetch-site")
        if "origin" not in request.headers and sites != ["same-origin"]:
            # The gate has compared the origin. Without one, nobody knows whose form it was.
            raise BodyError(403, "the key is typed into this server's own form: open / for it")
        text = (await read_body(request, _MAX_FORM_BYTES)).decode("utf-8", "replace")
        try:
            fields = urllib.parse.parse_qs(text, max_num_fields=_MAX_FIELDS)
        except ValueError as error:
            raise BodyError(400, f"the form has more than {_MAX_FIELDS} fields") from error
        place = place_inside(fields.get("next", ["/"])[0])
        cookie = self._logins.of_key(fields.get("key", [""])[0])
        if cookie is None:
            return self.form(place, "This is not one of the server's keys.")
        answer = RedirectResponse(place, 303, headers=_NOT_KEPT)
        self._keep(request, answer, cookie)
        return answer

    async def new_link(self, request: Request) -> Response:
        """Give a link's token to who has a key; null to who needs none."""
        await read_json(request)
        token = self._logins.new_link(request.headers.get("authorization"))
        return json_response({"token": token, "seconds": LINK_S}, headers=_NOT_KEPT)

    def _keep(self, request: Request, answer: Response, cookie: str) -> None:
        answer.set_cookie(
            cookie_name(request.headers.get("host", "")),
            cookie,
            httponly=True,
            samesite="strict",
            secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
        )


def place_of(request: Request) -> str:
    """Give the place that a request asks for, as it stands in an address."""
    raw = request.scope.get("raw_path") or request.url.path.encode()
    query = request.scope.get("query_string") or b""
    place = raw.decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")
    return place_inside(place)


def _without_link(request: Request) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != _LINK]
    raw = (request.scope.get("raw_path") or request.url.path.encode()).decode("latin-1")
    return place_inside(raw + (f"?{urllib.parse.urlencode(kept)}" if kept else ""))
