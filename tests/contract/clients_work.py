"""Does what trainings do, by whatever wandb client its Python has; each thing is a feature.

Writes what came of each to found.json: the same with every version, or the error.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import wandb

found: dict[str, Any] = {}
NAME = "local/p"
PREEMPTED = """
import sys, wandb
run = wandb.init(project="p", id="pre")
run.mark_preempting()
run.log({"a": 1})
sys.exit(1)
"""


def feature(name: str) -> Callable[[Callable[[], Any]], None]:
    """Run what it decorates, and keep what that gives or how it fails."""

    def try_it(work: Callable[[], Any]) -> None:
        try:
            found[name] = work()
        except BaseException as error:  # the others are still to be tried
            found[name] = f"{type(error).__name__}: {error}"
            if wandb.run is not None:
                wandb.finish(1)

    return try_it


def often_sampled() -> Any:
    """Give settings by which a run of seconds has system metrics."""
    try:
        return wandb.Settings(x_stats_sampling_interval=1)
    except Exception:  # of older versions any kind
        names: dict[str, Any] = {"_stats_sample_rate_seconds": 0.5, "_stats_samples_to_average": 1}
        return wandb.Settings(**names)


def rows_of(run: str) -> list[dict[str, Any]]:
    return list(wandb.Api().run(f"{NAME}/{run}").scan_history())


@feature("history")
def _() -> Any:
    run: Any = wandb.init(
        project="p",
        id="r",
        name="a name 😀",
        tags=["t"],
        group="g",
        config={"lr": 1e-5, "a": [1]},
        settings=often_sampled(),
    )
    for number in range(6):
        run.log({"loss": 1 / (number + 1), "deep": {"a": number}})
        time.sleep(0.5)
    print("a line of its output")
    run.summary["best"] = 7.25
    Path("kept.txt").write_text("kept")
    run.save("kept.txt", policy="now")
    run.finish()
    return [[row["_step"], row["loss"]] for row in rows_of("r")]


@feature("config and summary")
def _() -> Any:
    run: Any = wandb.Api().run(f"{NAME}/r")
    return [run.name, run.state, dict(run.config), run.summary["best"], run.summary["loss"]]


@feature("files")
def _() -> Any:
    run: Any = wandb.Api().run(f"{NAME}/r")
    names = sorted(file.name for file in run.files())
    text = run.file("kept.txt").download(root="got", replace=True).read()
    return [text, [name for name in names if name in ("kept.txt", "config.yaml", "output.log")]]


@feature("resume")
def _() -> Any:
    run: Any = wandb.init(project="p", id="r", resume="must")
    start = run.starting_step
    run.log({"loss": 0.1})
    run.finish()
    return [start, len(rows_of("r")), wandb.Api().run(f"{NAME}/r").summary["best"]]


@feature("media")
def _() -> Any:
    run: Any = wandb.init(project="p", id="media")
    Path("legs.mp4").write_bytes(b"no client looks into it")
    table = wandb.Table(columns=["joint", "gain"], data=[["hip", 1.5], ["knee", 2.0]])
    run.log({"table": table, "video": wandb.Video("legs.mp4"), "html": wandb.Html("<b>legs</b>")})
    counts: Any = ([1, 2], [0, 1, 2])
    run.log({"histogram": wandb.Histogram(np_histogram=counts)})
    points = wandb.Table(columns=["x", "y"], data=[[0, 1], [1, 2]])
    run.log({"line": wandb.plot.line(points, "x", "y")})
    run.finish()
    read: Any = wandb.Api().run(f"{NAME}/media")
    names = {file.name for file in read.files()}
    parts = {key: dict(read.summary[key]) for key in ("table", "video", "html", "histogram")}
    kept = [part["path"] in names for part in parts.values() if "path" in part]
    return [{key: part["_type"] for key, part in parts.items()}, kept]


@feature("offline sync")
def _() -> Any:
    run: Any = wandb.init(project="p", id="off", mode="offline", config={"lr": 2})
    for number in range(4):
        run.log({"loss": number})
    run.summary["best"] = 3
    folder = Path(run.dir).parent
    run.finish()
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    read: Any = wandb.Api().run(f"{NAME}/off")
    losses = [row["loss"] for row in rows_of("off")]
    return [losses, read.summary["best"], dict(read.config), read.state]


@feature("preemption")
def _() -> Any:
    # Not with this process's service: that would not see how the child ends.
    environ = {name: value for name, value in os.environ.items() if "SERVICE" not in name}
    subprocess.run([sys.executable, "-c", PREEMPTED], env=environ, capture_output=True, timeout=120)
    return wandb.Api().run(f"{NAME}/pre").state


@feature("public api")
def _() -> Any:
    api: Any = wandb.Api()
    by_tag = [run.id for run in api.runs(NAME, filters={"tags": "t"})]
    by_config = [run.id for run in api.runs(NAME, filters={"config.lr": 2})]
    by_metric = [run.id for run in api.runs(NAME, order="-summary_metrics.best")][:2]
    run = api.run(f"{NAME}/r")
    run.config["more"] = 1
    run.tags.append("good")
    run.update()
    run = wandb.Api().run(f"{NAME}/r")
    sampled = [row["loss"] for row in run.history(samples=3, keys=["loss"], pandas=False)]
    api.run(f"{NAME}/media").delete()
    left = sorted(run.id for run in wandb.Api().runs(NAME))
    return [by_tag, by_config, by_metric, run.config["more"], run.tags, len(sampled), left]


Path("found.json").write_text(json.dumps(found))
