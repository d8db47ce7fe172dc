"""From a sweep file to GPU pods: what `submit` decides, and what it then does, in which order.

Twice is the same as once. What is refused is refused before anything is made; what fails on the way
says what is there, and the same command completes it. The sweep is created once: the ConfigMap's
own UID is its token at W&B, and its id is then kept in that ConfigMap.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sweepctl import manifest
from sweepctl.jobs.existing import (
    SubmitOptions,
    check_name_is_free,
    check_same_sweep,
    keep_live_settings,
    kept_settings,
)
from sweepctl.jobs.preconditions import check_namespace, check_secret, missing_gpus, try_pod
from sweepctl.jobs.secret import SecretKey, make_secret, own_key, secret_place
from sweepctl.jobs.submission import Submission, find_submission, job_end, open_cluster_api
from sweepctl.kube.client import Cluster, Object, Outcome
from sweepctl.kube.errors import ClusterError
from sweepctl.kube.pod_reasons import Reason, why_pending
from sweepctl.kube.port_forward import ready_pod, service_address
from sweepctl.sweepfile.load import SweepSpec, config_text
from sweepctl.sweeps.api import WandbApi, dashboard_url
from sweepctl.sweeps.create import tell_seed
from sweepctl.sweeps.handle import Change
from sweepctl.sweeps.names import entity_of, parse_sweep_name, project_of
from sweepctl.values.notes import setting_notes
from sweepctl.values.settings import Values
from sweepctl_pod.errors import SweepctlError, UsageError
from sweepctl_pod.wandb.client import SweepInfo
from sweepctl_pod.wandb.states import ENDED_SWEEPS

SERVER_LIMIT_S = 300.0
SERVER_STUCK_S = 30.0


@dataclass(slots=True)
class Submitted:
    """What a submit has done so far; complete when it returns."""

    name: str
    namespace: str
    job: str = ""
    sweep: str | None = None
    page: str | None = None
    changes: list[Change] = field(default_factory=list)
    objects: list[Object] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Submitter:
    """One submit of one sweep file to one cluster; `say` gets what it waits for."""

    def __init__(
        self,
        cluster: Cluster,
        spec: SweepSpec,
        values: Values,
        options: SubmitOptions,
        *,
        say: Callable[[str], None],
        environ: Mapping[str, str] = os.environ,
        on_change: Callable[[Change], None] = lambda change: None,
    ) -> None:
        self._cluster = cluster
        self._spec = spec
        self._values = values
        self._options = options
        self._namespace = cluster.namespace
        self._say = say
        self._environ = environ
        self._on_change = on_change
        self._done = Submitted(options.name, cluster.namespace)

    def run(self) -> Submitted:
        """Carry the submit out, or refuse it and say what to do."""
        check_namespace(self._cluster, self._namespace)
        existing = find_submission(self._cluster, self._options.name, self._namespace)
        check_name_is_free(existing, self._options.name)
        asked_for = self._values.at("sweepId") if "sweepId" in self._values.by_flag else None
        check_same_sweep(existing, self._spec, self._options.name, asked_for)
        values = keep_live_settings(self._values, existing)
        self._done.notes.extend(kept_settings(self._values, values, existing))
        self._done.notes.extend(setting_notes(values))
        plan = self._plan(values, asked_for or existing.sweep_id)
        objects = manifest.render(plan)
        if not plan.sweep_id:
            self._sweep_place(values)  # or say now that W&B has no such names
        place = secret_place(values)
        may_make = self._options.create_secret
        is_there = check_secret(self._cluster, place, self._namespace, may_make=may_make)
        servers = SecretKey(*plan.server_keys) if plan.has_server else None
        if servers and servers != place:
            check_secret(self._cluster, servers, self._namespace, may_make=False, is_servers=True)
        if may_make and not is_there and not plan.has_server:
            own_key(values, self._environ)  # or say now that there is none
        if existing.job is None:
            try_pod(self._cluster, objects[-1])
            if values.at("gpus"):
                self._done.notes.extend(missing_gpus(self._cluster, values.at("gpuResource")))
        if self._options.dry_run != "none":
            self._apply_all(objects)
            if not plan.sweep_id:
                self._done.notes.append(
                    "no sweep was created: its id is part of what the Job's name ends with"
                )
            return self._done
        if not plan.has_server and self._needs_api(existing, plan):
            self._try_api(values, plan)
        with self._reporting():
            self._carry_out(existing, values, plan, objects)
        return self._done

    def _carry_out(
        self,
        existing: Submission,
        values: Values,
        plan: manifest.JobPlan,
        objects: list[Object],
    ) -> None:
        if self._options.create_secret:
            labels = manifest.labels(plan.name, "agent")
            made = make_secret(self._cluster, values, self._namespace, labels, self._environ)
            self._note(Change("Secret", values.at("wandb.secretName"), made.value))
        base, job = objects[:-1], objects[-1]
        is_open = True
        self._apply_all(base)
        address = service_address(plan.api_url, self._namespace)
        if address is not None and plan.has_server:
            self._await_server(plan)
        if self._needs_api(existing, plan):
            with self._open_api(values, plan) as api:
                sweep = self._find_or_create_sweep(api, values, plan)
                self._done.page = dashboard_url(api.connection, sweep) if not address else None
            is_open = sweep.state not in ENDED_SWEEPS
            sweep_id = sweep.full_name
            job = self._with_sweep(existing, values, plan, sweep_id, is_open)
        self._done.sweep = job["metadata"]["annotations"].get(manifest.SWEEP_ANNOTATION)
        self._apply(job)
        self._remove_replaced(existing, job)
        if job_end(existing.job or {}) and not is_open:
            self._done.notes.append(
                f"the sweep has ended: sweepctl best {plan.name}; to start anew submit it under"
                f" another --name, or after: sweepctl delete {plan.name}"
            )

    def _with_sweep(
        self,
        existing: Submission,
        values: Values,
        plan: manifest.JobPlan,
        sweep_id: str,
        is_open: bool,
    ) -> Object:
        """Write the sweep's id where it is kept; give the Job that is to work for it."""
        if (
            existing.job is not None
            and job_end(existing.job)
            and is_open
            and values.at("generation") <= existing.generation
        ):
            values = values.with_({"generation": existing.generation + 1})
            self._done.notes.append(
                f"job {existing.job['metadata']['name']} has ended and the sweep has not:"
                " this one goes on with it"
            )
        objects = manifest.render(self._plan(values, sweep_id))
        if sweep_id != plan.sweep_id:
            name = manifest.sweep_config_name(plan.name)
            self._apply(next(each for each in objects if each["metadata"]["name"] == name))
        return objects[-1]

    def _plan(self, values: Values, sweep_id: str | None) -> manifest.JobPlan:
        return manifest.plan_job(
            values, self._spec.text, self._options.name, self._namespace, sweep_id=sweep_id
        )

    def _open_api(self, values: Values, plan: manifest.JobPlan) -> AbstractContextManager[WandbApi]:
        return open_cluster_api(
            self._cluster,
            plan.api_url,
            self._namespace,
            secret_place(values),
            self._say,
            self._environ,
        )

    def _try_api(self, values: Values, plan: manifest.JobPlan) -> None:
        """Refuse a W&B that does not answer or does not know the key or the sweep."""
        with self._open_api(values, plan) as api:
            if plan.sweep_id:
                self._named_sweep(api, plan)
            else:
                api.viewer()

    def _needs_api(self, existing: Submission, plan: manifest.JobPlan) -> bool:
        """Say whether W&B has to be asked: for a new sweep, or what became of an ended Job's."""
        has_ended = existing.job is not None and job_end(existing.job) is not None
        return not existing.sweep_id or has_ended or existing.sweep_id != plan.sweep_id

    def _find_or_create_sweep(
        self, api: WandbApi, values: Values, plan: manifest.JobPlan
    ) -> SweepInfo:
        if plan.sweep_id:
            return self._named_sweep(api, plan)
        config = self._cluster.get("ConfigMap", plan.sweep_name, self._namespace)
        if config is None:
            raise ClusterError(f"configmap/{plan.sweep_name} was deleted", "submit again")
        entity, project = self._sweep_place(values)
        seed = int(values.at("seed"))
        spec = self._spec if seed < 0 else self._spec.seeded(seed)
        sweep = api.create_sweep(
            entity or api.default_entity(),
            project,
            spec.to_wandb_config(),
            config_text,
            token=config["metadata"]["uid"],
        )
        self._say(f"sweep {sweep.full_name}")
        tell_seed(spec, sweep, self._say)
        return sweep

    def _sweep_place(self, values: Values) -> tuple[str | None, str]:
        return (
            entity_of(self._spec, values.at("wandb.entity") or None),
            project_of(self._spec, values.at("wandb.project") or None),
        )

    def _named_sweep(self, api: WandbApi, plan: manifest.JobPlan) -> SweepInfo:
        name = parse_sweep_name(plan.sweep_id)
        return api.sweep(name.entity or "", name.project or "", name.id or "")

    def _await_server(self, plan: manifest.JobPlan) -> None:
        """Wait until the server that was just made answers; say why it does not."""
        address = service_address(plan.api_url, self._namespace)
        selector = manifest.selector_text(plan.name, "server")
        reason, since = None, time.monotonic()
        while address is not None and ready_pod(self._cluster, address) is None:
            pods = self._cluster.list("Pod", self._namespace, selector=selector)
            now = why_pending(pods[0]) if pods else Reason("its pod is not created yet")
            if now != reason:
                self._say(f"waiting for the server: {now.words}")
                reason, since = now, time.monotonic()
            # What needs somebody to do something does not pass by itself.
            limit_s = SERVER_LIMIT_S if now.hint is None else SERVER_STUCK_S
            if time.monotonic() - since > limit_s:
                raise ClusterError(
                    f"the server is not ready: {now.words}",
                    now.hint or f"kubectl describe pods -n {self._namespace} -l {selector}",
                )
            time.sleep(1)

    def _apply_all(self, objects: Sequence[Object]) -> None:
        for wanted in objects:
            self._apply(wanted)

    def _apply(self, wanted: Object) -> None:
        kind, name = wanted["kind"], wanted["metadata"]["name"]
        self._done.objects.append(wanted)
        if kind == "Job":
            self._done.job = name
        if self._options.dry_run == "client":
            there = self._cluster.get(kind, name, self._namespace)
            verb = Outcome.CREATED if there is None else Outcome.CONFIGURED
            self._note(Change(kind, name, f"{verb.value} (dry run)"))
            return
        is_dry = self._options.dry_run == "server"
        applied = self._cluster.apply(wanted, dry_run=is_dry, force=self._options.force_conflicts)
        verb_text = applied.outcome.value + (" (server dry run)" if is_dry else "")
        self._note(Change(kind, name, verb_text))
        self._done.notes.extend(f"Kubernetes warns: {text}" for text in applied.warnings)

    def _remove_replaced(self, existing: Submission, job: Object) -> None:
        """Remove the Jobs that this one replaces; their agents hand their runs back to it."""
        kept = job["metadata"]["name"]
        for old in existing.jobs:
            name = old["metadata"]["name"]
            if name == kept or old["metadata"].get("deletionTimestamp"):
                continue
            if self._cluster.delete("Job", name, self._namespace):
                self._note(Change("Job", name, "deleted (replaced)"))
                self._remove_code(old, job)

    def _remove_code(self, old: Object, job: Object) -> None:
        for name in _config_maps(old) - _config_maps(job):
            if name.startswith(f"{self._options.name}-code-") and self._cluster.delete(
                "ConfigMap", name, self._namespace
            ):
                self._note(Change("ConfigMap", name, "deleted (replaced)"))

    def _note(self, change: Change) -> None:
        self._done.changes.append(change)
        self._on_change(change)

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Say, when it fails half-way, what is there and how to complete it."""
        try:
            yield
        except SweepctlError as error:
            made = [change for change in self._done.changes if change.verb == "created"]
            if made:
                there = ", ".join(change.object for change in made)
                error.hint = "\n".join(
                    filter(
                        None,
                        [
                            error.hint,
                            f"made so far: {there}",
                            "the same command completes it; to take it back:"
                            f" sweepctl delete {self._options.name} -n {self._namespace}",
                        ],
                    )
                )
            raise


def name_of(spec: SweepSpec, file: str, option: str | None) -> str:
    """Choose the name: the option, the sweep's own, else that of its file or folder."""
    if option is not None:
        manifest.check_name(option)
        return option
    if spec.name:
        return manifest.default_name(spec.name)
    if file == "-":
        raise UsageError("a sweep from stdin needs a name", "give it one with --name")
    path = Path(file).absolute()
    is_plain = path.stem in ("sweep", "config", "wandb")
    return manifest.default_name(path.parent.name if is_plain and path.parent.name else path.stem)


def _config_maps(job: Object) -> set[str]:
    volumes = job["spec"]["template"]["spec"].get("volumes") or []
    return {each["configMap"]["name"] for each in volumes if "configMap" in each}
