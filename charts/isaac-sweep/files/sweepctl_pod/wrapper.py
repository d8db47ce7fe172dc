"""A run under somebody else's agent: `python -m sweepctl.pod.run COMMAND…` in a sweep's `command`.

The stock `wandb agent` hands out the run; this reads $WANDB_SWEEP_PARAM_PATH, makes the overrides,
trains, judges, and ends with a code that is not 0 when the run failed. It never imports wandb: a
second process that opened the run would lock the trainer out of it.
"""

from __future__ import annotations

import os
import random
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.command import takes_overrides
from sweepctl_pod.console import FLUSH_LIMIT_S, Console
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.options import read_wrapper_options
from sweepctl_pod.run.bucket_folder import uri_trouble
from sweepctl_pod.run.process import Descendants, Guardian
from sweepctl_pod.run.settings_check import SettingsCheck
from sweepctl_pod.run.supervise import train
from sweepctl_pod.run.training import Pod, Training
from sweepctl_pod.run.verdict import Ending
from sweepctl_pod.trainer.bytecode import BytecodeCache
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.trainer.resolve import wrapped_command
from sweepctl_pod.trainer.tasks import with_tasks
from sweepctl_pod.waiting import InterruptedBySignalError, LastCalls, Retrying, Signals, WakeUp
from sweepctl_pod.wandb.client import WandbClient, connection_from_environ, unwrap_config

GRACE_S = 20.0


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the wrapper; give its exit code."""
    console = Console()
    wake_up = WakeUp()
    signals = Signals(wake_up, GRACE_S)
    signals.install()
    try:
        return _run(argv, environ, console, wake_up, signals)
    except InterruptedBySignalError as interrupted:
        console.say("told to leave before the training began")
        console.flush(FLUSH_LIMIT_S)
        return 128 + interrupted.signum
    except SweepctlError as error:
        console.say(error.line)
        console.flush(FLUSH_LIMIT_S)
        return int(error.exit_code)


def _run(
    argv: Sequence[str],
    environ: Mapping[str, str],
    console: Console,
    wake_up: WakeUp,
    signals: Signals,
) -> int:
    if not argv:
        raise UsageError(
            "there is no command to run",
            "in the sweep's file: command: [python, -m, sweepctl.pod.run, isaaclab, train, …]",
        )
    options = read_wrapper_options(environ)
    client = WandbClient(connection_from_environ(environ, Path.home()))
    work = Path(environ.get("SWEEPCTL_WORK") or environ.get("WANDB_DIR") or ".").absolute()
    environ = with_tasks(environ, work)
    python = TrainerPython(environ)
    retrying = Retrying(wake_up, signals, console.say, random.Random())
    last_calls = LastCalls(retrying, signals, wake_up)
    sweep, run = _assignment(argv, environ, client, python, last_calls)
    grammar = options.grammar or retrying.run(lambda: python.grammar(argv))
    if uri := options.checkpoints.uri:
        bucket = python.bucket(argv)
        if trouble := retrying.run(lambda: uri_trouble(bucket, uri)):
            raise UsageError(trouble.message, trouble.hint)
    descendants = Descendants(uuid.uuid4().hex)
    guardian = Guardian(descendants)
    bytecode = BytecodeCache(environ, python)
    pod = Pod(
        connection=client.connection,
        environ=environ,
        work=work,
        console=console,
        descendants=descendants,
        guardian=guardian,
        wake_up=wake_up,
        signals=signals,
        python=python,
        bytecode=bytecode,
        settings=options.settings,
        close_limit_s=options.close_limit_s,
        believed_after_s=options.believed_after_s,
        checkpoints=options.checkpoints,
    )
    try:
        settings = SettingsCheck(python, wake_up)
        training = retrying.run(lambda: Training(pod, sweep, run, grammar, settings))
        # This process cannot know how often the run was tried: the stock agent starts one for each.
        verdict = train(client, last_calls, training, attempts=1).verdict
        return 0 if verdict.ending is Ending.FINISHED else verdict.exit_code or 1
    finally:
        until = time.monotonic() + (signals.left_s if signals.is_leaving else GRACE_S)
        descendants.finish_own(until - time.monotonic())
        descendants.kill_leftovers(lambda: time.monotonic() >= until)
        guardian.dismiss(until - time.monotonic())
        if not signals.is_leaving:  # thousands of files; a pod's end takes them along
            bytecode.close()
        console.flush(FLUSH_LIMIT_S)


def _assignment(
    argv: Sequence[str],
    environ: Mapping[str, str],
    client: WandbClient,
    python: TrainerPython,
    last_calls: LastCalls,
) -> tuple[AssignedSweep, AssignedRun]:
    """Read the stock agent's environment and the sweep's config; give what there is to train.

    The stock agent leaves `${overrides}` out: where the sweep's command names the wrapper, what
    follows is expanded again, so that the trainer gets what our own agent would give it.
    """
    needed = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
    missing = [name for name in needed if not environ.get(name)]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} not set: this command is for an agent to start",
            "run it by `sweepctl agent` or `wandb agent`; by hand, leave"
            " `python -m sweepctl.pod.run` out",
        )
    path = Path(environ["WANDB_SWEEP_PARAM_PATH"])
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SweepctlError(f"cannot read {path}: {(error.strerror or '').lower()}") from None
    wrapped: Any = last_calls.retrying.run(lambda: python.read_yaml(text))
    if not isinstance(wrapped, dict):
        raise SweepctlError(f"{path} is not a map of parameters")
    wrapped.pop("wandb_version", None)
    entity = environ.get("WANDB_ENTITY") or client.connection.entity
    entity = entity or last_calls.call(client.viewer_entity)
    project = environ.get("WANDB_PROJECT")
    if not project:
        raise UsageError("WANDB_PROJECT is not set", "set it where `wandb agent` starts")
    name = (entity, project, environ["WANDB_SWEEP_ID"])
    info = last_calls.call(lambda: client.sweep(*name))
    config: Any = last_calls.retrying.run(lambda: python.read_yaml(info.config_text))
    sweep = AssignedSweep.of(*name, config if isinstance(config, dict) else {})
    own = wrapped_command(sweep.command)
    if own is not None:
        sweep = replace(sweep, command=tuple(own))
    else:
        passes_them = not takes_overrides(sweep.command)
        sweep = replace(sweep, command=tuple(argv), has_arguments=passes_them)
    return sweep, AssignedRun(id=environ["WANDB_RUN_ID"], config=unwrap_config(wrapped))


if __name__ == "__main__":  # in a pod this file is mounted as sweepctl/pod/run.py as well
    sys.exit(main(sys.argv[1:], os.environ))
