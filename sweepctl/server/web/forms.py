"""The forms of pages: read, and known for this server's own and given to this very browser.

What a page of another site sends does not come this far (`gate`); here it is asked once more, since
a form is the one thing that a browser posts for any page without a question. A form that changes
something has a token, bound to the cookie of the login, or where no key is asked for to one that
is there for this alone.
"""

from __future__ import annotations

import hmac
import re
import secrets
import urllib.parse
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from sweepctl.server.access.logins import Logins, cookie_name
from sweepctl.server.web.requests import BodyError, read_body

TOKEN = "token"
_MAX_FORM_BYTES = 1 << 16
"""Whoever sends the form may have shown no key yet."""

_MAX_FIELDS = 10
_SESSION = re.compile(r"[0-9a-f]{32}")


async def read_form(request: Request) -> dict[str, str]:
    """Read a form of this server's own pages; a BodyError says why it is none."""
    sites = request.headers.getlist("sec-fetch-site")
    if "origin" not in request.headers and sites != ["same-origin"]:
        # The gate has compared the origin. Without one, nobody knows whose form it was.
        raise BodyError(403, "only this server's own forms are taken: open / for them")
    text = (await read_body(request, _MAX_FORM_BYTES)).decode("utf-8", "replace")
    try:
        fields = urllib.parse.parse_qs(text, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise BodyError(400, f"the form has more than {_MAX_FIELDS} fields") from error
    return {name: values[0] for name, values in fields.items()}


class Forms:
    """Gives forms their tokens, and compares them."""

    def __init__(self, logins: Logins) -> None:
        self._logins = logins

    def token(self, request: Request) -> tuple[str, str | None]:
        """Give the token of a form for a browser, and the cookie that it needs if it has none."""
        session = self._session(request)
        new = None if session else secrets.token_hex(16)
        return self._logins.form_token(session or str(new)), new

    def is_own(self, request: Request, fields: Mapping[str, str]) -> bool:
        """Say whether the browser that sends a form is the one that it was given to."""
        session = self._session(request)
        if session is None:
            return False
        wanted, given = self._logins.form_token(session), fields.get(TOKEN, "")
        return hmac.compare_digest(wanted.encode(), given.encode("utf-8", "surrogatepass"))

    def _session(self, request: Request) -> str | None:
        """Give the cookie that a form is bound to: that of the login, if there is one."""
        host = request.headers.get("host", "")
        login = request.cookies.get(cookie_name(host))
        if self._logins.holds(login):
            return login
        found = request.cookies.get(_form_cookie(host), "")
        return found if _SESSION.fullmatch(found) else None


def keep_login(request: Request, answer: Response, cookie: str) -> None:
    """Have a browser keep the cookie of its login."""
    _keep(request, answer, cookie_name(request.headers.get("host", "")), cookie)


def keep_form_cookie(request: Request, answer: Response, cookie: str) -> None:
    """Have a browser keep the cookie that its forms are bound to."""
    _keep(request, answer, _form_cookie(request.headers.get("host", "")), cookie)


def _form_cookie(host: str) -> str:
    return f"{cookie_name(host)}-forms"


def _keep(request: Request, answer: Response, name: str, cookie: str) -> None:
    answer.set_cookie(
        name,
        cookie,
        httponly=True,
        samesite="strict",
        secure=request.headers.get("x-forwarded-proto", request.url.scheme) == "https",
    )
