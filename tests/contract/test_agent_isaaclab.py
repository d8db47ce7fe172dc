"""Isaac Lab under the agent: its evidence, and its own record of what it was asked.

The trainer here is a script that prints and writes what the real `isaaclab train` does, so that it
can misbehave on demand; the last tests run the real one.
"""

import re
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.contract.agents import ROOT, TRAINER, World

FAKE = f"""#!{sys.executable}
import ast, os, subprocess, sys, time
words = sys.argv[1:]
assert words[0] == "train", words
value = lambda flag: words[words.index(flag) + 1]
asked = dict(word.split("=", 1) for word in words if word.startswith(("env.", "agent.")))
run = value("--run_timestamp")
root = os.path.abspath("logs/rsl_rl/legs")
print("[INFO] Logging experiment in directory:", root)
print("Exact experiment name requested from command line:", run)
params = os.path.join(root, run, "params")
os.makedirs(params)
def dump(name, text):
    with open(os.path.join(params, name), "w") as file:
        file.write(text)
gain = os.environ.get("FAKE_GAIN") or asked.get("env.gain", "1.0")
dump("env.yaml", f"gain: {{gain}}\\nsize: !!python/tuple\\n- 1\\n- 2.5\\n")
dump("agent.yaml", "seed: 42\\n")
print("\\x1b[1m Learning iteration 0/3 \\x1b[0m", flush=True)
if value("--logger") == "wandb":
    subprocess.run([{sys.executable!r}, {str(TRAINER)!r}, "/dev/null", "log"], check=True)
time.sleep(float(os.environ.get("FAKE_SLEEP_S", "0")))
if not os.environ.get("FAKE_INTERRUPTED"):
    print("Training time: 1.25 seconds")
"""


@pytest.fixture
def fake(world: World) -> World:
    programs = world.folder / "bin"
    programs.mkdir()
    (programs / "isaaclab").write_text(FAKE)
    (programs / "isaaclab").chmod(0o755)
    world.environ["PATH"] = f"{programs}:{world.environ['PATH']}"
    return world


@pytest.mark.parametrize(
    ("words", "environ", "state", "said"),
    [
        pytest.param([], {}, "finished", r"finished: loss = 1\.5", id="good"),
        pytest.param(
            [], {"FAKE_INTERRUPTED": "1"}, "failed", "training did not come to its end", id="rc-0"
        ),
        pytest.param(
            [],
            {"FAKE_GAIN": "3.5"},
            "failed",
            r"env\.gain: asked for \d\.\d+, the trainer has 3\.5",
            id="another-value-in-a-short-run",
        ),
        pytest.param(
            [],
            {"FAKE_GAIN": "3.5", "FAKE_SLEEP_S": "600"},
            "failed",
            r"env\.gain: asked for \d\.\d+, the trainer has 3\.5",
            id="another-value-kills-a-long-run",
        ),
        pytest.param(
            ["env.gian=1.0"], {"FAKE_SLEEP_S": "2"}, "finished", "loss", id="flags-are-the-users"
        ),
        pytest.param(["--headless"], {}, "finished", "left out --headless", id="headless"),
        pytest.param(
            ["--logger", "tensorboard"],
            {},
            "failed",
            "no metric of this run will reach W&B",
            id="another-logger",
        ),
    ],
)
def test_isaac_lab_is_believed_by_its_evidence_and_its_record(
    words: list[str], environ: dict[str, str], state: str, said: str, fake: World
) -> None:
    sweep = fake.sweep(["isaaclab", "train", "--rl_library", "rsl_rl", *words])
    agent = fake.start(sweep, **environ)
    assert agent.wait(60) == 0, agent.said
    run = fake.run(sweep)
    assert run.state == state, agent.said
    assert re.search(said, agent.said), agent.said
    assert (fake.folder / "logs/rsl_rl/legs" / run.id / "params/env.yaml").exists()
    fake.nothing_is_left()


def test_override_that_the_record_lacks_is_named_with_the_nearest(fake: World) -> None:
    sweep = fake.sweep(["isaaclab", "train"], parameters={"env.gian": {"value": 1.5}})
    agent = fake.start(sweep)
    assert agent.wait(60) == 0, agent.said
    assert fake.run(sweep).state == "failed"
    assert "env.gian: the trainer has no such setting (did you mean env.gain?)" in agent.said


