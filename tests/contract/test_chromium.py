"""A real Chromium against a real server: a page of another origin writes nothing and reads nothing.

The page is another site's, another program's of this machine, or one whose name was rebound to the
server's address; the browser is logged in or not; the server asks for a key or not. The same
attacks arrive at a server that does not defend itself, so they are real ones.
"""

import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import urlsplit

import pytest

from sweepctl.server.access.data_key import data_key
from sweepctl.server.server_process import LOOPBACK_API_KEY
from sweepctl_pod.wandb.client import Connection, WandbClient
from tests import needs
from tests.chromium import Chromium
from tests.serving import ServerProcess, wait_for

EVIL = "evil.example"
CONFIG = '{"method": "grid", "parameters": {"a": {"values": [1, 2]}}}'
WORSE = '{"method": "grid", "command": ["rm"], "parameters": {"a": {"values": [1]}}}'
TAKE_OVER: dict[str, object] = {
    "query": "mutation M($c: String!, $s: ID) { upsertSweep(input: {id: $s, config: $c,"
    ' projectName: "legs", entityName: "local"}) { sweep { name } } }',
    "variables": {"c": WORSE},
}
PROJECTS = '{ models(entityName: "local") { edges { node { name } } } }'
NEW_PROJECT: dict[str, object] = {
    "query": 'mutation { upsertModel(input: {name: "evil"}) { inserted } }'
}

ATTACKS = """
const body = BODY, there = "THERE/graphql";
const got = {};
const tried = async (name, act) => {
  try { got[name] = await act(); } catch (error) { got[name] = "refused"; }
};
const read = async (answer) => answer.type == "opaque" ? "opaque" : `${answer.status}`;
const post = (type, more) => fetch(there, {method: "POST", body, credentials: "include",
  headers: type ? {"Content-Type": type} : {}, ...more}).then(read);
await tried("text", () => post("text/plain", {mode: "no-cors"}));
await tried("form", () => post("application/x-www-form-urlencoded", {mode: "no-cors"}));
await tried("blob", () => fetch(there, {method: "POST", body: new Blob([body]), mode: "no-cors",
  credentials: "include"}).then(read));
await tried("json", () => post("application/json", {mode: "cors"}));
await tried("key", () => post("application/json", {mode: "cors",
  headers: {"Content-Type": "application/json", Authorization: "Bearer guess"}}));
await tried("put", () => fetch("THERE/storage/1/x/f", {method: "PUT", body,
  credentials: "include"}).then(read));
await tried("stream", () => fetch("THERE/files/local/legs/r/file_stream", {method: "POST", body,
  mode: "no-cors", credentials: "include", headers: {"Content-Type": "text/plain"}}).then(read));
await tried("read", () => fetch("THERE/", {credentials: "include"}).then(read));
await tried("socket", () => new Promise((done) => {
  const socket = new WebSocket("THERE/graphql".replace("http", "ws"));
  socket.onopen = () => { socket.send(body); done("open"); };
  socket.onerror = () => done("refused");
}));
got["beacon"] = `${navigator.sendBeacon(there, new Blob([body], {type: "text/plain"}))}`;
await tried("frame", () => new Promise((done) => {
  const frame = document.createElement("iframe");
  frame.name = "target";
  document.body.append(frame);
  const form = document.createElement("form");
  Object.assign(form, {method: "post", action: there, enctype: "text/plain", target: "target"});
  const field = document.createElement("input");
  // NAME=VALUE of a form in plain text, as JSON.
  Object.assign(field, {name: body.slice(0, -1) + ', "x": "', value: '"}'});
  form.append(field);
  document.body.append(form);
  frame.onload = () => { let seen; try { seen = frame.contentDocument.body.innerText; }
    catch { seen = "hidden"; } done(seen || "hidden"); };
  form.submit();
  setTimeout(() => done("nothing"), 5000);
}));
return got;
"""


def attacks(there: str, what: Mapping[str, object]) -> str:
    """Give the script that tries to write to a server in every way that a page has."""
    return ATTACKS.replace("BODY", json.dumps(json.dumps(what))).replace("THERE", there)


