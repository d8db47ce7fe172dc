"""What trainers send, checked and in our own form. Pure: `intake` stores it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweepctl.server import bounds, json_texts
from sweepctl.server.errors import BadMessageError
from sweepctl.server.store import lines
from sweepctl_pod.wandb.states import RunState

_MAX_LINE = 2**40
_MAX_WRITER_NAME = 128


@dataclass(frozen=True, slots=True)
class StreamMessage:
    """A checked body of file_stream."""

    files: Mapping[str, tuple[int, list[str]]]
    is_preempting: bool
    exit_code: int | None
    writer: str | None = None
    """The name of the process that sent it, in a run that several write to."""

    @property
    def is_only_sign_of_life(self) -> bool:
        """Whether there is nothing in it to store."""
        return not self.files and not self.is_preempting and self.exit_code is None


@dataclass(frozen=True, slots=True)
class Branch:
    """The point of a run's history that another goes on from."""

    run: str
    step: int


@dataclass(frozen=True, slots=True)
class RunChange:
    """What `upsertBucket` sets.

    A trainer that starts names its `host`; `is_resumed` when it continues the run, `is_shared` when
    others may be writing to it.
    """

    fields: Mapping[str, Any]
    config: Mapping[str, Any] | None
    summary: str | None
    state: RunState | None
    host: str | None
    is_resumed: bool
    is_shared: bool = False

    @property
    def branch(self) -> Branch | None:
        """The step of which run a new run goes on from; None for one that begins at nothing."""
        point = _at(_at(_at(self.config, "_wandb"), "value"), "branch_point")
        run, step = point.get("run_id"), point.get("step")
        if not isinstance(run, str) or not run or step is None:
            return None
        return Branch(run, lines.step_of(step, -1))


def read_stream(body: object, writer: str | None = None) -> StreamMessage:
    """Check a body of file_stream; a BadMessageError says what is wrong with it.

    `writer` is the name that the sender gave itself, if it shares the run with others.
    """
    if writer is not None and not 0 < len(writer) <= _MAX_WRITER_NAME:
        length = f"1 to {_MAX_WRITER_NAME} characters"
        raise BadMessageError(f"file_stream: the writer {writer[:80]!r} is no name of {length}")
    if not isinstance(body, Mapping):
        raise BadMessageError("file_stream: the body is not a map")
    files = body.get("files") or {}
    if not isinstance(files, Mapping):
        raise BadMessageError("file_stream: files is not a map")
    code = body.get("exitcode")
    if body.get("complete") and code is None:
        code = 0
    if code is not None and (type(code) is not int or abs(code) > 2**31):
        raise BadMessageError(f"file_stream: exitcode {code!r} is not a whole number")
    blocks = {str(name): _block(str(name), block) for name, block in files.items()}
    return StreamMessage(blocks, bool(body.get("preempting")), code, writer)


def _block(name: str, block: object) -> tuple[int, list[str]]:
    if not isinstance(block, Mapping):
        raise BadMessageError(f"file_stream: {name} is not a map")
    offset, content = block.get("offset", 0), block.get("content", [])
    if type(offset) is not int or not 0 <= offset <= _MAX_LINE:
        raise BadMessageError(f"file_stream: {name}: offset {offset!r} is not a line number")
    if isinstance(content, str):
        content = [content]
    if not isinstance(content, list) or not all(isinstance(line, str) for line in content):
        raise BadMessageError(f"file_stream: {name}: content is not a list of lines")
    if name == lines.SUMMARY and content:
        _checked_summary(content[-1])
    return offset, content


def _checked_summary(text: str) -> None:
    try:
        summary = json_texts.parsed(text)
    except json_texts.JsonTextError as error:
        raise BadMessageError(f"the summary is no JSON: {error}") from error
    if not isinstance(summary, Mapping):
        raise BadMessageError("the summary is not a map")


def merged_config(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    params: Mapping[str, Any],
    *,
    is_shared: bool = False,
) -> dict[str, Any]:
    """Lay a run's new config over its old one; of a run with several writers all environments stay.

    A parameter of the sweep keeps the value that was handed out when the trainer sends an equal
    number: 1.0 that a client sends back as 1 stays 1.0.
    """
    merged = {**old, **new}
    if is_shared and "_wandb" in new:
        merged["_wandb"] = _with_environments(old.get("_wandb"), new["_wandb"])
    for name, value in params.items():
        sent = merged.get(name)
        if isinstance(sent, Mapping) and "value" in sent and _is_same(sent["value"], value):
            merged[name] = {**sent, "value": value}
    return merged


def config_text(config: Mapping[str, Any], before: int) -> str:
    """Write a run's merged config; a BadMessageError if it grows beyond what a config may be.

    `before` is how many characters it had: an earlier version may have let it grow further.
    """
    text = json.dumps(config)
    limit = bounds.MAX_RUN_CONFIG_CHARACTERS
    if len(text) > max(limit, before):
        raise BadMessageError(
            f"the run's configuration would be larger than {limit >> 20} MB with this"
        )
    return text


def _with_environments(old: object, new: object) -> object:
    """Keep what the other writers said of their machines, each under its name."""
    if not isinstance(new, Mapping) or not isinstance(new.get("value"), Mapping):
        return new
    environments = {**_at(_at(old, "value"), "e"), **_at(new["value"], "e")}
    return {**new, "value": {**new["value"], "e": environments}} if environments else new


def _at(document: object, name: str) -> Mapping[str, Any]:
    found = document.get(name) if isinstance(document, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_same(sent: object, handed_out: object) -> bool:
    if isinstance(sent, bool) or isinstance(handed_out, bool):
        return False
    return isinstance(sent, int | float) and isinstance(handed_out, float) and sent == handed_out