SHORT = [
    *("isaaclab", "train", "--task", "Toy-Legs", "--num_envs", "16", "--device", "cpu"),
    *("agent.device=cpu", "--max_iterations", "2"),
]
STIFFNESS = "env.scene.robot.actuators.legs.stiffness"


@pytest.mark.trainer
def test_real_trainer_trains_with_the_exact_values_and_its_record_is_believed(
    real: World,
) -> None:
    parameters = {
        "gain": {"distribution": "uniform", "min": 0.5, "max": 2.0},
        "gain_cli_path": {"value": STIFFNESS},
        "gain_base_dict": {"value": '{".*_hip_.*_joint": 100.0, ".*_knee_joint": 200.0}'},
        "agent.algorithm.learning_rate": {"value": 1.25e-05},
        "agent.algorithm.learning_rate_type": {"value": "float"},
    }
    metric = {"name": "Perf/total_fps", "goal": "maximize"}
    sweep = real.sweep(SHORT, parameters=parameters, metric=metric)
    agent = real.start(sweep)
    assert agent.wait(300) == 0, agent.said
    run = real.run(sweep)
    assert run.state == "finished", agent.said
    assert "overrides in the literal grammar" in agent.said
    record = (real.folder / "logs/rsl_rl/toy_legs" / run.id / "params/env.yaml").read_text()
    gain = run.config["gain"]
    assert f".*_knee_joint: {200.0 * gain!r}" in record
    assert f".*_hip_.*_joint: {100.0 * gain!r}" in record


@pytest.mark.trainer
def test_real_trainer_takes_parameters_by_an_args_macro_as_public_sweeps_pass_them(
    real: World,
) -> None:
    parameters = {
        "agent.algorithm.learning_rate": {"value": "3e-4"},
        "agent.algorithm.entropy_coef": {"distribution": "uniform", "min": 0.001, "max": 0.01},
        "agent.empirical_normalization": {"value": False},
    }
    metric = {"name": "Perf/total_fps", "goal": "maximize"}
    sweep = real.sweep([*SHORT, "${args_no_hyphens}"], parameters=parameters, metric=metric)
    agent = real.start(sweep)
    assert agent.wait(300) == 0, agent.said
    run = real.run(sweep)
    assert run.state == "finished", agent.said
    record = (real.folder / "logs/rsl_rl/toy_legs" / run.id / "params/agent.yaml").read_text()
    assert "learning_rate: 0.0003" in record
    assert f"entropy_coef: {run.config['agent.algorithm.entropy_coef']!r}" in record


@pytest.mark.trainer
def test_real_trainer_takes_a_typo_silently_and_the_agent_does_not(real: World) -> None:
    typo = STIFFNESS.replace("stiffness", "stifness")
    metric = {"name": "Perf/total_fps", "goal": "maximize"}
    sweep = real.sweep(SHORT, parameters={typo: {"value": 150.0}}, metric=metric)
    agent = real.start(sweep)
    assert agent.wait(300) == 78, agent.said
    assert real.run(sweep).state == "failed"
    assert f"{typo}: the trainer has no such setting (did you mean {STIFFNESS}?)" in agent.said


@pytest.mark.trainer
def test_real_trainer_lets_a_flag_win_over_an_override_and_the_agent_tells(real: World) -> None:
    metric = {"name": "Perf/total_fps", "goal": "maximize"}
    parameters = {"agent.max_iterations": {"value": 3}}
    sweep = real.sweep(SHORT, parameters=parameters, metric=metric)
    agent = real.start(sweep)
    assert agent.wait(300) == 0, agent.said
    assert real.run(sweep).state == "failed"
    assert "agent.max_iterations: asked for 3, the trainer has 2" in agent.said


WINDOW = """import omni.ext

class ExampleExtension(omni.ext.IExt):
    def on_startup(self, ext_id):
        self._window = omni.ui.Window("Stilts")
"""


def project_of_2(folder: Path) -> Path:
    """Make a project as Isaac Lab 2.x's template does, with the example's robot as its task."""
    extension = folder / "source" / "stilts"
    package = extension / "stilts"
    shutil.copytree(ROOT / "examples" / "toy_legs" / "toy_legs", package / "tasks" / "stilts")
    register = package / "tasks" / "stilts" / "__init__.py"
    register.write_text(register.read_text().replace("Toy-Legs", "Stilts"))
    texts = {
        "setup.py": "from setuptools import setup\n",
        "config/extension.toml": '[package]\nversion = "0.1.0"\n',
        "stilts/__init__.py": "from .tasks import *\nfrom .ui_extension_example import *\n",
        "stilts/ui_extension_example.py": WINDOW,
        "stilts/tasks/__init__.py": (
            "from isaaclab_tasks.utils import import_packages\n"
            'import_packages(__name__, ["utils", ".mdp"])\n'
        ),
    }
    for name, text in texts.items():
        (extension / name).parent.mkdir(exist_ok=True)
        (extension / name).write_text(text)
    return folder


