"""Pause, resume, stop and cancel from the pages, and the stop of one run; log out."""

import re
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.store.run_store import Run
from sweepctl.server.store.sweep_store import RegisteredAgent, Sweep
from sweepctl.server.web.metrics import Metrics
from sweepctl_pod.wandb.states import RunState, SweepState
from tests.unit.server_in_process import ApiClient, InProcessServer, served

KEY, OTHER, METRICS = "k" * 40, "o" * 40, "m" * 40
PAGE = {"accept": "text/html,application/xhtml+xml"}
OWN = {"origin": "http://server:1234", "content-type": "application/x-www-form-urlencoded"}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


class Browser:
    """Keeps cookies, as a browser does; logged in with a key, or not."""

    def __init__(self, client: ApiClient, key: str | None = None) -> None:
        self._client = client
        self.cookies: dict[str, str] = {}
        if key is not None:
            self.post("/login", {"key": key, "next": "/"})

    def get(self, place: str) -> httpx.Response:
        return self._sent("GET", place)

    def post(
        self, place: str, fields: dict[str, str], headers: dict[str, str] = OWN
    ) -> httpx.Response:
        return self._sent("POST", place, headers=headers, content=urlencode(fields))

    def token(self, place: str) -> dict[str, str]:
        found = re.search(r'name="token" value="([0-9a-f]{64})"', self.get(place).text)
        return {"token": found[1]} if found else {}

    def act(self, place: str) -> httpx.Response:
        """Open the page that asks, and press its button."""
        return self.post(place, self.token(place))

    def _sent(self, method: str, place: str, **how: object) -> httpx.Response:
        cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        headers = {**PAGE, **cookie, **how.pop("headers", {})}  # type: ignore[dict-item]
        answer = self._client.request(method, place, headers=headers, **how)
        for each in answer.headers.get_list("set-cookie"):
            name, _, value = each.partition(";")[0].partition("=")
            assert "httponly" in each.lower()
            assert "samesite=strict" in each.lower()
            self.cookies[name] = value.strip('"')
        return answer


def asked(server: InProcessServer) -> tuple[Sweep, RegisteredAgent, Run]:
    """Give a sweep with an agent that has a run."""
    sweep = server.sweep()
    agent = server.dispatcher.register(sweep.id, "box")
    server.beat(agent)
    (run,) = server.held(agent)
    return sweep, agent, run


def state_of(server: InProcessServer, sweep: Sweep) -> str:
    return server.state(sweep)


VERBS = {
    "pause": SweepState.PAUSED,
    "resume": SweepState.RUNNING,
    "stop": SweepState.FINISHED,
    "cancel": SweepState.CANCELED,
}


@pytest.mark.parametrize("is_keyed", [True, False])
@pytest.mark.parametrize("verb", VERBS)
def test_a_form_does_what_the_verb_does_and_twice_is_once(
    server: InProcessServer, verb: str, is_keyed: bool
) -> None:
    sweep, _, _ = asked(server)
    if verb == "resume":
        server.sweeps.ask(sweep.pk, SweepState.PAUSED)
    browser = Browser(served(server, keys=(KEY,) if is_keyed else ()), KEY if is_keyed else None)
    page = f"/local/p/sweeps/{sweep.id}"
    assert f'href="{page}/{verb}"' in browser.get(page).text
    token = browser.token(f"{page}/{verb}")
    for _ in range(2):
        answer = browser.post(f"{page}/{verb}", token)
        assert (answer.status_code, answer.headers["location"]) == (303, page)
        assert state_of(server, sweep) == VERBS[verb]
    assert "already" in browser.get(f"{page}/{verb}").text
    assert (
        len([line for line in server.log if line == f"sweep {sweep.id} is {VERBS[verb].value}"])
        == 1
    )


