"""Gives the bed's volumes back: what a deleted claim leaves is wiped, and the volume is free again.

Kubernetes leaves that to a provisioner, which the bed has none of: without it a volume is used
once. Volumes with the label's value `recycle` get an empty folder and forget their claim; those
with `delete` were made for one claim and go with it. Runs in the bed as a plain file
(`python -I reclaim.py API CA CERTIFICATE KEY LABEL VOLUMES`), on the standard library.
"""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PATH = "/api/v1/persistentvolumes"
_WATCH_S = 240
_PAUSE_S = 1.0


class Reclaimer:
    """Watches the volumes with a label, and gives each back that its claim has left."""

    def __init__(self, api: str, files: list[str], label: str, volumes: Path) -> None:
        self._host = urllib.parse.urlsplit(api).netloc
        ca, certificate, key = files
        self._trust = ssl.create_default_context(cafile=ca)
        self._trust.load_cert_chain(certificate, key)
        self._label = label
        self._volumes = volumes

    def run(self) -> None:
        """Give volumes back as long as the API is there, and again when it is."""
        while True:
            try:
                for volume in self._changed():
                    if _is_left(volume):
                        self._give_back(volume["metadata"]["name"])
            except (OSError, http.client.HTTPException, ValueError) as problem:
                print(f"again soon: {problem}", flush=True)
            time.sleep(_PAUSE_S)

    def _changed(self) -> Iterator[dict[str, Any]]:
        """Give each volume as it is, and again whenever it changes."""
        asked = {"labelSelector": self._label, "watch": "true", "resourceVersion": "0"}
        query = urllib.parse.urlencode({**asked, "timeoutSeconds": _WATCH_S})
        with self._request("GET", f"{_PATH}?{query}") as answer:
            for line in answer:
                yield json.loads(line)["object"]

    def _give_back(self, name: str) -> None:
        with self._request("GET", f"{_PATH}/{name}") as answer:
            volume = json.loads(answer.read())
        if not _is_left(volume):  # an old word: another claim may have it by now
            return
        if volume["metadata"]["labels"][self._label] == "delete":
            with self._request("DELETE", f"{_PATH}/{name}"):
                pass
        else:
            _empty(Path(volume["spec"]["hostPath"]["path"]), self._volumes)
            change = json.dumps({"spec": {"claimRef": None}})
            with self._request("PATCH", f"{_PATH}/{name}", change):
                pass
        print(f"gave back {name}", flush=True)

    def _request(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection(
            self._host, context=self._trust, timeout=_WATCH_S + 30
        )
        headers = {"Content-Type": "application/merge-patch+json"} if body else {}
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        if answer.status >= 300 and answer.status != 404:
            raise ValueError(f"{method} {path}: {answer.status} {answer.read(200)!r}")
        return answer


def _is_left(volume: dict[str, Any]) -> bool:
    """Tell whether the claim that a volume was bound to is gone."""
    is_released = volume.get("status", {}).get("phase") == "Released"
    return bool(is_released and "claimRef" in volume["spec"])


def _empty(folder: Path, volumes: Path) -> None:
    """Put an empty folder in place of one: who still writes there writes into what is removed."""
    if folder.parent != volumes:
        raise ValueError(f"{folder} is no volume of this bed")
    old = folder.with_name(f".{folder.name}-{time.time_ns()}")
    folder.rename(old)
    folder.mkdir()
    folder.chmod(0o777)
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    Reclaimer(sys.argv[1], sys.argv[2:5], sys.argv[5], Path(sys.argv[6])).run()
