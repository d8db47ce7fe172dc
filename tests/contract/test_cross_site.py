"""What a web page of another site can send to a real server, byte for byte, and what it gets."""

import json
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from tests.serving import ServerProcess

STOP = json.dumps({"query": 'mutation { upsertModel(input: {name: "evil"}) { inserted } }'})
PROJECTS = '{ models(entityName: "local") { edges { node { name } } } }'


def send(server: ServerProcess, start: str, *headers: str, body: str = "") -> tuple[int, str]:
    """Send one request as it is written here; give the status and the body."""
    place = urlsplit(server.url)
    lines = [f"{start} HTTP/1.1", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    with socket.create_connection((place.hostname or "", place.port or 0), timeout=30) as sent:
        sent.sendall("\r\n".join([*lines, "", body]).encode())
        answer = b"".join(iter(lambda: sent.recv(65536), b"")).decode()
    head, _, text = answer.partition("\r\n\r\n")
    return int(head.split()[1]), text


JSON = "Content-Type: application/json"
ATTACKS = {
    "a form of another site": (
        "POST /graphql",
        ["Host: localhost:{port}", "Origin: https://evil.example", "Content-Type: text/plain"],
    ),
    "a script without leave": (
        "POST /graphql",
        ["Host: localhost:{port}", "Content-Type: text/plain"],
    ),
    "a blob without a type": ("POST /graphql", ["Host: 127.0.0.1:{port}"]),
    "a rebound name": ("POST /graphql", ["Host: evil.example:{port}", JSON]),
    "two hosts": ("POST /graphql", ["Host: localhost:{port}", "Host: evil.example", JSON]),
    "a path that is written otherwise": (
        "POST /%67raphql",
        ["Host: localhost:{port}", "Content-Type: text/plain"],
    ),
    "an address that names another host": (
        "POST http://localhost:{port}/graphql",
        ["Host: evil.example:{port}", JSON],
    ),
}


@pytest.mark.parametrize(("start", "headers"), ATTACKS.values(), ids=ATTACKS)
def test_a_page_of_another_site_changes_nothing(
    server: ServerProcess, start: str, headers: list[str]
) -> None:
    port = str(urlsplit(server.url).port)
    lines = [header.replace("{port}", port) for header in headers]
    status, _ = send(server, start.replace("{port}", port), *lines, body=STOP)
    assert status in (400, 403, 404)
    assert server.graphql(PROJECTS) == {"models": {"edges": []}}


def test_a_name_is_let_in_by_an_option(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--allowed-host", "box.lan")
    assert send(server, "GET /", "Host: other.lan")[0] == 403
    assert send(server, "POST /graphql", "Host: box.lan:81", JSON, body=STOP)[0] == 200
    link = ("Host: box.lan", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate")
    assert send(server, "GET /", *link)[0] == 200