class Quiet(http.server.BaseHTTPRequestHandler):
    """Serves an empty page to everybody, and notes what is sent."""

    protocol_version = "HTTP/1.1"
    sent: list[tuple[str, bytes]]

    def do_GET(self) -> None:
        self._answer(b"<!doctype html><body></body>")

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.sent.append((self.path, self.rfile.read(size)))
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Site:
    """A web server that does not defend itself."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        handler = type("Handler", (Quiet,), {"sent": self.sent})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Rebound:
    """The attacker's name at the port of a server: first the attacker's page, then that server.

    What the browser and the server see is what they see after the name's address has changed.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_rebound = False
        self._listener = socket.create_server(("127.0.0.2", port))
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(visitor,), daemon=True).start()

    def _answer(self, visitor: socket.socket) -> None:
        # A browser connects ahead of what it asks for.
        with visitor:
            first = visitor.recv(65536)
            if first and self.is_rebound:
                self._pass_on(visitor, first)
                return
            page = b"<!doctype html><body></body>"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len(page)}"
            visitor.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + page)

    def _pass_on(self, visitor: socket.socket, first: bytes) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as server:
            server.sendall(first)
            back = threading.Thread(target=_pump, args=(server, visitor), daemon=True)
            back.start()
            _pump(visitor, server)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while block := source.recv(65536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    names = {EVIL: "127.0.0.1", f"rebound.{EVIL}": "127.0.0.2"}
    browser = needs.got(Chromium, tmp_path_factory.mktemp("chromium"), names)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


class Target:
    """A server with a sweep, whose state shows whether anything was written."""

    def __init__(self, server: ServerProcess, *, is_keyed: bool) -> None:
        self.server = server
        self.key = (data_key(server.data) if is_keyed else None) or LOOPBACK_API_KEY
        self.client = WandbClient(Connection(server.url, self.key, "local"))
        self.sweep = self.client.create_sweep("local", "legs", CONFIG)
        self.url = server.url.replace("127.0.0.1", "localhost")

    @property
    def takeover(self) -> dict[str, object]:
        variables = {"c": WORSE, "s": self.sweep.node_id}
        return {**TAKE_OVER, "variables": variables}

    def state(self) -> tuple[str, list[str], list[str]]:
        sweep = self.client.sweep("local", "legs", self.sweep.id)
        found = self.client.graphql(
            '{ models(entityName: "local") { edges { node { name } } } }', {}
        )
        names = [edge["node"]["name"] for edge in found["models"]["edges"]]
        return sweep.config_text, names, [each.id for each in self.client.sweeps("local", "legs")]


@pytest.fixture(params=["logged in", "logged out", "no key is asked for"])
def target(
    request: pytest.FixtureRequest, browser: Chromium, start_server: Callable[..., ServerProcess]
) -> Target:
    """Give a server, and a browser that is logged in there or not."""
    is_keyed = request.param != "no key is asked for"
    target = Target(start_server(is_keyed=is_keyed), is_keyed=is_keyed)
    browser.forget()
    if request.param == "logged in":
        log_in(browser, target)
    return target


def log_in(browser: Chromium, target: Target) -> None:
    """Type the key into the form, as people do."""
    browser.open(f"{target.url}/local/legs")
    browser.wait_until("document.querySelector('[name=key]')")
    browser.run(
        f"document.querySelector('[name=key]').value = '{target.key}';"
        " document.querySelector('form').requestSubmit()"
    )
    browser.wait_until("document.title.startsWith('legs')")


def assert_nothing_is_read(got: dict[str, str]) -> None:
    """Check what the page's script was told: nothing that it could read."""
    assert got, "the attacks ran"
    assert set(got.values()) <= {"refused", "opaque", "hidden", "nothing", "true"}, got
    assert got["json"] == got["put"] == got["read"] == got["socket"] == got["key"] == "refused"


def test_the_attacks_arrive_where_nobody_refuses_them(browser: Chromium, site: Site) -> None:
    victim = Site()
    browser.open(f"http://{EVIL}:{site.port}/")
    got = browser.run(attacks(f"http://localhost:{victim.port}", NEW_PROJECT))
    wait_for("the beacon", lambda: len(victim.sent) >= 6)
    bodies = [body for path, body in victim.sent if path == "/graphql"]
    assert len(bodies) >= 5, got
    assert all(json.loads(body)["query"] == NEW_PROJECT["query"] for body in bodies)
    victim.close()


@pytest.mark.parametrize("host", [EVIL, "localhost"])
def test_a_page_of_another_origin_writes_nothing_and_reads_nothing(
    browser: Chromium, site: Site, target: Target, host: str
) -> None:
    before = target.state()
    for what in (target.takeover, NEW_PROJECT):
        browser.open(f"http://{host}:{site.port}/")
        assert_nothing_is_read(browser.run(attacks(target.url, what)))
    browser.open(f"http://{host}:{site.port}/")
    browser.run(
        "const form = document.createElement('form'); form.method = 'post';"
        f" form.action = '{target.url}/graphql'; form.enctype = 'text/plain';"
        " const field = document.createElement('input');"
        f' field.name = {json.dumps(json.dumps(NEW_PROJECT)[:-1])} + \', "x": "\';'
        " field.value = '\"}'; form.append(field); document.body.append(form); form.submit()"
    )
    browser.wait_until("location.pathname == '/graphql' && document.readyState == 'complete'")
    assert "only this server's own pages may send it" in browser.text()
    assert target.state() == before


def test_a_rebound_name_writes_nothing_and_reads_nothing(browser: Chromium, target: Target) -> None:
    port = urlsplit(target.url).port
    assert port is not None
    before = target.state()
    rebound = Rebound(port)
    try:
        origin = f"http://rebound.{EVIL}:{port}"
        browser.open(f"{origin}/")
        rebound.is_rebound = True
        for what in (target.takeover, NEW_PROJECT):
            got = browser.run(attacks(origin, what))
            assert got["json"] == got["key"] == got["read"] == "403", got
            assert got["text"] == got["form"] == got["blob"] == got["put"] == "403", got
            assert got["socket"] == "refused"
        answer = browser.run(
            "const answer = await fetch('/graphql', {method: 'POST', body: '{}',"
            " headers: {'Content-Type': 'application/json'}}); return await answer.text()"
        )
        assert f"the request names the host 'rebound.{EVIL}:{port}'" in answer
    finally:
        rebound.close()
    assert target.state() == before


FORM = """
const form = document.createElement("form");
Object.assign(form, {method: "post", action: ACTION, target: TARGET});
const field = document.createElement("input");
Object.assign(field, {name: "token", value: "0".repeat(64)});
form.append(field);
document.body.append(form);
form.submit();
"""
LOADS = """
const image = new Image(), credentials = "include", mode = "no-cors";
const loaded = new Promise((done) => { image.onerror = image.onload = done; });
image.src = ACTION;
const all = Promise.allSettled([loaded, fetch(ACTION, {mode, credentials}), fetch(ACTION,
  {method: "POST", mode, credentials, body: new URLSearchParams({token: ""})})]);
// Where nobody is logged in, the browser asks for a name and a password, without end.
await Promise.race([all, new Promise((done) => setTimeout(done, 2000))]);
return "tried";
"""


def actions_of(target: Target) -> list[str]:
    there = f"{target.url}/local/legs/sweeps/{target.sweep.id}"
    return [*(f"{there}/{verb}" for verb in ("pause", "cancel")), f"{target.url}/logout"]


def is_untouched(browser: Chromium, target: Target, cookies: int) -> bool:
    sweep = target.client.sweep("local", "legs", target.sweep.id)
    # A page that was looked at may have left the cookie that its form is bound to.
    kept = [each for each in browser.cookies() if not each["name"].endswith("-forms")]
    return sweep.state == "PENDING" and len(kept) == cookies


@pytest.mark.parametrize("host", [EVIL, "localhost"])
def test_a_page_of_another_origin_presses_no_button(
    browser: Chromium, site: Site, target: Target, host: str
) -> None:
    cookies = len(browser.cookies())
    for action in actions_of(target):
        said = json.dumps(action)
        browser.open(f"http://{host}:{site.port}/")
        assert browser.run(LOADS.replace("ACTION", said)) == "tried"
        browser.run(FORM.replace("ACTION", said).replace("TARGET", '"_self"'))
        path = json.dumps(urlsplit(action).path)
        browser.wait_until(f"location.pathname == {path} && document.readyState == 'complete'")
        assert "only this server's own pages may send it" in browser.text()
        # As a link, the most that another site may: it asks, or asks for the key.
        browser.open(f"http://{host}:{site.port}/")
        browser.run(f"location.href = {said}")
        browser.wait_until(f"location.pathname == {path} && document.readyState == 'complete'")
        assert is_untouched(browser, target, cookies), action


def test_a_rebound_name_presses_no_button(browser: Chromium, target: Target) -> None:
    port = urlsplit(target.url).port
    assert port is not None
    rebound = Rebound(port)
    cookies = len(browser.cookies())
    try:
        browser.open(f"http://rebound.{EVIL}:{port}/")
        rebound.is_rebound = True
        for action in actions_of(target):
            here = json.dumps(urlsplit(action).path)
            got = browser.run(
                f"const body = new URLSearchParams({{token: '0'.repeat(64)}}); const page ="
                f" await fetch({here}); const done = await fetch({here}, {{method: 'POST', body}});"
                " return [page.status, done.status, await done.text()]"
            )
            assert got[:2] == [403, 403]
            assert f"the request names the host 'rebound.{EVIL}:{port}'" in got[2]
            assert is_untouched(browser, target, cookies), action
    finally:
        rebound.close()


@pytest.mark.parametrize("has_scripts", [True, False])
@pytest.mark.parametrize("is_keyed", [True, False])
def test_people_press_buttons_with_scripts_and_without(
    browser: Chromium, start_server: Callable[..., ServerProcess], is_keyed: bool, has_scripts: bool
) -> None:
    target = Target(start_server(is_keyed=is_keyed), is_keyed=is_keyed)
    browser.forget()
    if is_keyed:
        log_in(browser, target)
    page = f"{target.url}/local/legs/sweeps/{target.sweep.id}"
    ready = "document.readyState == 'complete'"

    def press(verb: str, is_at_once: bool) -> None:
        browser.open(page)
        browser.run(f"document.querySelector('a[href$=\"/{verb}\"]').click()")
        if not is_at_once:
            browser.wait_until(f"location.pathname.endsWith('/{verb}') && {ready}")
            browser.run("document.querySelector('main form button').click()")
        browser.wait_until(f"location.href == '{page}' && {ready}")

    browser.switch_scripts(are_on=has_scripts)
    try:
        for verb, state in (("pause", "PAUSED"), ("resume", "RUNNING"), ("cancel", "CANCELED")):
            press(verb, is_at_once=has_scripts and verb != "cancel")
            browser.wait_until(f"document.querySelector('h1 .state.{state}')")
            assert target.client.sweep("local", "legs", target.sweep.id).state == state
        assert browser.run("return document.querySelectorAll('.actions a').length") == 0
        if is_keyed:
            (cookie,) = browser.cookies()
            browser.run("document.querySelector('a[href=\"/logout\"]').click()")
            if not has_scripts:
                browser.wait_until(f"location.pathname == '/logout' && {ready}")
                browser.run("document.querySelector('main form button').click()")
            browser.wait_until("document.querySelector('[name=key]')")
            assert browser.cookies() == []
            copied = {"Accept": "text/html", "Cookie": f"{cookie['name']}={cookie['value']}"}
            assert target.server.request("GET", "/", headers=copied, key=None)[0] == 401
    finally:
        browser.switch_scripts(are_on=True)


def test_people_log_in_once_and_by_a_link_and_the_cookie_is_hidden_from_scripts(
    browser: Chromium, site: Site, start_server: Callable[..., ServerProcess]
) -> None:
    target = Target(start_server(is_keyed=True), is_keyed=True)
    browser.forget()
    log_in(browser, target)
    (cookie,) = browser.cookies()
    assert cookie["name"] == f"sweepctl-{urlsplit(target.url).port}"
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert cookie["session"]
    assert browser.run("return document.cookie") == "", "and no script sees it"
    browser.open(f"{target.url}/local/legs/sweeps/{target.sweep.id}")
    assert target.sweep.id in browser.text()
    browser.forget()
    # From a page of another site, as from a chat: the browser keeps strict cookies back then.
    token = json.loads(target.server.request("POST", "/login/links", b"{}", key=target.key)[2])[
        "token"
    ]
    browser.open(f"http://{EVIL}:{site.port}/")
    link = f"{target.url}/local/legs/sweeps/{target.sweep.id}?login={token}"
    browser.run(f"location.href = '{link}'")
    browser.wait_until(
        f"location.href == '{target.url}/local/legs/sweeps/{target.sweep.id}'"
        " && document.readyState == 'complete'"
    )
    assert "Log in" not in browser.text()
    assert target.sweep.id in browser.text()
    browser.forget()
    browser.open(link)
    assert "This link was used" in browser.text()
