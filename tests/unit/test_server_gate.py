"""Which requests are answered at all: those of clients and people, none of another site's page."""

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from sweepctl.server.web.gate import Gate
from sweepctl_pod.errors import UsageError
from tests.unit.server_in_process import InProcessServer, served

LOCAL = Gate.of("127.0.0.1")
NAMED = Gate.of("127.0.0.1", ["sweeps.example.com", "Box"])
BEYOND = Gate.of("0.0.0.0")
JSON = {"content-type": "application/json"}
QUERY = {"query": "{ viewer { username } }"}


def headers(given: dict[str, Any]) -> Headers:
    return Headers(raw=[(k.encode(), v.encode("latin-1")) for k, v in given.items()])


HOSTS: dict[str, tuple[Gate, str, bool]] = {
    "localhost": (LOCAL, "localhost:8080", True),
    "in capitals": (LOCAL, "LocalHost:8080", True),
    "without a port": (LOCAL, "localhost", True),
    "the address": (LOCAL, "127.0.0.1:51234", True),
    "the IPv6 address": (LOCAL, "[::1]:8080", True),
    "the address it listens on": (Gate.of("127.3.2.1"), "127.3.2.1:80", True),
    "the IPv6 address it listens on": (Gate.of("::1"), "[::1]:80", True),
    "an allowed name": (NAMED, "sweeps.example.com", True),
    "an allowed name, any port": (NAMED, "BOX:9", True),
    "an allowed name does not close the others": (NAMED, "localhost:1", True),
    "a rebound name": (LOCAL, "evil.example:8080", False),
    "a name below an allowed one": (NAMED, "a.sweeps.example.com", False),
    "a name that begins alike": (LOCAL, "localhost.evil.example:8080", False),
    "a name that begins with the address": (LOCAL, "127.0.0.1.nip.io", False),
    "a user before the name": (LOCAL, "localhost:1@evil.example", False),
    "every address": (LOCAL, "0.0.0.0:8080", False),
    "another address": (LOCAL, "192.168.1.7:8080", False),
    "the mapped address": (LOCAL, "[::ffff:127.0.0.1]:8080", False),
    "two hosts in one": (LOCAL, "localhost,evil.example", False),
    "nothing": (LOCAL, "", False),
    "a port that is none": (LOCAL, "localhost:80x", False),
    "a Service beyond loopback": (BEYOND, "legs-server.team-a.svc:8080", True),
    "a pod's address beyond loopback": (BEYOND, "10.244.0.7:8080", True),
}


@pytest.mark.parametrize(("gate", "host", "is_answered"), HOSTS.values(), ids=HOSTS)
def test_on_loopback_only_its_names_are_answered_to(
    gate: Gate, host: str, is_answered: bool
) -> None:
    reason = gate.refusal("GET", "/", headers({"host": host}))
    assert (reason is None) == is_answered
    if reason is not None:
        assert repr(host) in reason
        assert "http://localhost" in reason


def test_a_request_names_one_host() -> None:
    for hosts in ([], ["localhost", "localhost"], ["localhost", "evil.example"]):
        raw = [(b"host", host.encode()) for host in hosts]
        assert LOCAL.refusal("GET", "/", Headers(raw=raw)) is not None


def test_the_refusal_says_which_option_lets_the_name_in() -> None:
    reason = LOCAL.refusal("GET", "/", headers({"host": "box.lan:8080"}))
    assert reason is not None
    assert "--allowed-host box.lan" in reason
    assert ":8080" not in reason.partition("--allowed-host")[2]


@pytest.mark.parametrize("name", ["http://box", "box:8080", "box/x", "", "a b"])
def test_an_allowed_host_is_a_name_alone(name: str) -> None:
    with pytest.raises(UsageError, match="not a host name"):
        Gate.of("127.0.0.1", [name])


