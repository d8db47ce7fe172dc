"""A bucket folder, as the trainer's own Python reaches it; it runs this as a short child.

`check URI` says what is missing for such an address. `list URI` names the files of a folder, `read
URI` prints a small one, `get URI PATH` fetches one, `put URI SIZE…` stores files of so many bytes
that come on standard input one after the other, `drop URI…` deletes files, in their order. The
answer is one line of JSON.
It imports nothing of sweepctl.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

MARK = "sweepctl-in-bucket "
"""What the answer's line begins with."""
_SMALL_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 20


def main(argv: Sequence[str]) -> int:
    """Do one thing; the exit code is 0 when it is done."""
    verbs: dict[str, Callable[..., object]]
    verbs = {"check": check, "list": names, "read": read, "get": get, "put": put, "drop": drop}
    if len(argv) < 2 or argv[0] not in verbs:
        print(f"usage: in_bucket.py {'|'.join(verbs)} URI…", file=sys.stderr)
        return 2
    try:
        answer: object = {"answer": verbs[argv[0]](*argv[1:])}
    except Exception as error:  # whatever a bucket's packages raise, in one line
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
    return 0 if "answer" in str(answer)[:10] else 1


def check(uri: str) -> str | None:
    """Say what has to be installed to reach an address; None when it is there."""
    protocol = uri.partition("://")[0]
    try:
        fsspec: Any = importlib.import_module("fsspec")
    except ImportError:
        return "fsspec"
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        # fsspec knows who implements what: `Install s3fs to access S3`.
        return f"what fsspec needs for {protocol}:// ({error})"
    except ValueError:
        return f"a package that teaches fsspec {protocol}://"
    return None


def names(uri: str) -> list[str]:
    """Name the files of a folder; none when there is no such folder yet."""
    system, folder = _open(uri)
    system.invalidate_cache()
    try:
        found = system.ls(folder, detail=False)
    except FileNotFoundError:
        return []
    return [str(path).rstrip("/").rpartition("/")[2] for path in found]


def read(uri: str) -> str:
    """Give the text of a small file."""
    system, path = _open(uri)
    with system.open(path, "rb") as file:
        return bytes(file.read(_SMALL_BYTES)).decode("utf-8", "replace")


def get(uri: str, path: str) -> None:
    """Fetch a file."""
    system, remote = _open(uri)
    with system.open(remote, "rb") as source, open(path, "wb") as target:
        while block := source.read(_BLOCK_BYTES):
            target.write(block)


def put(*words: str) -> None:
    """Store what comes on standard input; a file that is cut off is removed again."""
    for uri, size in zip(words[::2], words[1::2], strict=True):
        system, path = _open(uri)
        system.makedirs(path.rpartition("/")[0], exist_ok=True)
        left = int(size)
        with system.open(path, "wb") as target:
            while left and (block := sys.stdin.buffer.read(min(_BLOCK_BYTES, left))):
                left -= target.write(block)
        if left:
            system.rm(path)
            raise EOFError(f"{int(size) - left} bytes of {size} came")


def drop(*uris: str) -> None:
    """Delete files; what is gone is well gone."""
    for uri in uris:
        system, path = _open(uri)
        try:
            system.rm(path)
        except FileNotFoundError:
            continue


def _open(uri: str) -> tuple[Any, str]:
    fsspec: Any = importlib.import_module("fsspec")
    system, path = fsspec.core.url_to_fs(uri)
    return system, str(path)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # a bucket's threads may hang at the interpreter's end
