"""The pages that ask before they act, and the forms on them: who may act, and what is answered."""

from __future__ import annotations

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.access.logins import Logins
from sweepctl.server.engine.sweep_config import SweepError
from sweepctl.server.web.actions import LOG_OUT, Actions
from sweepctl.server.web.forms import Forms, keep_form_cookie, read_form
from sweepctl.server.web.login_routes import LoginRoutes
from sweepctl.server.web.pages import Pages
from sweepctl.server.web.requests import page_response
from sweepctl.server.web.run_table import address

_NOT_KEPT = {"Cache-Control": "no-store"}
_OTHER_FORM = (
    "The form was given to another login, or to none. Nothing was done: open the page again."
)


class ActionRoutes:
    """Answers at the addresses of actions: GET asks and changes nothing, POST acts."""

    def __init__(
        self,
        actions: Actions,
        api_keys: ApiKeys,
        logins: Logins,
        login_routes: LoginRoutes,
        pages: Pages,
    ) -> None:
        self._actions = actions
        self._api_keys = api_keys
        self._login_routes = login_routes
        self._forms = Forms(logins)
        self._pages = pages

    async def ask(self, request: Request, names: list[str]) -> Response:
        """Give the page with the form; the guard has looked at the login."""
        question = await to_thread.run_sync(self._actions.question, names)
        token, cookie = self._forms.token(request)
        answer = page_response(self._pages.question(question, token), headers=_NOT_KEPT)
        if cookie is not None:
            keep_form_cookie(request, answer, cookie)
        return answer

    async def act(self, request: Request, names: list[str]) -> Response:
        """Do what a form asks for, and go back to where it was asked."""
        fields = await read_form(request)
        given = request.headers.get("authorization")
        if not (
            self._login_routes.has_login(request) or self._api_keys.allows(given, is_write=True)
        ):
            return self._login_routes.form(address(*names))
        place = address(*names)
        if not self._forms.is_own(request, fields):
            return self._refusal(403, _OTHER_FORM, place)
        if tuple(names) == LOG_OUT:
            return await self._login_routes.log_out(request)
        try:
            back = await to_thread.run_sync(self._actions.act, names)
        except SweepError as error:
            return self._refusal(409, error.message, place.rpartition("/")[0])
        return RedirectResponse(back, 303, headers=_NOT_KEPT)

    def _refusal(self, status: int, message: str, place: str) -> Response:
        return page_response(self._pages.not_done(message, place), status, headers=_NOT_KEPT)