ORIGINS: dict[str, tuple[str, str, bool]] = {
    "its own": ("localhost:8080", "http://localhost:8080", True),
    "its own by IPv6": ("[::1]:8080", "http://[::1]:8080", True),
    "TLS ended before it": ("sweeps.example.com", "https://sweeps.example.com", True),
    "TLS ended before it, on a port": ("a.example.com:8443", "https://a.example.com:8443", True),
    "the proxy tells its port": ("a.example.com:443", "https://a.example.com", True),
    "the proxy tells the other port": ("a.example.com:80", "https://a.example.com", True),
    "in capitals": ("A.example.com", "https://a.EXAMPLE.com", True),
    "another site": ("localhost:8080", "https://evil.example", False),
    "another program of this machine": ("localhost:8080", "http://localhost:3000", False),
    "another name of this machine": ("localhost:8080", "http://127.0.0.1:8080", False),
    "a sibling": ("sweeps.example.com", "https://blog.example.com", False),
    "no origin that can be named": ("localhost:8080", "null", False),
    "an extension": ("localhost:8080", "chrome-extension://abcdef", False),
    "nothing": ("localhost:8080", "", False),
    "a user before the name": ("localhost:8080", "http://localhost:8080@evil.example", False),
}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(("host", "origin", "is_answered"), ORIGINS.values(), ids=ORIGINS)
def test_an_origin_is_the_servers_own(
    host: str, origin: str, is_answered: bool, method: str
) -> None:
    given = headers({"host": host, "origin": origin, **JSON})
    reason = BEYOND.refusal(method, "/graphql", given)
    assert (reason is None) == is_answered
    if reason is not None:
        assert repr(origin) in reason


SITES: dict[str, tuple[str, str, str | None, bool]] = {
    "a link of another site": ("GET", "cross-site", "navigate", True),
    "an address that was typed": ("GET", "none", "navigate", True),
    "a link of its own": ("GET", "same-origin", "navigate", True),
    "an image in another site's page": ("GET", "cross-site", "no-cors", False),
    "a script's request from another site": ("GET", "cross-site", "cors", False),
    "a form of another site": ("POST", "cross-site", "navigate", False),
    "a script's post from another site": ("POST", "cross-site", "no-cors", False),
    "a file put by another site": ("PUT", "cross-site", "cors", False),
    "no mode": ("GET", "cross-site", None, False),
}


@pytest.mark.parametrize(("method", "site", "mode", "is_answered"), SITES.values(), ids=SITES)
def test_another_site_may_link_here_and_nothing_else(
    method: str, site: str, mode: str | None, is_answered: bool
) -> None:
    given = {"host": "localhost", "sec-fetch-site": site, **JSON}
    if mode is not None:
        given["sec-fetch-mode"] = mode
    for path in ("/", "/graphql", "/local/p/runs/r1", "/storage/1/abc/model.pt"):
        assert (LOCAL.refusal(method, path, headers(given)) is None) == is_answered


KINDS: dict[str, tuple[str | None, bool]] = {
    "json": ("application/json", True),
    "json with a charset": ("application/json; charset=utf-8", True),
    "json in capitals": ("Application/JSON;charset=UTF-8", True),
    "text": ("text/plain", False),
    "text that says json": ("text/plain; application/json", False),
    "a form": ("application/x-www-form-urlencoded", False),
    "a form with files": ("multipart/form-data; boundary=x", False),
    "json like": ("application/json-patch+json", False),
    "two in one": ("application/json, text/plain", False),
    "none": (None, False),
    "empty": ("", False),
}


@pytest.mark.parametrize("path", ["/graphql", "/files/local/p/r1/file_stream"])
@pytest.mark.parametrize(("kind", "is_answered"), KINDS.values(), ids=KINDS)
def test_what_changes_something_is_posted_as_json(
    kind: str | None, is_answered: bool, path: str
) -> None:
    given = {"host": "localhost", **({} if kind is None else {"content-type": kind})}
    for gate in (LOCAL, BEYOND):
        reason = gate.refusal("POST", path, headers(given))
        assert (reason is None) == is_answered
        if reason is not None:
            assert "send Content-Type: application/json" in reason


