"""A proxy on loopback that spoils answers: what a network, an ingress or a restart does to them."""

import http.client
import json
import threading
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Instead:
    """An answer in the server's place, which never sees the request."""

    status: int
    content: bytes


Spoil = Callable[[str, bytes], "str | None"]
"""Given path and body it says: None (as it is), "drop" (no answer at all) or "502" (after all);
the server has done the work by then."""
Before = Callable[[str, bytes], "Instead | None"]
"""Given path and body it says what is answered in the server's place, if anything."""

HANG = Instead(0, b"")
"""No answer, and the connection stays open."""

INGRESS_404 = Instead(404, b"<html><body>default backend - 404</body></html>")


def operation(body: bytes) -> str:
    """Name the GraphQL operation of a request, or `file_stream` of any other."""
    try:
        words: list[str] = json.loads(body)["query"].split()
    except (ValueError, KeyError, TypeError):
        return "file_stream"
    return words[1].partition("(")[0]


class FaultyProxy:
    """Passes requests on to a server; `spoil` decides what becomes of each answer."""

    def __init__(
        self, url: str, spoil: Spoil = lambda path, body: None, before: Before | None = None
    ) -> None:
        target = urllib.parse.urlsplit(url).netloc
        self.spoiled: list[str] = []
        self._guard = threading.Lock()
        self._closed = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                instead = None
                if before is not None:
                    with proxy._guard:
                        instead = before(self.path, body)
                        if instead:
                            proxy.spoiled.append(self.path)
                if instead is HANG:
                    proxy._closed.wait()
                    self.close_connection = True
                    return
                if instead is not None:
                    self.send(instead.status, "text/html", instead.content)
                    return
                upstream = http.client.HTTPConnection(target, timeout=60)
                upstream.request(self.command, self.path, body, dict(self.headers.items()))
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                with proxy._guard:
                    fault = spoil(self.path, body)
                    if fault:
                        proxy.spoiled.append(self.path)
                if fault == "drop":
                    self.close_connection = True
                    return
                kind = answer.headers.get("Content-Type", "text/plain")
                self.send(502 if fault == "502" else answer.status, kind, content)

            def send(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
