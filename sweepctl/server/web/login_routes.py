"""The login of people: the form, the cookie, and links that log in once."""

from __future__ import annotations

import urllib.parse

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sweepctl.server.access.logins import LINK_S, Logins, cookie_name, place_inside
from sweepctl.server.web.forms import keep_login, read_form
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.requests import json_response, page_response, read_json

_LINK = "login"
_NOT_KEPT = {"Cache-Control": "no-store"}


class LoginRoutes:
    """Answers what has to do with logins; `answers` asks it about requests without a key."""

    def __init__(self, logins: Logins, pages: Pages) -> None:
        self._logins = logins
        self._pages = pages

    def is_logged_in(self, request: Request) -> bool:
        """Say whether a request that only reads comes with a cookie that holds."""
        return request.method in ("GET", "HEAD") and self.has_login(request)

    def has_login(self, request: Request) -> bool:
        """Say whether a request comes with a cookie that holds, whatever it is for."""
        return self._logins.holds(_cookie_of(request))

    async def log_out(self, request: Request) -> Response:
        """End the login at the server, and have the browser drop its cookie."""
        await to_thread.run_sync(self._logins.end, _cookie_of(request))
        answer = RedirectResponse("/", 303, headers=_NOT_KEPT)
        name = cookie_name(request.headers.get("host", ""))
        answer.delete_cookie(name, httponly=True, samesite="strict")
        return answer

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
            keep_login(request, answer, cookie)
            return answer
        if is_allowed:
            return RedirectResponse(place, 303, headers=_NOT_KEPT)
        return self.form(place, f"This link was used, or is older than {LINK_S:g} s.")

    def form(self, place: str, problem: str | None = None) -> Response:
        """Ask for the key, to go on to a place then."""
        return page_response(self._pages.login(place, problem), 401, headers=_NOT_KEPT)

    async def log_in(self, request: Request) -> Response:
        """Take the key that was typed into the form."""
        fields = await read_form(request)
        place = place_inside(fields.get("next", "/"))
        cookie = self._logins.of_key(fields.get("key", ""))
        if cookie is None:
            return self.form(place, "This is not one of the server's keys.")
        answer = RedirectResponse(place, 303, headers=_NOT_KEPT)
        keep_login(request, answer, cookie)
        return answer

    async def new_link(self, request: Request) -> Response:
        """Give a link's token to who has a key; null to who needs none."""
        await read_json(request)
        token = self._logins.new_link(request.headers.get("authorization"))
        return json_response({"token": token, "seconds": LINK_S}, headers=_NOT_KEPT)


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


def _cookie_of(request: Request) -> str | None:
    return request.cookies.get(cookie_name(request.headers.get("host", "")))