def test_files_and_what_is_unknown_come_in_any_form() -> None:
    given = headers({"host": "localhost", "content-type": "application/octet-stream"})
    assert LOCAL.refusal("PUT", "/storage/1/abc/model.pt", given) is None
    assert LOCAL.refusal("POST", "/sdk/otel/v1/metrics", given) is None


@pytest.mark.parametrize("keys", [(), ("k" * 40,)], ids=["keyless", "with the key"])
def test_a_page_of_another_site_changes_no_sweep(tmp_path: Path, keys: tuple[str, ...]) -> None:
    server = InProcessServer(tmp_path)
    client = served(server, keys=keys, gate=LOCAL)
    sweep = server.sweep()
    changed = json.dumps({"method": "grid", "command": ["evil"], "parameters": {"a": {"value": 1}}})
    mutation = "mutation M($i: UpsertSweepInput!) { upsertSweep(input: $i) { sweep { name } } }"
    body = json.dumps({"query": mutation, "variables": {"i": {"id": sweep.id, "config": changed}}})
    attacks = {
        "a plain post": {"content-type": "text/plain"},
        "by a form": {"content-type": "text/plain", "origin": "null"},
        "by a rebound name": {"host": "evil.example:1234", **JSON},
        "by a rebound name, as its own page": {
            "host": "evil.example:1234",
            "origin": "http://evil.example:1234",
            "sec-fetch-site": "same-origin",
            **JSON,
        },
        "after leave that nobody gave": {"origin": "https://evil.example", **JSON},
        "from another port": {"origin": "http://localhost:3000", **JSON},
        "without an origin": {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", **JSON},
    }
    auth = ("api", keys[0]) if keys else None
    for name, said in attacks.items():
        sent = {"host": "localhost:1234", **said}
        answer = client.post("/graphql", content=body, headers=sent, auth=auth)
        assert answer.status_code == 403, name
        assert answer.json()["error"] == answer.json()["errors"][0]["message"], name
    assert "evil" not in server.config_text(sweep)
    as_clients_do = {"host": "localhost:1234", **JSON}
    answer = client.post("/graphql", content=body, headers=as_clients_do, auth=auth)
    assert answer.status_code == 200
    assert "evil" in server.config_text(sweep)


def test_a_refusal_is_plain_text_for_people(tmp_path: Path) -> None:
    client = served(InProcessServer(tmp_path), gate=LOCAL)
    sent = {"host": "<b>box</b>:80", "accept": "text/html,*/*"}
    answer = client.request("GET", "/", headers=sent)
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_telemetry_is_switched_off_and_nothing_gives_leave_to_other_sites(tmp_path: Path) -> None:
    client = served(InProcessServer(tmp_path), gate=LOCAL)
    sent = {"host": "localhost"}
    assert client.post("/sdk/otel/v1/metrics", headers=sent, content=b"").status_code == 404
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST", **sent}
    for path in ("/graphql", "/storage/1/abc/model.pt", "/"):
        answer = client.request("OPTIONS", path, headers=asked)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_probes_a_port_forward_and_an_ingress_reach_a_server_of_a_cluster(tmp_path: Path) -> None:
    key = "k" * 40
    client = served(InProcessServer(tmp_path), keys=(key,), gate=BEYOND)
    probe = {"host": "10.244.0.7:8080", "user-agent": "kube-probe/1.34", "accept": "*/*"}
    assert client.request("GET", "/healthz", headers=probe).status_code == 200
    for sent in (
        {"host": "localhost:41234"},
        {"host": "127.0.0.1:41234"},
        {"host": "sweeps.example.com", "x-forwarded-proto": "https"},
        {"host": "sweeps.example.com", "origin": "https://sweeps.example.com"},
    ):
        assert client.post("/graphql", json=QUERY, headers=sent).status_code == 401
        answer = client.post("/graphql", json=QUERY, headers=sent, auth=("api", key))
        assert answer.status_code == 200
