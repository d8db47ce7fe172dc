"""Logins of people: the form, the cookie, links that log in once. An API takes no login."""

import gzip
import re
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from sweepctl.server.access.allowed import ApiKeys
from sweepctl.server.access.logins import LINK_S, Logins, cookie_name, place_inside
from sweepctl.server.access.named_keys import WatchedKeys, add_key, revoke_key
from sweepctl.server.artifacts.blobs import Blobs
from sweepctl.server.runs.files import RunFiles
from sweepctl.server.store.ended_logins import EndedLogins
from tests.unit.server_in_process import ApiClient, InProcessServer, served

KEY, OTHER = "k" * 40, "o" * 40
PAGE = {"accept": "text/html,application/xhtml+xml"}
OWN = {"origin": "http://server:1234", "content-type": "application/x-www-form-urlencoded"}
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
def server(tmp_path: Path) -> InProcessServer:
    return InProcessServer(tmp_path)


@pytest.fixture
def client(server: InProcessServer) -> ApiClient:
    return served(server, keys=(KEY, OTHER))


def log_in(client: ApiClient, key: str, place: str = "/local/p") -> httpx.Response:
    text = urlencode({"key": key, "next": place})
    return client.post("/login", headers={**OWN, **PAGE}, content=text)


def cookie_of(answer: httpx.Response) -> dict[str, str]:
    return {"cookie": answer.headers["set-cookie"].partition(";")[0]}


def link(client: ApiClient) -> str:
    token = client.post("/login/links", headers=BEARER, content="{}").json()["token"]
    assert isinstance(token, str)
    return token


def test_people_get_the_form_and_clients_the_plain_refusal(client: ApiClient) -> None:
    form = client.request("GET", "/local/p?metric=a", headers=PAGE)
    assert form.status_code == 401
    assert "www-authenticate" not in form.headers, "the browser asks in no window of its own"
    assert 'action="/login"' in form.text
    assert 'value="/local/p?metric=a"' in form.text
    assert "form-action 'self'; frame-ancestors 'none'" in form.headers["content-security-policy"]
    assert form.headers["referrer-policy"] == "same-origin", "else its origin would be null"
    assert client.get("/local/p").headers["www-authenticate"].startswith("Basic")


def test_the_key_is_typed_once_and_the_cookie_reads_pages_alone(client: ApiClient) -> None:
    answer = log_in(client, f" {KEY}\n")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/local/p"
    words = answer.headers["set-cookie"].lower()
    assert words.startswith("sweepctl-1234=")
    assert "httponly" in words
    assert "samesite=strict" in words
    assert KEY not in words
    cookie = cookie_of(answer)
    assert client.request("GET", "/", headers={**PAGE, **cookie}).status_code == 200
    query = {"query": "{ viewer { username } }"}
    assert client.post("/graphql", headers=cookie, json=query).status_code == 401
    assert client.post("/login/links", headers=cookie, json={}).status_code == 401
    stream = "/files/local/p/r/file_stream"
    assert client.post(stream, headers=cookie, json={}).status_code == 401


@pytest.mark.parametrize("key", ["", "x" * 40, KEY.upper(), "\u00fc"])
def test_a_wrong_key_gets_the_form_again_and_no_cookie(client: ApiClient, key: str) -> None:
    answer = log_in(client, key)
    assert answer.status_code == 401
    assert "not one of the server&#39;s keys" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://server:1234"}, 303),
        ({"sec-fetch-site": "same-origin"}, 303),
        ({}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://server:9999"}, 403),
    ],
)
def test_nobody_is_logged_in_by_another_sites_form(
    client: ApiClient, headers: dict[str, str], status: int
) -> None:
    text = urlencode({"key": KEY})
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/login", headers={**kind, **headers}, content=text).status_code == status


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        (b"key=" + b"%41" * 30_000, 413, "the body is over 64 KB"),
        (gzip.compress(b"key=" + b"x" * 100_000), 413, "the body is over 64 KB"),
        (b"&".join([b"key=x"] * 11), 400, "more than 10 fields"),
    ],
)
def test_what_is_no_login_is_refused_before_it_costs_anything(
    client: ApiClient, server: InProcessServer, form: bytes, status: int, words: str
) -> None:
    packed = {"content-encoding": "gzip"} if form.startswith(b"\x1f") else {}
    answer = client.post("/login", headers={**OWN, **packed}, content=form)
    assert answer.status_code == status
    assert words in answer.text
    assert not [line for line in server.log if "unexpected" in line]


def test_an_unexpected_error_at_a_signed_address_logs_no_address(
    client: ApiClient, server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunFiles, "is_signed", lambda *_: 1 / 0)
    monkeypatch.setattr(Blobs, "is_signed", lambda *_: 1 / 0)
    for place in (
        "storage/1/12.abcdef/f",
        "wandb_artifacts/1/b/12/abcdef",
        "blobs/file/1/b/12/abcdef",
    ):
        assert client.get(f"/{place}").status_code == 500
    said = "\n".join(server.log)
    assert said.count("unexpected error at GET /") == 3
    assert "abcdef" not in said


