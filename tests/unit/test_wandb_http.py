"""The W&B client against a server that misbehaves on demand, and where it finds its settings."""

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.wandb.client import (
    ApiError,
    Connection,
    WandbClient,
    app_url,
    connection_from_environ,
    run_url,
    sweep_url,
    unwrap_config,
)
from sweepctl_pod.wandb.outputs import FileInfo, download_file, end_body, upload_file
from sweepctl_pod.wandb.run_files import RunFile, fetch_file, send_file

KEY = "secret-key-" + "k" * 40

NO_HEADERS: Mapping[str, str] = {}


class Api:
    """A loopback HTTP server that answers what it is told and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, Mapping[str, str], bytes]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                api.asked.append((self.command, self.path, headers, body))
                status, more, content = api.answers.pop(0)
                if "Date" in more:
                    self.send_response_only(status)
                else:
                    self.send_response(status)
                for name, value in more.items():
                    self.send_header(name, value)
                if "Content-Length" not in more:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def will(
        self, *bodies: Any, status: int = 200, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        for body in bodies:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.answers.append((status, headers, content))

    def data(self, *data: Any) -> None:
        self.will(*({"data": item} for item in data))

    def sent(self, index: int = -1) -> Any:
        return json.loads(self.asked[index][3])

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def api() -> Iterator[Api]:
    api = Api()
    yield api
    api.close()


@pytest.fixture
def client(api: Api) -> WandbClient:
    return WandbClient(Connection(api.url, KEY, "me"), timeout_s=10)


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (401, {"is_refused"}),
        (403, {"is_refused"}),
        (404, {"is_missing"}),
        (408, {"is_transient"}),
        (429, {"is_transient", "is_rate_limit"}),
        (400, set()),
        (409, set()),
        (500, {"is_transient"}),
        (502, {"is_transient"}),
        (503, {"is_transient"}),
    ],
)
def test_status_says_what_kind_of_trouble_it_is(
    status: int, kinds: set[str], api: Api, client: WandbClient
) -> None:
    api.will({"errors": [{"message": "because"}]}, status=status)
    with pytest.raises(ApiError, match=f"answered {status}: because") as caught:
        client.heartbeat("a", [])
    names = ("is_refused", "is_missing", "is_transient", "is_rate_limit")
    assert {name for name in names if getattr(caught.value, name)} == kinds
    assert caught.value.status == status
    assert KEY not in str(caught.value) + str(caught.value.hint)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        pytest.param("7", 7, 7, id="seconds"),
        pytest.param(formatdate(4102444800, usegmt=True), 1e6, 1e12, id="date"),
        pytest.param(formatdate(0, usegmt=True), 0, 0, id="past-date"),
        pytest.param("soon", None, None, id="nonsense"),
    ],
)
def test_retry_after_is_read_in_both_forms(
    value: str, low: float | None, high: float | None, api: Api, client: WandbClient
) -> None:
    api.will(b"", status=429, headers={"Retry-After": value})
    with pytest.raises(ApiError) as caught:
        client.heartbeat("a", [])
    found = caught.value.retry_after_s
    assert found is None if low is None else found is not None and low <= found <= (high or 0)


@pytest.mark.parametrize("ahead_s", [0.0, 3600.0, -86400.0, 1e9])
def test_time_is_the_apis_whatever_this_machine_takes_it_for(
    ahead_s: float, api: Api, client: WandbClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr("time.time", lambda: real() + ahead_s)
    assert abs(client.transport.now() - real() - ahead_s) < 60, "nobody has answered yet"
    api.will({"data": {"agentHeartbeat": {"commands": "[]"}}}, headers={"Date": formatdate(real())})
    client.heartbeat("a", [])
    assert abs(client.transport.now() - real()) < 60
    in_half_a_minute = {"Retry-After": formatdate(real() + 30), "Date": formatdate(real())}
    api.will(b"", status=429, headers=in_half_a_minute)
    with pytest.raises(ApiError) as caught:
        client.heartbeat("a", [])
    assert caught.value.retry_after_s == pytest.approx(30.0, abs=2.0)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Nov 2026 99:99:99 GMT", "0"])
def test_answer_with_no_time_leaves_it_to_this_machine(
    date: str, api: Api, client: WandbClient
) -> None:
    api.will({"data": {"agentHeartbeat": {"commands": "[]"}}}, headers={"Date": date})
    client.heartbeat("a", [])
    assert abs(client.transport.now() - time.time()) < 60


@pytest.mark.parametrize(
    ("answer", "said", "status"),
    [
        pytest.param(b"<html>Bad gateway</html>", "is no JSON", 502, id="page"),
        pytest.param(b"\xff\xfe", "is no JSON", 502, id="bytes"),
        pytest.param([1], "has no data", 502, id="list"),
        pytest.param({}, "has no data", 502, id="no-data"),
        pytest.param({"errors": [{"message": "no such field"}]}, "no such field", 200, id="errors"),
        pytest.param(
            {"errors": [{"message": "gone", "extensions": {"code": 404}}]}, "gone", 404, id="code"
        ),
        pytest.param(
            {"data": {"agentHeartbeat": {"commands": "{"}}}, "broken JSON", 502, id="json"
        ),
        pytest.param(
            {"data": {"agentHeartbeat": {"commands": "{}"}}}, "for commands", 502, id="form"
        ),
    ],
)
def test_answer_that_makes_no_sense_is_an_error_that_says_so(
    answer: Any, said: str, status: int, api: Api, client: WandbClient
) -> None:
    api.will(answer)
    with pytest.raises(ApiError, match=said) as caught:
        client.heartbeat("a", [])
    assert caught.value.status == status


def test_answer_that_breaks_off_is_transient(api: Api, client: WandbClient) -> None:
    api.will(b'{"data"', headers={"Content-Length": "1000"})
    with pytest.raises(ApiError, match="broke off") as caught:
        client.heartbeat("a", [])
    assert caught.value.is_transient


def test_unreachable_api_is_transient_and_named() -> None:
    client = WandbClient(Connection("http://127.0.0.1:9", KEY))
    with pytest.raises(ApiError, match=r"cannot reach http://127\.0\.0\.1:9: connection") as caught:
        client.heartbeat("a", [])
    assert caught.value.is_transient
    assert caught.value.status is None


def test_heartbeat_sends_its_runs_and_gives_the_commands(api: Api, client: WandbClient) -> None:
    api.data({"agentHeartbeat": {"commands": json.dumps([{"type": "exit"}, "noise"])}})
    assert client.heartbeat("a1", ["r1", "r2"]) == [{"type": "exit"}]
    method, path, headers, _ = api.asked[0]
    assert (method, path) == ("POST", "/graphql")
    assert base64.b64decode(headers["authorization"].split()[1]) == f"api:{KEY}".encode()
    variables = api.sent()["variables"]
    assert variables["id"] == "a1"
    assert json.loads(variables["runState"]) == {"r1": True, "r2": True}


def test_sweep_is_created_with_wandbs_own_variables(api: Api, client: WandbClient) -> None:
    owner = {"name": "legs", "entity": {"name": "team"}}
    node = {"id": "n", "name": "abc12345", "state": "PENDING", "config": "{}", "project": owner}
    api.data({"upsertSweep": {"sweep": node}})
    sweep = client.create_sweep(None, "legs", "{}", "why", "shown")
    assert (sweep.entity, sweep.project, sweep.id, sweep.node_id) == (
        "team",
        "legs",
        "abc12345",
        "n",
    )
    assert api.sent()["variables"] == {
        "config": "{}",
        "description": "why",
        "entityName": None,
        "projectName": "legs",
        "displayName": "shown",
    }


@pytest.mark.parametrize(
    "answer", [{"project": None}, {"project": {"sweep": None}}], ids=["project", "sweep"]
)
def test_missing_sweep_is_an_error_that_names_it(
    answer: Any, api: Api, client: WandbClient
) -> None:
    api.data(answer)
    with pytest.raises(ApiError, match="no sweep e/p/s") as caught:
        client.sweep("e", "p", "s")
    assert caught.value.is_missing


RUN = {
    "id": "n1",
    "name": "r1",
    "state": "Running",
    "config": json.dumps({"a.b": {"value": 1.5}, "_wandb": {"value": {"t": 1}}, "bare": 2}),
    "summaryMetrics": json.dumps({"loss": 2}),
}


def test_run_is_unwrapped_and_lenient_about_what_is_lacking(api: Api, client: WandbClient) -> None:
    api.data({"project": {"run": RUN}}, {"project": {"run": None}}, {"project": None})
    run = client.run("e", "p", "r1")
    assert run is not None
    assert (run.state, run.config, run.summary) == ("running", {"a.b": 1.5, "bare": 2}, {"loss": 2})
    assert run.is_started
    assert (run.host, run.exit_code) == (None, None)
    assert client.run("e", "p", "r2") is None
    assert client.run("e", "p", "r3") is None


def test_field_that_a_server_does_not_know_is_not_asked_for_again(
    api: Api, client: WandbClient
) -> None:
    api.will({"errors": [{"message": 'Cannot query field "host" on type "Run".'}]}, status=400)
    api.data({"project": {"run": RUN}}, {"project": {"run": RUN}})
    assert client.run("e", "p", "r1") is not None
    assert client.run("e", "p", "r1") is not None
    asked = ["host" in api.sent(index)["query"] for index in range(3)]
    assert asked == [True, False, False]


def test_runs_come_page_by_page(api: Api, client: WandbClient) -> None:
    def page(names: list[str], cursor: str | None) -> dict[str, Any]:
        edges = [{"node": {**RUN, "name": name}} for name in names]
        info = {"endCursor": cursor, "hasNextPage": cursor is not None}
        return {"project": {"runs": {"edges": edges, "pageInfo": info}}}

    api.data(page(["a", "b"], "c1"), page(["c"], None))
    assert [run.id for run in client.runs("e", "p", "s")] == ["a", "b", "c"]
    assert [api.sent(index)["variables"]["cursor"] for index in range(2)] == [None, "c1"]
    assert json.loads(api.sent()["variables"]["filters"]) == {"$and": [{"sweep": "s"}]}


@pytest.mark.parametrize(
    ("attempt", "header"), [(None, None), (3, "3")], ids=["at-wandb", "at-the-embedded-server"]
)
def test_exit_record_carries_the_attempt_where_there_is_one(
    attempt: int | None, header: str | None, api: Api, client: WandbClient
) -> None:
    api.will({})
    client.post_file_stream("my team", "p/q", "r1", end_body(143), attempt)
    _, path, headers, _ = api.asked[0]
    assert path == "/files/my%20team/p%2Fq/r1/file_stream"
    assert headers.get("x-sweepctl-attempt") == header
    assert api.sent() == {"complete": True, "exitcode": 143}


def test_download_follows_to_a_store_without_the_key_and_appears_whole(
    api: Api, client: WandbClient, tmp_path: Path
) -> None:
    store = Api()
    try:
        store.will(b"x" * 3_000_000)
        api.will(b"", status=302, headers={"Location": f"{store.url}/bucket/model.pt?signed"})
        target = tmp_path / "deep" / "model.pt"
        download_file(client, FileInfo("model.pt", "/files/model.pt", 3_000_000), target)
        assert target.read_bytes() == b"x" * 3_000_000
        assert "authorization" in api.asked[0][2]
        assert "authorization" not in store.asked[0][2]
        assert list(target.parent.iterdir()) == [target]
    finally:
        store.close()


@pytest.mark.parametrize("trouble", ["breaks off", "given up", "full disk"])
def test_file_of_a_run_that_is_not_fetched_whole_leaves_nothing(
    trouble: str, api: Api, client: WandbClient, tmp_path: Path
) -> None:
    def look(size_bytes: int) -> None:
        if trouble == "given up" or (trouble == "full disk" and size_bytes == 0):
            raise OSError(28, "No space left on device")

    more = {"Content-Length": "9000"} if trouble == "breaks off" else NO_HEADERS
    api.will(b"x" * 3000, headers=more)
    target = tmp_path / "3.pt"
    target.write_text("the one before")
    file = RunFile("id", "sweepctl/checkpoints/3.pt", f"{api.url}/files/3.pt", 3000)
    with pytest.raises((ApiError, OSError)):
        fetch_file(client, file, target, look)
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_text() == "the one before"


def test_broken_download_leaves_no_file_of_that_name(
    api: Api, client: WandbClient, tmp_path: Path
) -> None:
    api.will(b"xx", headers={"Content-Length": "1000"})
    with pytest.raises(ApiError, match=r"model\.pt broke off"):
        download_file(client, FileInfo("model.pt", "/files/model.pt", 1000), tmp_path / "model.pt")
    assert not (tmp_path / "model.pt").exists()


@pytest.mark.parametrize("told", ["X-A:b:c", "Content-Type:image/png"])
@pytest.mark.parametrize("size_bytes", [None, 0, 5, 3_000_000], ids=str)
def test_upload_asks_for_a_place_and_puts_the_bytes_and_leaves_the_runs_state_alone(
    size_bytes: int | None, told: str, api: Api, client: WandbClient, tmp_path: Path
) -> None:
    store = Api()
    run = ("e", "p", "r")
    try:
        store.will(b"")
        place = {"name": "a.txt", "uploadUrl": f"{store.url}/put/a.txt"}
        api.data({"createRunFiles": {"runID": "n", "uploadHeaders": [told], "files": [place]}})
        content = b"bytes" if size_bytes is None else b"x" * size_bytes
        if size_bytes is None:
            upload_file(client, run, "a.txt", content)
        else:
            (tmp_path / "a").write_bytes(content)
            send_file(client, run, "a.txt", tmp_path / "a", lambda size_bytes: None)
        method, path, headers, body = store.asked[0]
        assert (method, path, body) == ("PUT", "/put/a.txt", content)
        name, _, value = told.partition(":")
        assert headers[name.lower()] == value
        assert "authorization" not in headers
        # A store of objects takes no chunks, and may have signed the type, or that there is none.
        assert headers["content-length"] == str(len(content))
        assert "transfer-encoding" not in headers
        assert ("content-type" in headers) == told.startswith("Content-Type")
        assert [path for _, path, _, _ in api.asked] == ["/graphql"]
    finally:
        store.close()


def test_address_that_is_no_http_is_never_opened(client: WandbClient, tmp_path: Path) -> None:
    with pytest.raises(ApiError, match=r"no http\(s\) URL"):
        download_file(client, FileInfo("x", "file:///etc/passwd", 1), tmp_path / "x")


def test_proxy_is_not_used_for_this_machine(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    api.data({"viewer": {"id": "1", "entity": "me"}})
    assert WandbClient(Connection(api.url, KEY)).viewer_entity() == "me"


def test_proxy_is_used_for_other_machines(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", api.url)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    api.data({"viewer": {"id": "1", "entity": "me"}})
    assert WandbClient(Connection("http://wandb.example", KEY)).viewer_entity() == "me"
    assert api.asked[0][1] == "http://wandb.example/graphql"


def test_key_is_in_no_repr() -> None:
    assert KEY not in repr(Connection("http://x", KEY))


NETRC = "machine api.wandb.ai\n login user\n password netrc-key\nmachine h:8080\n password p2\n"


@pytest.mark.parametrize(
    ("environ", "files", "base_url", "key", "entity"),
    [
        pytest.param({}, {}, "https://api.wandb.ai", None, None, id="nothing"),
        pytest.param(
            {"WANDB_BASE_URL": "http://h:8080/", "WANDB_API_KEY": " k\n", "WANDB_ENTITY": "e"},
            {},
            "http://h:8080",
            "k",
            "e",
            id="environment",
        ),
        pytest.param({}, {".netrc": NETRC}, "https://api.wandb.ai", "netrc-key", None, id="netrc"),
        pytest.param({}, {"_netrc": NETRC}, "https://api.wandb.ai", "netrc-key", None, id="_netrc"),
        pytest.param(
            {"WANDB_BASE_URL": "http://h:8080"},
            {".netrc": NETRC},
            "http://h:8080",
            "p2",
            None,
            id="netrc-with-port",
        ),
        pytest.param(
            {"WANDB_API_KEY": "k"},
            {".netrc": NETRC},
            "https://api.wandb.ai",
            "k",
            None,
            id="environment-wins",
        ),
        pytest.param(
            {"NETRC": "{home}/other"},
            {"other": NETRC, ".netrc": ""},
            "https://api.wandb.ai",
            "netrc-key",
            None,
            id="NETRC",
        ),
        pytest.param(
            {}, {".netrc": "machine\n\x00 ???"}, "https://api.wandb.ai", None, None, id="bad-netrc"
        ),
        pytest.param(
            {},
            {".config/wandb/settings": "[default]\nbase_url = http://s:1\nentity = team\n"},
            "http://s:1",
            None,
            "team",
            id="settings",
        ),
        pytest.param(
            {"WANDB_CONFIG_DIR": "{home}/c"},
            {"c/settings": "[default]\nentity = there\n"},
            "https://api.wandb.ai",
            None,
            "there",
            id="settings-elsewhere",
        ),
        pytest.param(
            {}, {".config/wandb/settings": "nonsense"}, "https://api.wandb.ai", None, None, id="bad"
        ),
    ],
)
def test_connection_is_found_where_the_wandb_client_finds_it(
    environ: dict[str, str],
    files: dict[str, str],
    base_url: str,
    key: str | None,
    entity: str | None,
    tmp_path: Path,
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    placed = {name: value.replace("{home}", str(tmp_path)) for name, value in environ.items()}
    assert connection_from_environ(placed, tmp_path) == Connection(base_url, key, entity)


@pytest.mark.parametrize(
    "url", ["wandb.ai", "ftp://x", "http://", "https://user:secret@wandb.ai"], ids=str
)
def test_address_that_is_no_plain_url_is_refused_without_its_secret(
    url: str, tmp_path: Path
) -> None:
    with pytest.raises(SweepctlError, match="no plain http") as caught:
        connection_from_environ({"WANDB_BASE_URL": url}, tmp_path)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    ("api_url", "pages"),
    [
        ("https://api.wandb.ai", "https://wandb.ai"),
        ("https://api.wandb.example.org/", "https://wandb.example.org"),
        ("https://api.forge.coreweave.com", "https://forge.coreweave.com/wandb"),
        ("https://api.example.org", "https://app.example.org"),
        ("http://wandb.local:8080", "http://wandb.local:8080"),
    ],
)
def test_pages_are_where_the_api_says(api_url: str, pages: str) -> None:
    assert app_url(api_url) == pages


def test_addresses_of_pages_quote_their_names() -> None:
    assert sweep_url("https://api.wandb.ai", "my team", "p", "s") == (
        "https://wandb.ai/my%20team/p/sweeps/s"
    )
    assert run_url("http://h", "e", "p", "r") == "http://h/e/p/runs/r"


def test_config_is_unwrapped_without_wandbs_own_part() -> None:
    wrapped = {"a": {"value": {"value": 1}}, "b": {"c": 2}, "_wandb": {"value": 1}}
    assert unwrap_config(wrapped) == {"a": {"value": 1}, "b": {"c": 2}}
