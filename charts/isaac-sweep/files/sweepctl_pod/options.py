"""The agent's options: its command line, or the same words in the environment of its pod."""

from __future__ import annotations

import argparse
import enum
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sweepctl_pod.claims import ClaimTimes, release_of
from sweepctl_pod.errors import UsageError
from sweepctl_pod.find_sweep import UnnamedSweep
from sweepctl_pod.first_runs import DEFAULT_LIMIT, default_limit, limit_of
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.preflight import DEFAULT_MIN_FREE_MB
from sweepctl_pod.run.checkpoints import CheckpointRule
from sweepctl_pod.run.verdict import SettingsRule

T = TypeVar("T")

DEFAULT_GRACE_S = 30.0  # Kubernetes' terminationGracePeriodSeconds
DEFAULT_REFUSED_LIMIT_S = 300.0
DEFAULT_BELIEVED_AFTER_S = 30.0
DEFAULT_ADOPT_AFTER_S = ClaimTimes().adopt_after_s
DEFAULT_CLOSE_LIMIT_S = 600.0
"""Long, because the trainer's SDK uploads its files while it closes."""


class Asker(str, enum.Enum):
    """Who reads an agent's exit code. To a Job, failed runs are no failure of its index."""

    JOB = "job"
    PERSON = "person"


_GRAMMARS = {"auto": None, **{grammar.value: grammar for grammar in Grammar}}
_SWITCH = {"on": True, "off": False}
_SETTINGS_RULES = {rule.value: rule for rule in SettingsRule}


@dataclass(frozen=True, slots=True)
class AgentOptions:
    """How one agent works; without a `grammar`, the installed trainer is asked for it."""

    entity: str
    project: str
    sweep_id: str
    """Empty where the sweep is found by `source`."""
    host: str
    work: Path
    count: int | None = None
    grammar: Grammar | None = None
    preflight_gpu: str = "auto"
    grace_s: float = DEFAULT_GRACE_S
    """The time from SIGTERM to the end, as the pod's terminationGracePeriodSeconds."""
    refused_limit_s: float = DEFAULT_REFUSED_LIMIT_S
    """How long a refused key or an unknown sweep may last before this agent's first run."""
    believed_after_s: float = DEFAULT_BELIEVED_AFTER_S
    """How long W&B must say that something is not there until that is believed."""
    min_free_mb: int = DEFAULT_MIN_FREE_MB
    max_initial_failures: int = DEFAULT_LIMIT
    """After how many first runs that all failed at once this agent gives up; 0: never."""
    settings: SettingsRule = SettingsRule.REPORT
    close_limit_s: float = DEFAULT_CLOSE_LIMIT_S
    """How long a trainer may take to close after the end of its training."""
    asker: Asker = Asker.JOB
    release: str = ""
    """Whose runs this agent may take up, as claims.release_of says."""
    is_in_job: bool = False
    """Whether earlier pods of the same index may have had runs."""
    source: UnnamedSweep | None = None
    checkpoints: CheckpointRule = field(default_factory=CheckpointRule)
    claim_times: ClaimTimes = field(default_factory=ClaimTimes)
    """How long a run must be silent until another agent takes it up, and what follows from it."""


@dataclass(frozen=True, slots=True)
class WrapperOptions:
    """The wrapper's options, from its environment alone: its command line is the trainer's."""

    grammar: Grammar | None
    settings: SettingsRule
    close_limit_s: float
    believed_after_s: float
    checkpoints: CheckpointRule


def read_wrapper_options(environ: Mapping[str, str]) -> WrapperOptions:
    """Read what the environment says, in the agent's words; UsageError where it makes no sense."""

    def said(variable: str, default: str, convert: Callable[[str], T]) -> T:
        return _from_environ(environ, variable, default, convert)

    return WrapperOptions(
        grammar=said("SWEEPCTL_GRAMMAR", "auto", _one_of(_GRAMMARS)),
        settings=said("SWEEPCTL_SETTINGS", SettingsRule.REPORT.value, _one_of(_SETTINGS_RULES)),
        close_limit_s=said("SWEEPCTL_CLOSE_LIMIT_S", str(DEFAULT_CLOSE_LIMIT_S), _seconds),
        believed_after_s=_believed_after_s(environ),
        checkpoints=_checkpoint_rule(environ),
    )


