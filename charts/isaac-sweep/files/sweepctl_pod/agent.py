"""The agent: it takes runs from a sweep, trains one after the other, and posts their ends to W&B.

`python -m sweepctl_pod --sweep ENTITY/PROJECT/ID`. The loop of W&B's own agent
(https://github.com/wandb/wandb/blob/main/wandb/wandb_agent.py) over plain HTTP. It ends with an
exit code that the Job's podFailurePolicy knows (errors.ExitCode), never with 0 after SIGTERM.
"""

from __future__ import annotations

import json
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sweepctl_pod import log_lines, preflight
from sweepctl_pod.adoption import Adopter
from sweepctl_pod.assignment import AssignedRun, AssignedSweep
from sweepctl_pod.claims import agent_name
from sweepctl_pod.console import FLUSH_LIMIT_S, Console
from sweepctl_pod.errors import ExitCode, SweepctlError
from sweepctl_pod.find_sweep import SweepFinder
from sweepctl_pod.giving_up import GivingUp
from sweepctl_pod.handed_out import HandedOut
from sweepctl_pod.heartbeats import HEARTBEAT_S, Command
from sweepctl_pod.options import AgentOptions, read_options
from sweepctl_pod.run.bucket_folder import uri_trouble
from sweepctl_pod.run.process import Descendants, Guardian
from sweepctl_pod.run.settings_check import SettingsCheck
from sweepctl_pod.run.supervise import train
from sweepctl_pod.run.training import Pod, Training
from sweepctl_pod.run.verdict import Ending, Verdict
from sweepctl_pod.trainer.bytecode import BytecodeCache
from sweepctl_pod.trainer.interpreter import TrainerPython
from sweepctl_pod.trainer.tasks import with_tasks
from sweepctl_pod.waiting import (
    BackgroundCall,
    InterruptedBySignalError,
    LastCalls,
    Retrying,
    Signals,
    WakeUp,
)
from sweepctl_pod.wandb.client import (
    ApiError,
    WandbClient,
    connection_from_environ,
    sweep_url,
)
from sweepctl_pod.wandb.states import RUN_OF_NOBODY

T = TypeVar("T")

_LEFTOVERS_LIMIT_S = 10.0
HEARD_OUT_S = 5.0
"""How long a leaving agent waits for the answer to its heartbeat."""


class ConfigurationError(SweepctlError):
    """What was asked for is not possible, here or anywhere: another try changes nothing."""

    exit_code = ExitCode.CONFIGURATION


class NodeUnfitError(SweepctlError):
    """This node cannot train."""

    exit_code = ExitCode.NODE_UNFIT


class SweepGoneError(SweepctlError):
    """The sweep was deleted: there is nothing left to do."""

    exit_code = ExitCode.DONE