@pytest.mark.trainer
def test_real_trainer_finds_a_task_of_a_folder_that_is_not_installed(real: World) -> None:
    command = ["Stilts" if word == "Toy-Legs" else word for word in SHORT]
    command[1:2] = ["train", "--rl_library", "rsl_rl"]
    metric = {"name": "Perf/total_fps", "goal": "maximize"}
    sweep = real.sweep(command, parameters={STIFFNESS: {"value": 150.0}}, metric=metric)
    agent = real.start(sweep, SWEEPCTL_TASKS=str(project_of_2(real.folder / "project")))
    assert agent.wait(600) == 0, agent.said
    assert real.run(sweep).state == "finished", agent.said


@pytest.mark.trainer
def test_real_trainer_that_does_not_know_its_task_fails_with_the_setting_to_use(
    real: World,
) -> None:
    sweep = real.sweep(["isaaclab", "train", "--task", "Stilts", "--rl_library", "rsl_rl"])
    agent = real.start(sweep)
    agent.wait(300)
    assert real.run(sweep).state == "failed"
    assert "Environment `Stilts` doesn't exist" in agent.said
    assert "name the module that registers it, or its project's folder, in code.tasks" in agent.said


MULTI = ["isaaclab", "train_multigpu", "--nproc_per_node", "2", "--log_all_ranks"]
TORCHRUN = ["torchrun", "--nproc-per-node=2", "--tee=3", "scripts/rsl_rl/train.py", "--distributed"]


@pytest.mark.trainer
@pytest.mark.parametrize("launcher", [MULTI, TORCHRUN], ids=["train_multigpu", "torchrun"])
def test_real_trainer_in_two_processes_is_one_run(launcher: list[str], two_cpus: World) -> None:
    metric = {"name": "Perf/total_fps", "goal": "maximize"}
    parameters = {STIFFNESS: {"value": 150.0}}
    sweep = two_cpus.sweep([*launcher, *SHORT[2:]], parameters=parameters, metric=metric)
    agent = two_cpus.start(sweep)
    assert agent.wait(600) == 0, agent.said
    run = two_cpus.run(sweep)
    assert run.state == "finished", agent.said
    for rank in (0, 1):
        assert f"rank {rank} with 3 threads" in agent.said
    folder = two_cpus.folder / "logs/rsl_rl/toy_legs" / run.id
    assert (folder / "rank_1").is_dir()
    assert "stiffness: 150.0" in (folder / "params/env.yaml").read_text()
    two_cpus.nothing_is_left()


@pytest.mark.trainer
def test_real_trainer_in_two_processes_is_handed_back_as_a_whole(two_cpus: World) -> None:
    long = ["100000" if word == "2" else word for word in SHORT[2:]]
    sweep = two_cpus.sweep([*MULTI, *long], parameters={STIFFNESS: {"value": 150.0}}, metric=None)
    agent = two_cpus.start(sweep, SWEEPCTL_GRACE_S="60")
    agent.says("Learning iteration 1/", 600)
    agent.send(signal.SIGTERM)
    assert agent.wait(120) == 75, agent.said
    assert "handed back: this agent was told to leave" in agent.said
    assert two_cpus.run(sweep).state in ("preempting", "preempted"), agent.said
    two_cpus.nothing_is_left()


@pytest.mark.trainer
def test_real_trainer_tells_a_typo_in_several_processes_as_in_one(two_cpus: World) -> None:
    typo = STIFFNESS.replace("stiffness", "stifness")
    sweep = two_cpus.sweep([*MULTI, *SHORT[2:]], parameters={typo: {"value": 150.0}}, metric=None)
    agent = two_cpus.start(sweep)
    assert agent.wait(600) == 78, agent.said
    assert f"{typo}: the trainer has no such setting (did you mean {STIFFNESS}?)" in agent.said
    two_cpus.nothing_is_left()
