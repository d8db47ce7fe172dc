"""What a submit means where something of its name is there already: refused, kept, or changed.

Pure: it compares what is asked with what the cluster has.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from sweepctl import manifest
from sweepctl.jobs.submission import Submission, job_end
from sweepctl.sweepfile.load import SweepSpec
from sweepctl.values.settings import Values, chart
from sweepctl_pod.errors import UsageError


@dataclass(frozen=True, slots=True)
class SubmitOptions:
    """What the user asked for, besides the sweep file and the settings."""

    name: str
    create_secret: bool = False
    dry_run: str = "none"
    force_conflicts: bool = False


def keep_live_settings(values: Values, existing: Submission) -> Values:
    """Give the settings, with what the live Job has kept where nobody asked to change it.

    A Job that was scaled or paused stays so unless a flag says otherwise, and a successor's
    generation is kept.
    """
    changes: dict[str, object] = {}
    job = existing.job
    if job is not None and not job_end(job):
        if "agents" not in values.by_flag:
            changes["agents"] = int(job["spec"]["parallelism"])
        if job["spec"].get("suspend") and not values.at("kueue.queue"):
            changes["suspend"] = True
    if existing.generation > values.at("generation"):
        changes["generation"] = existing.generation
    return values.with_(changes) if changes else values


def kept_settings(asked: Values, used: Values, existing: Submission) -> list[str]:
    """Tell which settings a live Job does not follow, since it was scaled or paused."""
    notes = []
    wanted, kept = asked.at("agents"), used.at("agents")
    if "agents" not in asked.by_flag and wanted not in (kept, chart().defaults["agents"]):
        notes.append(
            f"the Job keeps its {kept} agents, and the settings say {wanted}:"
            f" --agents {wanted} changes it"
        )
    if used.at("suspend") and not asked.at("suspend"):
        here = f"{existing.name} -n {existing.namespace}"
        notes.append(f"the Job is paused and stays so: sweepctl resume {here}")
    return notes


def check_name_is_free(existing: Submission, name: str) -> None:
    """Refuse a name whose objects somebody else made."""
    release = existing.helm_release
    if release is not None:
        raise UsageError(
            f"'{name}' is the Helm release '{release}' in namespace '{existing.namespace}'",
            f"change it with: helm upgrade {release} …; or choose another --name",
        )
    if existing.is_from_chart:
        application = existing.argo_application
        owner = f"the Argo CD application '{application}'" if application else "kubectl apply"
        raise UsageError(
            f"'{name}' in namespace '{existing.namespace}' is the chart's, by {owner}",
            "change it where it is rendered; or choose another --name",
        )
    config = existing.config
    labels = config["metadata"].get("labels") or {} if config else {}
    if config is not None and labels.get(manifest.NAME_LABEL) != manifest.CHART:
        raise UsageError(
            f"the name '{name}' is taken: configmap/{config['metadata']['name']} in namespace"
            f" '{existing.namespace}' is not sweepctl's",
            "choose another --name",
        )


def check_same_sweep(
    existing: Submission, spec: SweepSpec, name: str, sweep_id: str | None
) -> None:
    """Refuse to put another sweep in the place of one that is there; show what differs."""
    here = f"-n {existing.namespace}"
    advice = (
        "submit it under another --name; or, when the old one is not needed any more:\n"
        f"sweepctl delete {name} {here}"
    )
    text = existing.sweep_text
    if text is not None and text != spec.text:
        diff = "".join(
            _ended(line)
            for line in difflib.unified_diff(
                text.splitlines(True), spec.text.splitlines(True), f"{name} (submitted)", spec.file
            )
        )
        raise UsageError(
            f"'{name}' runs another sweep file, and a sweep cannot change under way:\n{diff}",
            advice,
        )
    if existing.sweep_id and sweep_id and existing.sweep_id != sweep_id:
        raise UsageError(
            f"'{name}' works for sweep {existing.sweep_id}, not for {sweep_id}", advice
        )


def _ended(line: str) -> str:
    return line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