def read_options(argv: Sequence[str], environ: Mapping[str, str]) -> AgentOptions:
    """Read command line and environment, which the command line overrides; or UsageError."""
    said = _parser(environ).parse_args(list(argv))
    source = None if said.sweep else _sweep_source(environ, said.index)
    parts = ["", "", ""] if source else (said.sweep or "").split("/")
    if len(parts) != 3 or not (source or all(parts)):
        raise UsageError(
            f"'{said.sweep or ''}' does not name a sweep",
            "give --sweep ENTITY/PROJECT/SWEEP_ID, or set SWEEPCTL_SWEEP",
        )
    entity, project, sweep_id = parts
    return AgentOptions(
        entity=entity,
        project=project,
        sweep_id=sweep_id,
        host=agent_host(environ, said.index),
        work=Path(said.work).absolute(),
        count=said.count,
        grammar=said.grammar,
        preflight_gpu=said.preflight_gpu,
        grace_s=said.grace_s,
        refused_limit_s=said.refused_limit_s,
        believed_after_s=_believed_after_s(environ),
        min_free_mb=said.min_free_mb,
        max_initial_failures=said.max_initial_failures,
        settings=said.settings,
        close_limit_s=said.close_limit_s,
        asker=said.asker,
        release=release_of(environ, agent_host(environ, None)),
        is_in_job=_is_in_job(environ),
        source=source,
        checkpoints=_checkpoint_rule(
            environ, pattern=said.checkpoint_pattern or "", uri=said.checkpoint_uri or ""
        ),
        claim_times=ClaimTimes(
            _from_environ(environ, "SWEEPCTL_ADOPT_AFTER_S", str(DEFAULT_ADOPT_AFTER_S), _seconds)
        ),
    )


def _checkpoint_rule(environ: Mapping[str, str], **said: str) -> CheckpointRule:
    """Read how checkpoints are kept; what the command line says comes first."""
    default = CheckpointRule()
    every_s, keep = str(default.every_s), str(default.keep)
    return CheckpointRule(
        companion=_from_environ(environ, "SWEEPCTL_CHECKPOINT_COMPANION", "on", _one_of(_SWITCH)),
        every_s=_from_environ(environ, "SWEEPCTL_CHECKPOINT_EVERY_S", every_s, _seconds),
        keep=_from_environ(environ, "SWEEPCTL_CHECKPOINT_KEEP", keep, _positive),
        pattern=said.get("pattern", environ.get("SWEEPCTL_CHECKPOINT_PATTERN", "")),
        uri=said.get("uri", environ.get("SWEEPCTL_CHECKPOINT_URI", "")),
    )


def _believed_after_s(environ: Mapping[str, str]) -> float:
    """Read what only tests change: no option of the command line."""
    variable, default = "SWEEPCTL_BELIEVED_AFTER_S", str(DEFAULT_BELIEVED_AFTER_S)
    return _from_environ(environ, variable, default, _seconds)


def _from_environ(
    environ: Mapping[str, str], variable: str, default: str, convert: Callable[[str], T]
) -> T:
    try:
        return convert(environ.get(variable) or default)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{variable}: {error}") from None


def _sweep_source(environ: Mapping[str, str], index: int | None) -> UnnamedSweep | None:
    """Read by what a sweep without an id is found; None outside a Job."""
    names = ("SWEEPCTL_SWEEP_FILE", "SWEEPCTL_NAMESPACE", "SWEEPCTL_NAME", "SWEEPCTL_JOB_UID")
    if not all(environ.get(name) for name in names):
        return None
    file, namespace, name, job_uid = (environ[name] for name in names)
    return UnnamedSweep(
        Path(file),
        namespace,
        name,
        job_uid,
        index or 0,
        environ.get("WANDB_ENTITY") or None,
        environ.get("WANDB_PROJECT") or None,
        _from_environ(environ, "SWEEPCTL_SEED", "", _seed),
    )