class Agent:
    """One agent, from its first call to W&B to its last."""

    def __init__(self, options: AgentOptions, client: WandbClient, pod: Pod) -> None:
        self._options = options
        self._client = client
        self._pod = pod
        self._signals = pod.signals
        self._say = pod.console.say
        self._retrying = Retrying(pod.wake_up, pod.signals, self._say, random.Random())
        self._giving_up = GivingUp(options, client, self._retrying)
        self._settings = SettingsCheck(pod.python, pod.wake_up)
        self._attempts: Counter[str] = Counter()
        self._had_run = False
        self._began_at = time.monotonic()
        self._waits_from: float | None = None
        self._taken = 0
        self._agent_id = ""
        self._last_calls = LastCalls(self._retrying, pod.signals, pod.wake_up)
        self._waiting = HandedOut(client, self._last_calls, self._say)
        self._adopter = Adopter(
            client,
            self._retrying,
            agent_name(options.host, pod.descendants.marker),
            options.host,
            options.claim_times,
            self._say,
            replaces_host=options.is_in_job,
            release=options.release,
        )

    def run(self) -> ExitCode:
        """Take runs until there are no more, or until told to leave; give the exit code."""
        try:
            self._check_node()
            self._find_sweep()
            self._join()
            if run := self._adopter.of_earlier_pod(self._sweep):
                self._waiting.put_first(run)
            code = self._take_runs()
        except InterruptedBySignalError:
            code = self._interrupted_code()
        except SweepctlError as error:
            self._say(error.line)
            code = error.exit_code
            if code in (ExitCode.NODE_UNFIT, ExitCode.CONFIGURATION):
                preflight.write_termination_message(error.line, self._pod.environ)
        self._waiting.hand_back(lambda: self._sweep)
        self._say_goodbye()
        if self._signals.is_leaving:
            code = self._interrupted_code()
        self._say(log_lines.exits(int(code), self._meaning(code)))
        return code

    def _meaning(self, code: ExitCode) -> str:
        if code is ExitCode.DONE and self._taken == self._options.count:
            return f"took its {self._taken} run{'' if self._taken == 1 else 's'}"
        return _MEANINGS.get(code, code.name)

    def _take_runs(self) -> ExitCode:
        while self._options.count is None or self._taken < self._options.count:
            run = self._next_run()
            if run is None:
                break
            self._taken += 1
            leave = self._train(run)
            self._had_run = True
            if leave is not None:
                return leave
        return self._giving_up.end

    def _check_node(self) -> None:
        options = self._options
        reason, gpus = self._retrying.run(
            lambda: preflight.check_node(
                options.work,
                gpu=options.preflight_gpu,
                min_free_mb=options.min_free_mb,
                environ=self._pod.environ,
            )
        )
        if reason is not None:
            raise NodeUnfitError(reason)
        self._pod = replace(self._pod, gpus=gpus)

    def _find_sweep(self) -> None:
        """Find the sweep that no id names, or create it."""
        source = self._options.source
        if source is None:
            return
        is_final = self._is_final_at_start
        finder = SweepFinder(
            source, self._client, self._retrying, self._read_yaml, self._say, is_final
        )
        try:
            info = finder.find()
        except SweepctlError as error:
            raise ConfigurationError(error.message, error.hint) from None
        self._options = replace(
            self._options, entity=info.entity, project=info.project, sweep_id=info.id
        )

    def _join(self) -> None:
        """Read the sweep and register, however long the API is out of reach."""
        options = self._options
        name = (options.entity, options.project, options.sweep_id)
        try:
            info = self._retrying.call(
                lambda: self._client.sweep(*name), is_final=self._is_final_at_start
            )
            self._agent_id = self._retrying.call(
                lambda: self._client.register_agent(*name, options.host),
                is_final=self._is_final_at_start,
            )
        except ApiError as error:
            if error.is_missing and self._had_run:
                raise SweepGoneError(f"sweep {'/'.join(name)} is not there any more") from None
            raise ConfigurationError(error.message, error.hint) from None
        self._sweep = self._read_sweep(info.config_text)
        self._grammar = options.grammar or self._retrying.run(
            lambda: self._pod.python.grammar(self._sweep.command)
        )
        if uri := options.checkpoints.uri:
            bucket = self._pod.python.bucket(self._sweep.command)
            if trouble := self._retrying.run(lambda: uri_trouble(bucket, uri)):
                raise ConfigurationError(trouble.message, trouble.hint)
        page = sweep_url(self._client.connection.base_url, *name)
        seen = self._pod.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = f", GPU {seen}" if seen else ""
        self._say(f"agent {options.host} of {page}{gpus}, overrides in the {self._grammar} grammar")

    def _read_yaml(self, text: str) -> Any:
        return self._retrying.run(lambda: self._pod.python.read_yaml(text))

    def _read_sweep(self, text: str) -> AssignedSweep:
        try:
            config: Any = json.loads(text)
        except (ValueError, RecursionError):
            try:
                config = self._read_yaml(text)
            except SweepctlError as error:
                raise ConfigurationError(error.message, error.hint) from None
        if not isinstance(config, dict):
            raise ConfigurationError("the sweep's config at W&B is not a map")
        options = self._options
        return AssignedSweep.of(options.entity, options.project, options.sweep_id, config)

    def _is_final_at_start(self, error: ApiError, lasted_s: float) -> bool:
        """Say whether an error ends this agent: the sweep is gone, or never was there.

        An ingress answers 404 as well, while its server restarts.
        """
        if self._had_run:
            return (
                error.is_missing
                and error.is_the_apis
                and lasted_s >= self._options.believed_after_s
            )
        return not error.is_transient and lasted_s >= self._options.refused_limit_s

    def _next_run(self) -> AssignedRun | None:
        """Wait for a run; None when the sweep has no more for this agent."""
        while not self._waiting:
            reason = self._retrying.run(
                lambda: preflight.full_disk_reason(self._options.work, self._options.min_free_mb)
            )
            if reason is not None:
                raise NodeUnfitError(reason)
            asked_at = time.monotonic()
            try:
                commands = self._ask_for_runs()
            except ApiError as error:
                if not error.is_missing:
                    raise ConfigurationError(error.message, error.hint) from None
                self._say("W&B knows this agent no more; registering again")
                self._join()
                self._retrying.rest(asked_at + HEARTBEAT_S - time.monotonic())
                continue
            for command in commands:
                if command.get("type") == "exit" and not self._stays_for_a_run(command):
                    return None
                self._waiting.take(command)
            if not self._waiting and (run := self._adopter.while_idle(self._sweep)):
                self._waiting.put_first(run)
            if not self._waiting:
                self._retrying.rest(asked_at + HEARTBEAT_S - time.monotonic())
        self._adopter.busy()
        return self._waiting.next()

    def _stays_for_a_run(self, exit_command: Command) -> bool:
        """Take up a run that W&B gives back to nobody, before this agent ends; or wait for one.

        The embedded server gives its runs back itself, and says that it means its `exit`.
        """
        if self._waiting.by_own_server or exit_command.get("is_final"):
            return False
        run, is_expecting = self._adopter.before_end(self._sweep)
        if run is not None:
            self._waiting.put_first(run)
        return run is not None or is_expecting

    def _ask_for_runs(self) -> list[Command]:
        """Send the heartbeat of an agent without a run.

        Told to leave meanwhile, it still waits for the answer: a run in it would be lost.
        """
        try:
            return self._retrying.call(
                lambda: self._client.heartbeat(self._agent_id, []),
                is_final=lambda error, lasted_s: (
                    error.is_missing or self._is_final_at_start(error, lasted_s)
                ),
            )
        except InterruptedBySignalError as interrupted:
            if interrupted.call is not None:
                self._take_late_answer(interrupted.call, self._signals.left_s / 2)
            raise

    def _take_late_answer(self, call: BackgroundCall[Any], limit_s: float) -> None:
        if call.wait(min(HEARD_OUT_S, limit_s)):
            with suppress(SweepctlError):
                for command in call.result():
                    self._waiting.take(command)

    def _train(self, run: AssignedRun) -> ExitCode | None:
        """Train one run and post its end; give the exit code when that ends this agent."""
        try:
            training = self._retrying.run(
                lambda: Training(self._pod, self._sweep, run, self._grammar, self._settings)
            )
        except InterruptedBySignalError:
            self._waiting.put_first(run)
            raise
        except SweepctlError as error:
            verdict = Verdict(Ending.FAILED, error.reason, 1)
            verdict = self._waiting.post_end(self._sweep, run, verdict)
            if verdict.leave is None:
                self._giving_up.note(self._sweep, run, verdict, 0.0)
            return verdict.leave
        self._attempts[run.id] += 1
        attempts = self._attempts[run.id]
        trained = train(
            self._client,
            self._last_calls,
            training,
            attempts,
            beat=self._beat,
            take=self._waiting.take,
            waited_from=self._waited_from(),
        )
        self._waits_from = trained.ended_at
        verdict = trained.verdict
        if verdict.leave is not None:
            preflight.write_termination_message(verdict.reason, self._pod.environ)
        if trained.must_exit:
            return ExitCode.DONE
        if verdict.leave is None:
            self._giving_up.note(self._sweep, run, verdict, trained.lasted_s)
        return verdict.leave

    def _waited_from(self) -> float:
        """Say when this agent began to wait: when the run before ended, else when it began."""
        if self._waits_from is not None:
            return self._waits_from
        return self._client.transport.now() - (time.monotonic() - self._began_at)

    def _beat(self, run_id: str) -> list[dict[str, Any]]:
        return self._client.heartbeat(self._agent_id, [run_id, *self._waiting.ids])

    def _say_goodbye(self) -> None:
        """Let go of what this agent held, by a heartbeat that names a run nobody has.

        W&B hands a run to an agent that names none. A run that it hands out all the same goes back.
        """
        if not self._agent_id:
            return
        last = BackgroundCall(
            lambda: self._client.heartbeat(self._agent_id, [RUN_OF_NOBODY]), self._pod.wake_up
        )
        self._take_late_answer(
            last, self._signals.left_s if self._signals.is_leaving else HEARD_OUT_S
        )
        self._waiting.hand_back(lambda: self._sweep)

    def _interrupted_code(self) -> ExitCode:
        is_terminal = self._signals.first == signal.SIGINT
        return ExitCode.INTERRUPTED if is_terminal else ExitCode.HANDED_BACK