def test_no_get_changes_anything_and_none_is_kept(server: InProcessServer) -> None:
    sweep, _, run = asked(server)
    browser = Browser(served(server, keys=(KEY,)), KEY)
    for place in (*(f"sweeps/{sweep.id}/{verb}" for verb in VERBS), f"runs/{run.id}/stop"):
        answer = browser.get(f"/local/p/{place}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert browser.get("/logout").status_code == 200
    assert browser.get("/").status_code == 200, "still logged in"
    assert state_of(server, sweep) == "RUNNING"
    assert not server.run(run.id).is_stop_asked


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        (OWN, "own", 303),
        ({"sec-fetch-site": "same-origin"}, "own", 303),
        ({}, "own", 403),
        ({"origin": "http://evil.example"}, "own", 403),
        ({"origin": "http://server:9999"}, "own", 403),
        ({"origin": "null"}, "own", 403),
        ({"sec-fetch-site": "cross-site"}, "own", 403),
        ({"sec-fetch-site": "same-site"}, "own", 403),
        (OWN, "none", 403),
        (OWN, "another login's", 403),
        (OWN, "wrong", 403),
        (OWN, "another of the same key", 403),
    ],
)
@pytest.mark.parametrize("is_keyed", [True, False])
def test_only_a_form_of_this_server_for_this_browser_acts(
    server: InProcessServer, headers: dict[str, str], token: str, status: int, is_keyed: bool
) -> None:
    sweep, _, run = asked(server)
    client = served(server, keys=(KEY, OTHER) if is_keyed else ())
    mine = Browser(client, KEY if is_keyed else None)
    other = Browser(client, OTHER if is_keyed else None)
    second = Browser(client, KEY if is_keyed else None)
    kind = {"content-type": "application/x-www-form-urlencoded"}
    for place in (f"/local/p/runs/{run.id}/stop", f"/local/p/sweeps/{sweep.id}/cancel", "/logout"):
        own = mine.token(place)
        sent = {
            "own": own,
            "none": {},
            "wrong": {"token": "0" * 64},
            "another login's": other.token(place),
            "another of the same key": second.token(place),
        }[token]
        assert mine.post(place, sent, {**kind, **headers}).status_code == status, place
    changed = (state_of(server, sweep), server.run(run.id).is_stop_asked)
    assert changed == (("CANCELED", True) if status == 303 else ("RUNNING", False))


@pytest.mark.parametrize("authorization", [None, f"Bearer {METRICS}", "Bearer " + "x" * 40])
def test_who_has_no_login_is_asked_for_the_key(
    server: InProcessServer, authorization: str | None
) -> None:
    sweep, _, _ = asked(server)
    metrics = Metrics(
        server.database, server.presence, server.clock, server.limits, keys=ApiKeys([METRICS])
    )
    client = served(server, keys=(KEY,), metrics=metrics)
    given = {} if authorization is None else {"authorization": authorization}
    place = f"/local/p/sweeps/{sweep.id}/cancel"
    assert client.request("GET", place, headers={**PAGE, **given}).status_code == 401
    stranger, mine = Browser(client, METRICS), Browser(client, KEY)
    for cookies in ({}, {"sweepctl-1234-forms": "0" * 32}):
        stranger.cookies = cookies
        answer = stranger.post(place, mine.token(place), {**OWN, **given})
        assert answer.status_code == 401
        assert f'value="{place}"' in answer.text, "after the login it asks"
    assert state_of(server, sweep) == "RUNNING"


def test_a_key_in_the_header_acts_by_the_form_as_well(server: InProcessServer) -> None:
    sweep, _, _ = asked(server)
    client = served(server, keys=(KEY,))
    bearer = {"authorization": f"Bearer {KEY}"}
    place = f"/local/p/sweeps/{sweep.id}/pause"
    page = client.request("GET", place, headers={**PAGE, **bearer})
    cookie = page.headers["set-cookie"].partition(";")[0]
    token = re.search(r'value="([0-9a-f]{64})"', page.text)
    assert token
    sent = {**OWN, **bearer}
    content = urlencode({"token": token[1]})
    assert client.post(place, headers=sent, content=content).status_code == 403, "no cookie"
    with_cookie = {**sent, "cookie": cookie}
    assert client.post(place, headers=with_cookie, content=content).status_code == 303
    assert state_of(server, sweep) == "PAUSED"


