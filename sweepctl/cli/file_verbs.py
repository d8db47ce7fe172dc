"""The verbs of a sweep file: validate, preview, render, init. Parse, one call, one print."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweepctl.cli import output
from sweepctl.cli.options import (
    Agents,
    Data,
    Entity,
    Files,
    Gpus,
    GrammarOption,
    Image,
    NameOption,
    Output,
    Project,
    Seed,
    Server,
    ServerOption,
    Sets,
    SweepFile,
    SweepOption,
    WithServer,
    load_spec,
    print_lines,
    read_grammar,
    read_settings,
)
from sweepctl.cli.output import Form
from sweepctl_pod.errors import ExitCode, Problem, error_count

if TYPE_CHECKING:
    from sweepctl.kube.client import Object
    from sweepctl.sweepfile.preview import PreviewedRun
    from sweepctl.sweeps.create import NewSweep


def validate(
    file: SweepFile, files: Files = None, sets: Sets = None, form: Output = Form.TABLE
) -> None:
    """Check a sweep file, and settings if some are given; report every problem at once, on stdout.

    Exit code 0 when all is valid (warnings allowed), 2 when it is not.
    """
    output.check_has_names(form, "a problem")
    problems, verdict = _checked(file)
    wrong, notes = _checked_settings(files, sets)
    problems, verdict = [*problems, *wrong], None if wrong else verdict
    if form.is_data:
        listed = [problem.as_dict() for problem in problems]
        output.data({"valid": verdict is not None, "problems": listed}, form)
    else:
        print_lines(problem.text() for problem in problems)
        output.answer(f"{_shown(file)}: {verdict or error_count(problems)}")
    _say_notes(notes)
    if verdict is None:
        raise typer.Exit(ExitCode.INVALID)


def preview(
    file: SweepFile,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many runs.")] = 3,
    grammar: GrammarOption = "auto",
    seed: Seed = None,
    expand_env: Annotated[
        bool,
        typer.Option("--expand-env", help="Put the values of this shell in place of ${envvar:X}."),
    ] = False,
    form: Output = Form.TABLE,
) -> None:
    """Print the exact trainer command lines of a few sampled runs. Nothing is created.

    What there is to know about them follows on stderr.
    """
    from sweepctl.sweepfile.preview import preview_runs

    output.check_has_names(form, "a run that is not there")
    runs = preview_runs(
        load_spec(file, seed),
        count=count,
        grammar=read_grammar(grammar),
        environ=os.environ,
        expand_env=expand_env,
    )
    if form.is_data:
        output.data([run.as_dict() for run in runs], form)
    else:
        _print_preview(runs)


def render(
    file: SweepFile,
    agents: Agents = None,
    name: NameOption = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="The namespace of the objects.")
    ] = "default",
    files: Files = None,
    sets: Sets = None,
    image: Image = None,
    gpus: Gpus = None,
    sweep: SweepOption = None,
    server: ServerOption = None,
    with_server: WithServer = False,
    form: Output = Form.YAML,
) -> None:
    """Print the objects that submit would make. Asks no cluster and no server."""
    from sweepctl import manifest
    from sweepctl.jobs.submit import name_of
    from sweepctl.values.notes import setting_notes

    spec = load_spec(file)
    given = {"agents": agents, "image": image, "gpus_per_agent": gpus, "sweep": sweep}
    values = read_settings(files, sets, **given, server=server, with_server=with_server)
    plan = manifest.plan_job(values, spec.text, name_of(spec, file, name), namespace)
    _print_objects(manifest.render(plan), form)
    _say_notes(setting_notes(values))


def init(
    file: SweepFile,
    project: Project = None,
    entity: Entity = None,
    server: Server = None,
    data: Data = None,
    sweep_ids: Annotated[
        Path, typer.Option("--sweep-ids", help="Where the sweep's id is written.")
    ] = Path("sweep_ids.json"),
    seed: Seed = None,
    form: Output = Form.TABLE,
) -> None:
    """Create the sweep at W&B or a sweepctl server. Run it then with `sweepctl agent`."""
    from sweepctl.sweeps.create import init_sweep
    from sweepctl.sweeps.names import project_of
    from sweepctl.sweeps.place import Place

    spec = load_spec(file, seed)
    project = project_of(spec, project)
    place = Place(server=server, data=data)
    new = init_sweep(spec, place, entity, project, sweep_ids, output.say)
    if form.is_data:
        output.data({"sweep": new.name, "url": new.page}, form)
    else:
        _print_new(new, form)


def _checked(file: str) -> tuple[Sequence[Problem], str | None]:
    """Read a sweep file; give its problems, and what to call it where it is valid."""
    from sweepctl.sweepfile.load import load_sweep
    from sweepctl_pod.errors import SpecError

    try:
        spec = load_sweep(file)
    except SpecError as error:
        return error.problems, None
    scaled = len(spec.scaled)
    if not scaled:
        return spec.warnings, "valid"
    what = "dictionary" if scaled == 1 else "dictionaries"
    return spec.warnings, f"valid ({scaled} scaled {what})"


def _checked_settings(
    files: list[Path] | None, sets: list[str] | None
) -> tuple[Sequence[Problem], list[str]]:
    """Read settings; give their problems, and what can only be checked in a pod."""
    from sweepctl.values.notes import setting_notes
    from sweepctl_pod.errors import SpecError

    if not files and not sets:
        return (), []  # the chart's own are good
    try:
        return (), setting_notes(read_settings(files, sets))
    except SpecError as error:
        return error.problems, []


def _say_notes(notes: Iterable[str]) -> None:
    for note in notes:
        output.say(f"note: {note}")


def _shown(file: str) -> str:
    from sweepctl.sweepfile.load import STDIN

    return STDIN if file == "-" else file


def _print_preview(runs: Sequence[PreviewedRun]) -> None:
    for run in runs:
        output.answer(run.shell_command())
    _say_notes(dict.fromkeys(note for run in runs for note in run.notes))


def _print_objects(objects: Sequence[Object], form: Form) -> None:
    from sweepctl.cli import job_views

    if form is Form.NAME:
        print_lines(f"{each['kind'].lower()}/{each['metadata']['name']}" for each in objects)
    else:
        output.answer(job_views.objects_text(objects, form.value))


def _print_new(new: NewSweep, form: Form) -> None:
    output.answer(f"sweep/{new.name}" + ("" if form is Form.NAME else " created"))
    if new.page:
        output.say(f"watch it: {new.page}")
    output.say(f"run it:   {new.next_command}")