_MEANINGS = {
    ExitCode.DONE: "no more work for this agent",
    ExitCode.FAILED_RUNS: "every run that this agent took has failed",
    ExitCode.HANDED_BACK: "told to leave; replace me",
    ExitCode.NODE_UNFIT: "this node cannot train",
    ExitCode.CONFIGURATION: "another try changes nothing before this is corrected",
    ExitCode.INTERRUPTED: "interrupted",
}


def run_agent(
    options: AgentOptions,
    client: WandbClient,
    environ: Mapping[str, str],
    console: Console | None = None,
    received: list[int] | None = None,
) -> ExitCode:
    """Run one agent; give its exit code. The process must be its own: it kills every child."""
    wake_up = WakeUp()
    signals = Signals(wake_up, options.grace_s, received)
    signals.install()
    descendants = Descendants(uuid.uuid4().hex)
    guardian = Guardian(descendants)
    python = TrainerPython(environ)
    pod = Pod(
        connection=client.connection,
        # A run is found by the host of its agent: the SDK would give the machine's name.
        environ={**environ, "WANDB_HOST": options.host},
        work=options.work,
        console=console or Console(),
        descendants=descendants,
        guardian=guardian,
        wake_up=wake_up,
        signals=signals,
        python=python,
        bytecode=BytecodeCache(environ, python),
        settings=options.settings,
        close_limit_s=options.close_limit_s,
        believed_after_s=options.believed_after_s,
        checkpoints=options.checkpoints,
        claim_times=options.claim_times,
        release=options.release,
    )
    try:
        return Agent(options, client, pod).run()
    finally:
        until = time.monotonic() + _LEFTOVERS_LIMIT_S

        def left_s() -> float:
            limit_s = signals.left_s if signals.is_leaving else _LEFTOVERS_LIMIT_S
            return min(limit_s, until - time.monotonic())

        descendants.finish_own(left_s())
        descendants.kill_leftovers(lambda: left_s() <= 0)
        guardian.dismiss(left_s())
        if not signals.is_leaving:  # thousands of files; a pod's end takes them along
            pod.bytecode.close()
        pod.console.flush(FLUSH_LIMIT_S)


def main(argv: Sequence[str], environ: Mapping[str, str], received: list[int] | None = None) -> int:
    """Run an agent as its command line and environment say; give its exit code.

    `received` holds the signals that come before the agent listens.
    """
    console = Console()
    try:
        options = read_options(argv, environ)
        client = WandbClient(connection_from_environ(environ, Path.home()))
        environ = with_tasks(environ, options.work)
    except SweepctlError as error:
        console.say(error.line)
        console.flush(FLUSH_LIMIT_S)
        preflight.write_termination_message(error.message, environ)
        return int(error.exit_code)
    return int(run_agent(options, client, environ, console, received))
