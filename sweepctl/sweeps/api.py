"""What the command line needs of W&B: the cloud, a self-hosted one or the embedded server.

Retries what may be retried, creates a sweep exactly once even when answers are lost, and turns the
protocol's errors into ones that say what to do. The protocol itself is in `sweepctl_pod.wandb`.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.parse
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import yaml

from sweepctl.server.access.addresses import is_loopback
from sweepctl_pod.errors import SIGTERM_CODE, ExitCode, SweepctlError, UsageError
from sweepctl_pod.run_record import RECORD_FILE, RunRecord, read_record
from sweepctl_pod.wandb.client import (
    ApiError,
    Connection,
    RunInfo,
    SweepInfo,
    WandbClient,
    sweep_url,
)
from sweepctl_pod.wandb.connection import CertificateError, how_to_log_in
from sweepctl_pod.wandb.outputs import (
    CONSOLE,
    Place,
    console_lines,
    download_file,
    end_body,
    find_file,
    sampled_histories,
    upload_file,
)
from sweepctl_pod.wandb.states import RunState

T = TypeVar("T")

FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
_RUNS_AT_ONCE = 10


class SweepSource(Protocol):
    """What keeps sweeps, for those who only read: a W&B server, or a data folder on the disk."""

    @property
    def where(self) -> str:
        """The place as people know it."""

    def default_entity(self) -> str:
        """Give the entity that is meant when none is named."""

    def projects(self, entity: str) -> list[str]:
        """List the names of an entity's projects."""

    def sweeps(self, entity: str, project: str) -> list[SweepInfo]:
        """List the sweeps of a project."""

    def sweep(self, entity: str, project: str, sweep_id: str) -> SweepInfo:
        """Give one sweep; an unknown one is an error that names it."""

    def runs(self, sweep: SweepInfo) -> list[RunInfo]:
        """List the runs of a sweep."""

    def run_log(self, sweep: SweepInfo, run_id: str) -> list[str]:
        """Give the lines that a run has printed; none when nothing was uploaded."""

    def run_record(self, sweep: str, run_id: str) -> RunRecord | None:
        """Give what the agent kept of how a run of ENTITY/PROJECT/SWEEP was started."""

    def run_records(self, sweep: str) -> dict[str, RunRecord] | None:
        """Give the records of all runs of ENTITY/PROJECT/SWEEP at once, perhaps without commands.

        None where each has to be asked for.
        """

    def histories(
        self, sweep: SweepInfo, runs: Sequence[str], keys: Sequence[str], samples: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Give rows of each run's history that have all of the keys, an even choice of them."""


class WandbApi:
    """One W&B server, as a use case sees it.

    Every call waits for a server that is away for a moment, for `patience_s` in all, telling
    `on_wait` about it once. A refusal (401, 403) or a missing thing (404) is an error at once.
    `renew` gives the connection as it would be found now: where a server begins meanwhile, its key
    is there only then.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        patience_s: float | None = None,
        on_wait: Callable[[str], None] = lambda message: None,
        renew: Callable[[], Connection] | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.connection = connection
        self._client = WandbClient(connection)
        self._patience_s = default_patience_s() if patience_s is None else patience_s
        self._on_wait = on_wait
        self._renew = renew
        self._sleep = sleep
        self._clock = clock
        self._has_records = True

    @property
    def base_url(self) -> str:
        """The address of the API."""
        return self.connection.base_url

    @property
    def where(self) -> str:
        """The API as people know it: its name, else its address."""
        return self.connection.name or self.base_url

    def default_entity(self) -> str:
        """Give the entity that the key's owner uses when none is named."""
        return self.connection.entity or self.viewer()

    def viewer(self) -> str:
        """Give the key's owner: the smallest question that shows whether the key is accepted."""
        return self._retrying(lambda: self._client.viewer_entity())

    def create_sweep(
        self,
        entity: str,
        project: str,
        config: Mapping[str, Any],
        write: Callable[[Any], str],
        *,
        token: str | None = None,
    ) -> SweepInfo:
        """Create a sweep from `config` (its text by `write`) once, whatever answers are lost.

        W&B has no idempotency key, and a lost answer leaves a sweep behind, so the description
        carries a token of this call: after any error the project's sweeps are searched for it
        before creating again (https://github.com/wandb/wandb/issues/1501). With a `token` that the
        caller keeps, later calls find the same sweep.
        """
        doubtful = token is not None
        token = f"sweepctl:{token or uuid.uuid4()}"
        description = " ".join(filter(None, [config.get("description"), token]))
        text = write({**config, "description": description})

        def create() -> SweepInfo:
            nonlocal doubtful
            if doubtful:
                for sweep in self._client.sweeps(entity, project):
                    if token in (sweep.description or "") or token in sweep.config_text:
                        return sweep
            doubtful = True
            return self._client.create_sweep(entity, project, text, description, config.get("name"))

        return self._retrying(create)

    def sweep(self, entity: str, project: str, sweep_id: str) -> SweepInfo:
        """Give one sweep; an unknown one is an error that names it."""
        try:
            return self._retrying(lambda: self._client.sweep(entity, project, sweep_id))
        except ApiError as error:
            if error.is_missing:
                raise SweepctlError(
                    f"no sweep {entity}/{project}/{sweep_id} at {self.where}",
                    "the form is ENTITY/PROJECT/SWEEP_ID",
                ) from error
            raise

    def sweeps(self, entity: str, project: str) -> list[SweepInfo]:
        """List the sweeps of a project."""
        return self._retrying(lambda: list(self._client.sweeps(entity, project)))

    def projects(self, entity: str) -> list[str]:
        """List the names of an entity's projects."""
        answer = self._retrying(
            lambda: self._client.graphql(
                "query Projects($entity: String, $perPage: Int!) {"
                " models(entityName: $entity, first: $perPage) { edges { node { name } } } }",
                {"entity": entity, "perPage": 300},
            )
        )
        edges = (answer.get("models") or {}).get("edges") or []
        return [edge["node"]["name"] for edge in edges]

    def runs(self, sweep: SweepInfo) -> list[RunInfo]:
        """List the runs of a sweep."""
        return self._retrying(
            lambda: list(self._client.runs(sweep.entity, sweep.project, sweep.id))
        )

    def run(self, sweep: SweepInfo, run_id: str) -> RunInfo | None:
        """Give one run; None when there is none of that id."""
        return self._retrying(lambda: self._client.run(sweep.entity, sweep.project, run_id))

    def run_log(self, sweep: SweepInfo, run_id: str) -> list[str]:
        """Give the lines that a run has printed; none when nothing was uploaded.

        The file is there when the trainer's client has ended well; until then there is a stream.
        """
        place = (sweep.entity, sweep.project, run_id)
        whole = self.run_file(place, CONSOLE)
        if whole is not None:
            return whole.splitlines()
        return self._retrying(lambda: console_lines(self._client, place))

    def run_record(self, sweep: str, run_id: str) -> RunRecord | None:
        """Give what the agent kept of how a run of ENTITY/PROJECT/SWEEP was started."""
        entity, project, _ = sweep.split("/")
        text = self.run_file((entity, project, run_id), RECORD_FILE)
        return None if text is None else read_record(text)

    def run_records(self, sweep: str) -> dict[str, RunRecord] | None:
        """Give the records of all runs at once, without commands; None where that cannot be."""
        if not self._has_records:
            return None
        entity, project, name = sweep.split("/")
        query = (
            "query SweepRecords($project: String!, $entity: String!, $name: String!) { project("
            "name: $project, entityName: $entity) { sweep(sweepName: $name) { sweepctlRecords } } }"
        )
        variables = {"project": project, "entity": entity, "name": name}
        try:
            answer = self._retrying(lambda: self._client.graphql(query, variables))
        except ApiError as error:
            if "Cannot query field" not in error.message:
                raise
            self._has_records = False
            return None
        found = ((answer.get("project") or {}).get("sweep") or {}).get("sweepctlRecords")
        forms = json.loads(found) if isinstance(found, str) else {}
        read = {run: read_record(json.dumps(form)) for run, form in forms.items()}
        return {run: record for run, record in read.items() if record is not None}

    def histories(
        self, sweep: SweepInfo, runs: Sequence[str], keys: Sequence[str], samples: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Give rows of each run's history that have all of the keys; a few runs a request."""
        blocks = [runs[at : at + _RUNS_AT_ONCE] for at in range(0, len(runs), _RUNS_AT_ONCE)]
        spec = json.dumps({"keys": list(keys), "samples": samples})
        found: dict[str, list[dict[str, Any]]] = {}
        for block in blocks:
            found |= self._retrying(partial(sampled_histories, self._client, sweep, block, spec))
        return found

    def run_file(self, place: Place, name: str) -> str | None:
        """Give the text of a small file of a run; None when it has none of that name."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")

            def fetch() -> str | None:
                file = find_file(self._client, place, name)
                if file is None:
                    return None
                download_file(self._client, file, path)
                return path.read_text("utf-8", "replace")

            return self._retrying(fetch)

    def set_state(self, sweep: SweepInfo, state: str) -> None:
        """Set RUNNING, PAUSED, FINISHED (no new runs) or CANCELED (runs under way are killed)."""
        self._retrying(lambda: self._client.set_sweep_state(sweep, state))

    def retry_run(self, run: RunInfo) -> bool | None:
        """Queue a run that has ended badly; False if it waits already.

        None where the server has no such operation: only the embedded one has.
        """
        query = "mutation RetryRun($id: ID!) { retryRun(input: {id: $id}) { success } }"
        try:
            answer = self._retrying(lambda: self._client.graphql(query, {"id": run.node_id}))
        except ApiError as error:
            if "Cannot query field" in error.message:
                return None
            raise
        payload = answer.get("retryRun")
        return None if not payload else bool(payload.get("success"))

    def open_run(self, run: RunInfo) -> None:
        """Show a run that has ended as running again, as its trainer does that resumes it."""
        query = (
            "mutation UpsertBucket($id: String, $state: String) {"
            " upsertBucket(input: {id: $id, state: $state}) { bucket { id } } }"
        )
        variables = {"id": run.node_id, "state": RunState.RUNNING.value}
        self._retrying(lambda: self._client.graphql(query, variables))

    def hand_back(self, sweep: SweepInfo, run: RunInfo) -> None:
        """Hand a run back that is open, as an agent does that was told to leave."""
        place = (sweep.entity, sweep.project, run.id)
        self._retrying(lambda: self._client.mark_preempting(*place))
        body = end_body(SIGTERM_CODE)
        self._retrying(lambda: self._client.post_file_stream(*place, body))

    def write_record(self, sweep: SweepInfo, run_id: str, record: RunRecord) -> None:
        """Store a run's record in the place of the one before."""
        place = (sweep.entity, sweep.project, run_id)
        content = record.text().encode()
        self._retrying(lambda: upload_file(self._client, place, RECORD_FILE, content))

    def login_token(self) -> str | None:
        """Give the token of a link that logs a browser in; None where none is needed or known."""
        url = f"{self.base_url}/login/links"
        try:
            answer = self._retrying(lambda: self._client.transport.json("POST", url, b"{}"))
        except ApiError:  # W&B proper, or a server of an earlier version
            return None
        token = answer.get("token") if isinstance(answer, dict) else None
        return token if isinstance(token, str) else None

    def _retrying(self, call: Callable[[], T]) -> T:
        deadline = self._clock() + self._patience_s
        delay_s = FIRST_DELAY_S
        told = False
        while True:
            try:
                return call()
            except ApiError as error:
                if error.is_refused:
                    if self._is_renewed():
                        continue
                    raise _refused(error, self.connection) from error
                wait_s = max(delay_s, error.retry_after_s or 0.0)
                if isinstance(error, CertificateError) or not error.is_transient:
                    raise
                if self._clock() + wait_s > deadline:
                    raise
                if not told:
                    about = "" if self.where in error.message else f"{self.where}: "
                    self._on_wait(f"{about}{error.message}; trying again …")
                    told = True
            self._sleep(wait_s)
            delay_s = min(2 * delay_s, LONGEST_DELAY_S)

    def _is_renewed(self) -> bool:
        """Take the connection that would be found now; say whether it is another one."""
        found = self._renew() if self._renew is not None else self.connection
        if found == self.connection:
            return False
        self.connection, self._client = found, WandbClient(found)
        return True


def default_patience_s(environ: Mapping[str, str] = os.environ) -> float:
    """Give how long a server may be away before that is an error: SWEEPCTL_PATIENCE_S, else 60."""
    text = environ.get("SWEEPCTL_PATIENCE_S") or "60"
    try:
        return max(0.0, float(text))
    except ValueError:
        raise UsageError(f"SWEEPCTL_PATIENCE_S is no number of seconds: '{text}'") from None


def dashboard_url(connection: Connection, sweep: SweepInfo) -> str:
    """Give the page where people watch the sweep."""
    return sweep_url(connection.base_url, sweep.entity, sweep.project, sweep.id)


def read_config(text: str) -> dict[str, Any]:
    """Read a sweep's config as W&B keeps it, YAML text whose root is a map."""
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SweepctlError(f"the sweep's config at the server is not YAML: {error}") from error
    if not isinstance(config, dict):
        raise SweepctlError("the sweep's config at the server is not a map")
    return config


def _refused(error: ApiError, connection: Connection) -> SweepctlError:
    log_in = how_to_log_in(connection.base_url)
    if is_loopback(urllib.parse.urlsplit(connection.base_url).hostname or ""):
        # Whose server it is finds its key by itself.
        log_in += "; a sweepctl server's key is the file `key` of its data folder"
    refusal = UsageError(
        f"{connection.name or connection.base_url} refused the API key ({error.status})",
        "set WANDB_API_KEY to one of its keys" if connection.name else log_in,
    )
    refusal.exit_code = ExitCode.FAILED
    return refusal