def test_a_link_logs_in_once_within_a_minute(client: ApiClient, server: InProcessServer) -> None:
    token = link(client)
    place = f"/local/p?metric=a&login={token}"
    assert client.request("HEAD", place, headers=PAGE).status_code == 401, "who looks uses nothing"
    landed = client.request("GET", place, headers=PAGE)
    assert landed.status_code == 200
    assert 'content="0; url=/local/p?metric=a"' in landed.text
    assert landed.headers["cache-control"] == "no-store"
    cookie = cookie_of(landed)
    assert client.request("GET", "/", headers={**PAGE, **cookie}).status_code == 200
    again = client.request("GET", place, headers=PAGE)
    assert again.status_code == 401
    assert "This link was used, or is older than 60 s" in again.text
    assert 'value="/local/p?metric=a"' in again.text
    mine = client.request("GET", place, headers={**PAGE, **cookie})
    assert (mine.status_code, mine.headers["location"]) == (303, "/local/p?metric=a")
    late, soon = link(client), link(client)
    server.seconds += LINK_S - 1
    assert client.request("GET", f"/?login={soon}", headers=PAGE).status_code == 200
    server.seconds += 1
    assert client.request("GET", f"/?login={late}", headers=PAGE).status_code == 401


def test_a_server_that_asks_for_no_key_gives_no_links(server: InProcessServer) -> None:
    client = served(server)
    assert client.post("/login/links", json={}).json()["token"] is None
    passed = client.request("GET", "/?login=abc", headers=PAGE)
    assert (passed.status_code, passed.headers["location"]) == (303, "/")


def test_a_cookie_holds_as_long_as_its_key_and_a_week(server: InProcessServer) -> None:
    seconds = 1000.0
    keys = ApiKeys([KEY, OTHER])
    ended = EndedLogins(server.database, lambda: seconds)
    logins = Logins(keys, b"secret", lambda: seconds, ended)
    mine, others = logins.of_key(KEY), logins.of_key(OTHER)
    assert mine is not None
    assert logins.holds(mine)
    after_restart = Logins(ApiKeys([KEY]), b"secret", lambda: seconds, ended)
    assert after_restart.holds(mine)
    assert not after_restart.holds(others), "its key is gone"
    assert not Logins(keys, b"another folder's", lambda: seconds, ended).holds(mine)
    until, name, signature = mine.split(".")
    for forged in (
        f"{int(until) + 1}.{name}.{signature}",
        f"{until}.{'0' * 16}.{signature}",
        f"{until}.{name}.{'0' * 64}",
        f"{until}.{signature}",
        *(until, "", None, "x.y"),
    ):
        assert not logins.holds(forged)
        logins.end(forged)
    assert logins.holds(mine), "what does not hold ends nothing"
    seconds += 7 * 24 * 3600
    assert not logins.holds(mine)


def test_a_revoked_key_stops_at_once_with_its_logins_and_links(
    tmp_path: Path, server: InProcessServer
) -> None:
    log: list[str] = []
    watched = WatchedKeys(tmp_path, log.append)
    keys = ApiKeys([KEY], further=watched.hashes)
    ended = EndedLogins(server.database, lambda: 1000.0)
    logins = Logins(keys, b"secret", lambda: 1000.0, ended)
    given = add_key(tmp_path, "alice", 1000.0)
    bearer = f"Bearer {given}"
    assert keys.allows(bearer, is_write=True)
    cookie, token = logins.of_key(given), logins.new_link(bearer)
    assert token is not None
    assert logins.holds(cookie)
    add_key(tmp_path, "bob", 1001.0)
    assert keys.allows(bearer, is_write=True)
    revoke_key(tmp_path, "alice")
    assert not keys.allows(bearer, is_write=True)
    assert not logins.holds(cookie)
    assert logins.of_link(token) is None
    (tmp_path / "keys.json").write_text("{")
    assert not keys.allows(bearer, is_write=True)
    assert keys.allows(f"Bearer {KEY}", is_write=True)
    assert log == [f"{tmp_path / 'keys.json'} is damaged"]
    assert given not in (tmp_path / "keys.json").read_text()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("/local/p?metric=a%20b", "/local/p?metric=a%20b"),
        ("/", "/"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\\..\\b", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("/a b", "/"),
    ],
)
def test_a_login_goes_on_to_places_of_this_server_alone(text: str, place: str) -> None:
    assert place_inside(text) == place


def test_each_server_of_a_machine_has_a_cookie_of_its_own() -> None:
    names = [cookie_name(host) for host in ("localhost:8080", "[::1]:9090", "box", "[::1]", "")]
    assert names == ["sweepctl-8080", "sweepctl-9090", "sweepctl", "sweepctl", "sweepctl"]
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)
