"""A proxy on loopback that spoils answers: the server did the work and nobody hears of it."""

import http.client
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Spoil = Callable[[str, bytes], str | None]
"""Given path and body it says: None (as it is), "drop" (no answer at all) or "502" (after all)."""


class FaultyProxy:
    """Passes requests on to a server; `spoil` decides what becomes of each answer."""

    def __init__(self, url: str, spoil: Spoil) -> None:
        target = urllib.parse.urlsplit(url).netloc
        self.spoiled: list[str] = []
        self._guard = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
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
                self.send_response(502 if fault == "502" else answer.status)
                self.send_header("Content-Type", answer.headers.get("Content-Type", "text/plain"))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