def _seed(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, found {text!r}")
    return int(text)


def agent_host(environ: Mapping[str, str], index: int | None) -> str:
    """Give the name under which an agent is known; in a Job it is the pod's, `<job>-<index>`."""
    host = environ.get("SWEEPCTL_HOST") or socket.gethostname()
    return host if index is None or _is_in_job(environ) else f"{host}-{index}"


def _is_in_job(environ: Mapping[str, str]) -> bool:
    return "JOB_COMPLETION_INDEX" in environ


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sweepctl_pod",
        description="Take runs from a W&B sweep and train them, one after the other.",
        epilog="Exit codes: 0 no more work, 75 handed back, 76 node unfit, 78 configuration error"
        " or given up; to a person 3: every run failed.",
    )

    def add(
        flag: str,
        variable: str,
        default: object,
        help: str,
        choices: Mapping[str, object] | None = None,
        **more: object,
    ) -> None:
        if choices is not None:
            more = {"type": _one_of(choices), "metavar": "|".join(choices)}
        # argparse converts and checks a default that is text as if it had been typed.
        parser.add_argument(
            flag,
            default=environ.get(variable) or default,
            help=f"{help} (${variable})",
            **more,  # type: ignore[arg-type]  # type and metavar, as add_argument takes them
        )

    add("--sweep", "SWEEPCTL_SWEEP", None, "the sweep: ENTITY/PROJECT/ID")
    add("--count", "SWEEPCTL_COUNT", None, "how many runs to take", type=_positive)
    add("--work", "SWEEPCTL_WORK", "sweepctl-work", "folder for logs and W&B's files")
    add(
        "--grammar",
        "SWEEPCTL_GRAMMAR",
        "auto",
        "how the trainer reads overrides",
        choices=_GRAMMARS,
    )
    add("--index", "JOB_COMPLETION_INDEX", None, "place among the agents", type=int)
    add(
        "--preflight-gpu",
        "SWEEPCTL_PREFLIGHT_GPU",
        "auto",
        "auto: a GPU must answer; off",
        choices={"auto": "auto", "off": "off"},
    )
    add(
        "--grace-s",
        "SWEEPCTL_GRACE_S",
        str(DEFAULT_GRACE_S),
        "seconds from SIGTERM to SIGKILL",
        type=_seconds,
    )
    add(
        "--refused-limit-s",
        "SWEEPCTL_REFUSED_LIMIT_S",
        str(DEFAULT_REFUSED_LIMIT_S),
        "seconds that a refused key or unknown sweep may last at the start",
        type=_seconds,
    )
    add(
        "--min-free-mb",
        "SWEEPCTL_MIN_FREE_MB",
        str(DEFAULT_MIN_FREE_MB),
        "room that the work folder's disk must have",
        type=_positive,
    )
    add(
        "--max-initial-failures",
        "SWEEPCTL_MAX_INITIAL_FAILURES",
        default_limit(environ),
        "give up when the first runs, so many, all failed at once; 0: never",
        type=_limit,
    )
    add(
        "--settings",
        "SWEEPCTL_SETTINGS",
        SettingsRule.REPORT.value,
        "report a run that finished with settings that nobody could read, or require them",
        choices=_SETTINGS_RULES,
    )
    add(
        "--close-limit-s",
        "SWEEPCTL_CLOSE_LIMIT_S",
        str(DEFAULT_CLOSE_LIMIT_S),
        "seconds that a trainer may take to close after the end of its training",
        type=_seconds,
    )
    add(
        "--checkpoint-pattern",
        "SWEEPCTL_CHECKPOINT_PATTERN",
        None,
        "the files that a trainer of any kind leaves to go on from",
        metavar="GLOB",
    )
    add(
        "--checkpoint-uri",
        "SWEEPCTL_CHECKPOINT_URI",
        None,
        "a bucket folder that keeps checkpoints",
        metavar="URI",
    )
    add(
        "--asker",
        "SWEEPCTL_ASKER",
        Asker.JOB.value,
        "who reads the exit code",
        choices={asker.value: asker for asker in Asker},
    )
    return parser


def _limit(text: str) -> int:
    try:
        return limit_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no number of runs (0: never)") from None


def _one_of(choices: Mapping[str, T]) -> Callable[[str], T]:
    """Give a function that reads one of several words: argparse does not check a default."""

    def convert(text: str) -> T:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(choices)}")
        return choices[text]

    return convert


def _positive(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no number of seconds")
    return number