@pytest.mark.parametrize(
    ("state", "verb", "words"),
    [
        (SweepState.CANCELED, "pause", "was cancelled already: there is nothing to pause"),
        (SweepState.CANCELED, "stop", "was cancelled already: there is nothing to stop"),
        (SweepState.FINISHED, "pause", "is finished already: there is nothing to pause"),
    ],
)
def test_a_sweep_that_has_ended_says_so(
    server: InProcessServer, state: SweepState, verb: str, words: str
) -> None:
    sweep, _, _ = asked(server)
    browser = Browser(served(server))
    place = f"/local/p/sweeps/{sweep.id}/{verb}"
    token = browser.token(place)
    server.sweeps.ask(sweep.pk, state)
    answer = browser.post(place, token)
    assert answer.status_code == 409
    assert words in answer.text
    assert words in browser.get(place).text
    assert "<button" not in browser.get(place).text
    assert state_of(server, sweep) == state


def test_a_stopped_sweep_with_runs_under_way_is_cancelled_and_one_without_is_not(
    server: InProcessServer,
) -> None:
    sweep, agent, run = asked(server)
    browser = Browser(served(server))
    page = f"/local/p/sweeps/{sweep.id}"
    browser.act(f"{page}/stop")
    assert "1 run is under way and killed" in browser.get(f"{page}/cancel").text
    assert browser.act(f"{page}/cancel").status_code == 303
    assert server.beat(agent, run.id) == [{"type": "stop", "run_id": run.id}]
    ended = server.sweep({"method": "grid", "parameters": {"a": {"values": [1]}}})
    server.sweeps.ask(ended.pk, SweepState.FINISHED)
    assert "there is nothing to cancel" in browser.get(f"/local/p/sweeps/{ended.id}/cancel").text


def test_a_run_is_stopped_by_its_agents_next_heartbeat(server: InProcessServer) -> None:
    _, agent, run = asked(server)
    browser = Browser(served(server))
    page = f"/local/p/runs/{run.id}"
    assert "Stop this run" in browser.get(page).text
    answer = browser.act(f"{page}/stop")
    assert (answer.status_code, answer.headers["location"]) == (303, page)
    assert "It is asked to stop" in browser.get(page).text
    assert "Stop this run" not in browser.get(page).text
    assert "was asked to stop already" in browser.get(f"{page}/stop").text
    assert server.beat(agent, run.id) == [{"type": "stop", "run_id": run.id}]
    token = Browser(served(server))
    server.beat(agent)
    assert server.run(run.id).state == RunState.KILLED
    late = token.post(f"{page}/stop", token.token(f"/local/p/sweeps/{server.sweep().id}/pause"))
    assert late.status_code == 409
    assert "The run is not running: it is killed already" in late.text


def test_what_is_not_there_and_names_of_any_kind_are_answered_as_pages(
    server: InProcessServer,
) -> None:
    browser = Browser(served(server))
    for place in ("sweeps/none/pause", "runs/none/stop", "sweeps/none/delete", "runs/none/pause"):
        assert browser.get(f"/local/p/{place}").status_code == 404
        assert browser.post(f"/local/p/{place}", {"token": "x"}).status_code in (403, 404)
    odd = {"method": "grid", "name": "<b>&'\"", "parameters": {"a": {"values": [1]}}}
    sweep = server.sweep(odd)
    text = browser.get(f"/local/p/sweeps/{sweep.id}/cancel").text
    assert "<b>" not in text
    assert "&lt;b&gt;" in text


def test_who_logs_out_is_logged_out_at_the_server_in_every_copy_and_for_good(
    server: InProcessServer,
) -> None:
    client = served(server, keys=(KEY,))
    browser, other = Browser(client, KEY), Browser(client, KEY)
    assert 'href="/logout"' in browser.get("/").text
    kept = dict(browser.cookies)
    answer = browser.act("/logout")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert not browser.cookies["sweepctl-1234"]
    copy = Browser(client)
    copy.cookies = kept
    assert copy.get("/").status_code == 401
    assert other.get("/").status_code == 200, "another login goes on"
    server.restart()
    again = served(server, keys=(KEY,))
    copy = Browser(again)
    copy.cookies = kept
    assert copy.get("/").status_code == 401
    assert 'href="/logout"' not in Browser(served(server)).get("/").text, "no key, no login"
