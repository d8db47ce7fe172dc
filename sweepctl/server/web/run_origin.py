"""Where a run comes from and how to repeat it: its command, its settings beside others, versions.

Pure. What nobody recorded says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sweepctl.server.store.file_store import StoredFile
from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.checkpoint import REMOTE_FOLDER, read_manifest
from sweepctl_pod.command import shell_line
from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import PATH_SUFFIX, TABLE_SUFFIX
from sweepctl_pod.run_record import RunRecord
from sweepctl_pod.trainer.resolve import default_grammar, resolve_run

NOT_RECORDED = "not recorded"
_MOST_LEAVES = 5000
_MOST_OTHERS = 4
"""So many values of other runs are named beside a run's own."""

CHECKPOINTS = f"{REMOTE_FOLDER}/"
"""How the names of checkpoints begin, among the files of a run."""

_MANIFEST = re.compile(re.escape(REMOTE_FOLDER) + r"/(\d{1,18})\.json")


@dataclass(frozen=True, slots=True)
class Command:
    """How the trainer was started."""

    line: str
    is_recorded: bool
    overrides: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a run beside what it was scaled from, or beside other runs."""

    name: str
    own: str
    others: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The newest checkpoint that a run can go on from; it is whole: its manifest comes last."""

    name: str
    size_bytes: int
    iteration: int
    of: int | None
    at: float


def command_of(
    record: RunRecord | None,
    spec: Mapping[str, Any] | None,
    params: Mapping[str, Any],
    place: tuple[str, str, str],
) -> Command | None:
    """Give the command as it ran, else as it is resolved now; None where neither is known.

    `place` is entity, project and run.
    """
    resolved: Any = None
    if spec is not None:
        try:
            entity, project, id = place
            sweep = AssignedSweep.of(entity, project, "", spec)
            resolved = resolve_run(
                sweep,
                AssignedRun(id, dict(params)),
                grammar=default_grammar(sweep.command),
                environ={},
                args_json_file=f"parameters-{id}.json",
            )
        except (SweepctlError, LookupError, TypeError, ValueError, AttributeError, RecursionError):
            resolved = None  # not ours: another agent ran it in its own way
    overrides = [(each.path, _text(each.value)) for each in resolved.overrides] if resolved else []
    if record is not None and record.argv:
        return Command(shell_line(record.argv), True, overrides)
    if resolved is None or not resolved.written:
        return None
    return Command(shell_line(resolved.written), False, overrides)


def scaled_from_base(params: Mapping[str, Any]) -> list[Setting]:
    """Give what the sweep's base dictionaries have, and what their factors made of it."""
    found = []
    for name, factor in sorted(params.items()):
        table, path = params.get(name + TABLE_SUFFIX), params.get(name + PATH_SUFFIX)
        if not isinstance(table, Mapping) or isinstance(factor, bool):
            continue
        if not isinstance(factor, int | float):
            continue
        for part, base in sorted(table.items()):
            if isinstance(base, int | float) and not isinstance(base, bool):
                with suppress(OverflowError):  # no float holds a whole number of that size
                    own = f"{base * factor:.6g}"
                    found.append(Setting(f"{path or name}.{part}", own, f"{base:.6g}"))
    return found[:_MOST_LEAVES]


def differing(
    config: Mapping[str, Any], others: Sequence[Mapping[str, Any]]
) -> tuple[list[Setting], bool]:
    """Give the settings in which a run differs from others; whether there were too many to read."""
    own = leaves(config)
    beside = [leaves(other) for other in others]
    found = []
    for name in sorted({*own, *(name for other in beside for name in other)}):
        values = [other.get(name, _MISSING) for other in beside]
        mine = own.get(name, _MISSING)
        if any(value != mine for value in values):
            told = list(dict.fromkeys(value for value in values if value != mine))
            more = f" and {len(told) - _MOST_OTHERS} more" if len(told) > _MOST_OTHERS else ""
            found.append(Setting(name, mine, ", ".join(told[:_MOST_OTHERS]) + more))
    return found, len(own) >= _MOST_LEAVES


_MISSING = "not set"


def leaves(config: Mapping[str, Any]) -> dict[str, str]:
    """Give the single settings of a run's config by dotted names, each as a text."""
    found: dict[str, str] = {}
    for name, value in _leaves(config, "", 0):
        if len(found) >= _MOST_LEAVES:
            break
        found[name] = value
    return found


def _leaves(config: Mapping[str, Any], above: str, deep: int) -> Iterator[tuple[str, str]]:
    for name, entry in config.items():
        if not above and name == "_wandb":
            continue
        wrapped = not above and isinstance(entry, Mapping) and "value" in entry
        value = entry["value"] if wrapped else entry
        if isinstance(value, Mapping) and value and deep < 12:
            yield from _leaves(value, f"{above}{name}.", deep + 1)
        else:
            yield f"{above}{name}", _text(value)


def newest_checkpoint(
    files: Sequence[StoredFile], read: Callable[[StoredFile], str]
) -> Checkpoint | None:
    """Give the newest checkpoint among a run's files whose parts are all there, in full size."""
    sizes = {file.name: file.size_bytes for file in files}
    named = [(int(found[1]), file) for file in files if (found := _MANIFEST.fullmatch(file.name))]
    for _, file in sorted(named, key=lambda pair: -pair[0]):
        manifest = read_manifest(read(file))
        if manifest is None:
            continue
        folder = f"{REMOTE_FOLDER}/"
        parts = manifest.files.items()
        if all(sizes.get(folder + name) == digest.size_bytes for name, digest in parts):
            whole = sum(digest.size_bytes for digest in manifest.files.values())
            name = folder + manifest.model
            return Checkpoint(name, whole, manifest.iteration, manifest.of, manifest.written_at)
    return None


def provenance(
    metadata: Mapping[str, Any],
    config: Mapping[str, Any],
    record: RunRecord | None,
    host: str | None,
    commit: str | None,
) -> list[tuple[str, str]]:
    """Give what is known of code, versions and machine, each by its name."""
    own = config.get("_wandb")
    own = own.get("value", own) if isinstance(own, Mapping) else {}
    own = own if isinstance(own, Mapping) else {}
    git = metadata.get("git")
    git = git if isinstance(git, Mapping) else {}
    last = record.attempts[-1] if record and record.attempts else None
    gpu = metadata.get("gpu")
    count = metadata.get("gpu_count")
    told = {
        "git commit": git.get("commit") or commit,
        "git remote": git.get("remote"),
        "program": metadata.get("program") or metadata.get("codePath"),
        "host": host or metadata.get("host"),
        "node": last.node if last else None,
        "agent": last.agent if last else None,
        "operating system": metadata.get("os"),
        "Python": metadata.get("python") or own.get("python_version"),
        "W&B client": own.get("cli_version") or metadata.get("cliVersion"),
        "GPU": f"{count} × {gpu}" if gpu and isinstance(count, int) else gpu,
        "image": metadata.get("docker"),
    }
    return [(name, _text(value)[:300] if value else NOT_RECORDED) for name, value in told.items()]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
