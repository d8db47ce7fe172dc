"""The embedded server as W&B proper is, by a proxy before it: for what an agent must do itself.

W&B numbers no attempts and counts no losses; it gives back only what was marked before it died, and
shows the rest as crashed when it was silent; it takes what comes for a run, whoever sends it; and
what a trainer's client uploads as config takes the place of all that was there.
"""

import http.client
import json
import threading
import time
import urllib.parse
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sweepctl_pod.timestamps import read_time
from sweepctl_pod.wandb.client import ATTEMPT_HEADER
from tests.contract.faulty_proxy import operation


class ProperProxy:
    """Passes requests on, and makes of each answer what W&B would say."""

    def __init__(self, url: str, *, crashed_after_s: float = 3.0, is_over: bool = False) -> None:
        """Show silent runs as crashed; `is_over`: an agent without a run is told to exit."""
        self._target = urllib.parse.urlsplit(url).netloc
        self._crashed_after_s = crashed_after_s
        self.is_over = is_over
        self.stopped: set[str] = set()
        """The runs that a person has stopped: W&B asks nobody to stop another."""
        self.together: threading.Barrier | None = None
        """Holds uploads back until so many have come: all their senders have read by then."""
        self.asked: list[tuple[float, str]] = []
        self.posts: list[tuple[str, dict[str, Any]]] = []
        """What was posted to the streams of runs: the run, the body."""
        self._configs: dict[str, dict[str, Any]] = {}
        self._attempts: dict[str, int] = {}
        self._guard = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = dict(self.headers.items())
                status, kind, content = proxy.ask(self.command, self.path, body, headers)
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
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def counts(self) -> Counter[str]:
        """Count the requests to the API, by operation; files come from elsewhere."""
        with self._guard:
            return Counter(name for _, name in self.asked if name != "file")

    def exits(self, run: str) -> list[int]:
        """Give the exit records that were posted of a run."""
        with self._guard:
            posts = [body for name, body in self.posts if name == run]
        return [body["exitcode"] for body in posts if body.get("exitcode") is not None]

    def ask(
        self, method: str, path: str, body: bytes, headers: dict[str, str]
    ) -> tuple[int, str, bytes]:
        name = "file" if path.startswith("/storage") else operation(body)
        together = self.together
        if name == "CreateRunFiles" and together is not None:
            with suppress(threading.BrokenBarrierError):
                together.wait(25)
            self.together = None
        with self._guard:
            self.asked.append((time.monotonic(), name))
            if name == "file_stream":
                run = path.split("/")[-2]
                self.posts.append((run, json.loads(body)))
                # W&B has no number of attempts: whatever comes is of the newest one.
                if run in self._attempts:
                    headers[ATTEMPT_HEADER] = str(self._attempts[run])
        upstream = http.client.HTTPConnection(self._target, timeout=60)
        upstream.request(method, path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        kind = answer.headers.get("Content-Type", "text/plain")
        if answer.status == 200 and path.startswith("/graphql"):
            content = json.dumps(self._as_wandb(name, body, json.loads(content))).encode()
        return answer.status, kind, content

    def _as_wandb(self, name: str, body: bytes, answer: dict[str, Any]) -> dict[str, Any]:
        variables = json.loads(body).get("variables") or {}
        if name == "UpsertBucket" and variables.get("config"):
            with self._guard:
                self._configs[variables.get("name") or ""] = json.loads(variables["config"])
        if name == "Heartbeat":
            found = (answer.get("data") or {}).get("agentHeartbeat")
            if found:
                is_idle = variables.get("runState") == "{}"
                commands = self._commands(json.loads(found["commands"]), is_idle)
                found["commands"] = json.dumps(commands)
        self._change_runs(answer)
        return answer

    def _commands(self, commands: list[dict[str, Any]], is_idle: bool) -> list[dict[str, Any]]:
        kept = []
        for command in commands:
            command.pop("is_final", None)
            command.pop("losses", None)
            attempt = command.pop("attempt", None)
            if attempt is not None:
                with self._guard:
                    self._attempts[command["run_id"]] = attempt
            if command["type"] != "stop" or command["run_id"] in self.stopped:
                kept.append(command)
        return [{"type": "exit"}] if is_idle and self.is_over and not kept else kept

    def _change_runs(self, found: Any) -> None:
        """Show each run in an answer as W&B would."""
        if isinstance(found, list):
            for each in found:
                self._change_runs(each)
        elif isinstance(found, dict):
            for each in found.values():
                self._change_runs(each)
            if "heartbeatAt" in found and "summaryMetrics" in found:
                heard = read_time(found["heartbeatAt"] or found["createdAt"])
                silent_s = time.time() - heard.timestamp() if heard else 0.0
                is_held = found.get("state") in ("running", "pending")
                if is_held and silent_s > self._crashed_after_s:
                    found["state"] = "crashed"
                with self._guard:
                    config = self._configs.get(found["name"])
                if config is not None:
                    found["config"] = json.dumps(config)
