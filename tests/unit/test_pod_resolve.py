"""From a sweep's command to the trainer's argv: which trainer it is, and what is added to it."""

import shlex
from typing import Any

import pytest

from sweepctl_pod.errors import SweepctlError
from sweepctl_pod.overrides import Grammar
from sweepctl_pod.run_parameters import run_parameters
from sweepctl_pod.trainer.launchers import (
    TrainerKind,
    arguments_of,
    option,
    processes_of,
    python_of,
)
from sweepctl_pod.trainer.resolve import (
    complete,
    default_grammar,
    resolve,
    trainer_for,
    why_unlogged,
    wrapped_command,
)

H, L = Grammar.HYDRA, Grammar.LITERAL
ADDED_3 = "--logger wandb --log_project_name legs --run_timestamp r1"
ADDED_2 = "--logger wandb --log_project_name legs --run_name r1"
WRAPPER = "scripts/wandb_sweep/train_wrapper.py"


@pytest.mark.parametrize(
    ("grammar", "command", "argv", "trainer"),
    [
        pytest.param(L, "isaaclab train --task T", f"isaaclab train --task T {ADDED_3}", 3, id="3"),
        pytest.param(
            L,
            "/opt/isaaclab-venv/bin/isaaclab train --rl_library rsl_rl --task T",
            f"/opt/isaaclab-venv/bin/isaaclab train --rl_library rsl_rl --task T {ADDED_3}",
            3,
            id="3-full-path",
        ),
        pytest.param(
            L,
            "/usr/bin/env A=b -u C isaaclab train",
            f"/usr/bin/env A=b -u C isaaclab train {ADDED_3}",
            3,
            id="3-behind-env",
        ),
        pytest.param(
            L,
            "python -m isaaclab train --task T",
            f"python -m isaaclab train --task T {ADDED_3}",
            3,
            id="3-as-module",
        ),
        pytest.param(
            L,
            "./isaaclab.sh train --task T",
            f"./isaaclab.sh train --task T {ADDED_3}",
            3,
            id="3-by-isaaclab.sh",
        ),
        pytest.param(
            L,
            "isaaclab train --headless --task T",
            f"isaaclab train --task T {ADDED_3}",
            3,
            id="3-refuses-headless",
        ),
        pytest.param(
            L,
            "isaaclab train --logger wandb --log_project_name mine --run_timestamp x",
            "isaaclab train --logger wandb --log_project_name mine --run_timestamp x",
            3,
            id="3-lacks-nothing",
        ),
        pytest.param(
            L,
            "isaaclab train --logger=wandb --log_project_name=mine",
            "isaaclab train --logger=wandb --log_project_name=mine --run_timestamp r1",
            3,
            id="3-with-equals-signs",
        ),
        pytest.param(
            L,
            "isaaclab train --logger tensorboard",
            "isaaclab train --logger tensorboard --run_timestamp r1",
            3,
            id="3-with-another-logger",
        ),
        pytest.param(
            L,
            "isaaclab train --rl_library sb3 --task T",
            "isaaclab train --rl_library sb3 --task T",
            3,
            id="3-with-a-library-that-has-no-option",
        ),
        pytest.param(
            H,
            "/workspace/isaaclab/isaaclab.sh -p scripts/reinforcement_learning/rsl_rl/train.py"
            " --task T --headless",
            "/workspace/isaaclab/isaaclab.sh -p scripts/reinforcement_learning/rsl_rl/train.py"
            f" --task T --headless {ADDED_2}",
            2,
            id="2-by-isaaclab.sh",
        ),
        pytest.param(
            H,
            "/isaac-sim/python.sh my/scripts/train.py --task T",
            f"/isaac-sim/python.sh my/scripts/train.py --task T {ADDED_2}",
            2,
            id="2-by-python.sh",
        ),
        pytest.param(
            H,
            "python scripts/rsl_rl/train.py --task T --run_name mine",
            "python scripts/rsl_rl/train.py --task T --run_name mine"
            " --logger wandb --log_project_name legs",
            2,
            id="2-by-python",
        ),
        pytest.param(
            L,
            "python scripts/rsl_rl/train.py --task T --headless",
            f"python scripts/rsl_rl/train.py --task T {ADDED_3}",
            3,
            id="2s-script-where-3-is-installed",
        ),
        pytest.param(
            H,
            f"python {WRAPPER} --task T --logger wandb --headless",
            "python scripts/train.py --task T --logger wandb --headless"
            " --log_project_name legs --run_name r1",
            2,
            id="ancestor",
        ),
        pytest.param(
            H,
            f"/w/isaaclab.sh -p /agile/{WRAPPER} --task T",
            f"/w/isaaclab.sh -p /agile/scripts/train.py --task T {ADDED_2}",
            2,
            id="ancestor-by-isaaclab.sh",
        ),
        pytest.param(
            L,
            f"python {WRAPPER} --task T --logger wandb --headless",
            "isaaclab train --rl_library rsl_rl --task T --logger wandb"
            " --log_project_name legs --run_timestamp r1",
            3,
            id="ancestor-where-3-is-installed",
        ),
        pytest.param(
            L,
            f"env A=b ./isaaclab.sh -p {WRAPPER} --task T",
            f"env A=b isaaclab train --rl_library rsl_rl --task T {ADDED_3}",
            3,
            id="ancestor-behind-env-where-3-is-installed",
        ),
        pytest.param(
            L,
            "isaaclab train_multigpu --nproc_per_node 2 --task T --headless",
            f"isaaclab train_multigpu --nproc_per_node 2 --task T {ADDED_3}",
            3,
            id="3-on-several-gpus",
        ),
        pytest.param(
            L,
            "nice /workspace/isaaclab/isaaclab.sh train_multigpu --num_gpus=4 --run_timestamp x",
            "nice /workspace/isaaclab/isaaclab.sh train_multigpu --num_gpus=4 --run_timestamp x"
            " --logger wandb --log_project_name legs",
            3,
            id="3-on-several-gpus-by-isaaclab.sh",
        ),
        pytest.param(
            L,
            "torchrun --nproc-per-node=2 -m isaaclab train --distributed",
            f"torchrun --nproc-per-node=2 -m isaaclab train --distributed {ADDED_3}",
            3,
            id="3-under-torchrun",
        ),
        pytest.param(
            H,
            "./isaaclab.sh -p -m torch.distributed.run --nnodes=1 --nproc_per_node=2"
            " scripts/reinforcement_learning/rsl_rl/train.py --task T --headless --distributed",
            "./isaaclab.sh -p -m torch.distributed.run --nnodes=1 --nproc_per_node=2"
            " scripts/reinforcement_learning/rsl_rl/train.py --task T --headless --distributed"
            f" {ADDED_2}",
            2,
            id="2-under-torch.distributed.run",
        ),
        pytest.param(
            H,
            "/opt/venv/bin/torchrun --standalone my/train.py --task T --distributed",
            f"/opt/venv/bin/torchrun --standalone my/train.py --task T --distributed {ADDED_2}",
            2,
            id="2-own-script-under-torchrun",
        ),
        pytest.param(
            H,
            "torchrun --nproc_per_node 2 my/train.py --lr 1",
            "torchrun --nproc_per_node 2 my/train.py --lr 1",
            0,
            id="any-script-under-torchrun",
        ),
        pytest.param(H, "python train.py --lr 1", "python train.py --lr 1", 0, id="any-script"),
        pytest.param(
            H, "python scripts/train.py", "python scripts/train.py", 0, id="any-scripts-folder"
        ),
        pytest.param(
            L, "sh -c 'isaaclab train'", "sh -c 'isaaclab train'", 0, id="inside-a-shells-text"
        ),
        pytest.param(H, "isaaclab play", "isaaclab play", 0, id="another-verb"),
        pytest.param(
            H, "python tools/train_wrapper.py", "python tools/train_wrapper.py", 0, id="namesake"
        ),
    ],
)
def test_command_gets_what_its_trainer_lacks(
    grammar: Grammar, command: str, argv: str, trainer: int
) -> None:
    kinds = {0: TrainerKind.PLAIN, 2: TrainerKind.ISAACLAB2, 3: TrainerKind.ISAACLAB3}
    found = complete(
        shlex.split(command), run_id="r1", entity="lab", project="legs", grammar=grammar
    )
    assert list(found.argv) == shlex.split(argv)
    assert found.trainer is kinds[trainer]
    assert trainer_for(shlex.split(command), grammar) is kinds[trainer]


GAMES = "scripts/reinforcement_learning/rl_games/train.py"
SKRL = "scripts/reinforcement_learning/skrl/train.py"
SWITCH = "agent.agent.experiment.wandb"


@pytest.mark.parametrize(
    ("grammar", "command", "added"),
    [
        pytest.param(
            H,
            f"/w/isaaclab.sh -p {GAMES} --task T --headless agent.params.config.gamma=0.9",
            "--track --wandb-project-name legs --wandb-entity lab --wandb-name r1",
            id="rl_games-2",
        ),
        pytest.param(
            L,
            "isaaclab train --rl_library rl_games --task T",
            "--track --wandb-project-name legs --wandb-entity lab --run_timestamp r1",
            id="rl_games-3",
        ),
        pytest.param(
            L,
            "./isaaclab.sh train --rl_library=rl_games --wandb-entity=me --run_timestamp x",
            "--track --wandb-project-name legs",
            id="rl_games-3-partly-chosen",
        ),
        pytest.param(
            L,
            f"python {GAMES} --task T",
            "--track --wandb-project-name legs --wandb-entity lab --run_timestamp r1",
            id="rl_games-2s-script-where-3-is-installed",
        ),
        pytest.param(
            H,
            f"python {GAMES} --track=yes --wandb-name mine --wandb-project-name p",
            "--wandb-entity lab",
            id="rl_games-2-chosen",
        ),
        pytest.param(H, f"python {GAMES} --track false", "", id="rl_games-2-declined"),
        pytest.param(
            L,
            "isaaclab train_multigpu --nproc_per_node 2 --rl_library rl_games",
            "--track --wandb-project-name legs --wandb-entity lab --run_timestamp r1",
            id="rl_games-on-several-gpus",
        ),
        pytest.param(
            H, f"/isaac-sim/python.sh {SKRL} --task T", f"++{SWITCH}=True", id="skrl-hydra"
        ),
        pytest.param(
            L,
            "isaaclab train --rl_library skrl --task T --algorithm IPPO",
            f"--run_timestamp r1 {SWITCH}=True",
            id="skrl-literal",
        ),
        pytest.param(H, f"python {SKRL} +{SWITCH}=true", "", id="skrl-chosen"),
        pytest.param(H, f"python {SKRL} {SWITCH}=False", "", id="skrl-declined"),
        pytest.param(
            L,
            f"isaaclab train --rl_library skrl {SWITCH}=False",
            "--run_timestamp r1",
            id="skrl-literal-declined",
        ),
        pytest.param(H, "python scripts/sb3/train.py --task T", "", id="sb3"),
        pytest.param(L, "isaaclab train --rl_library torchrl --task T", "", id="torchrl"),
    ],
)
def test_library_gets_what_makes_it_log_to_wandb(
    grammar: Grammar, command: str, added: str
) -> None:
    words = shlex.split(command)
    found = complete(words, run_id="r1", entity="lab", project="legs", grammar=grammar)
    assert list(found.argv) == words + shlex.split(added)


def test_switch_of_rl_games_takes_no_override_for_its_value() -> None:
    words = ["python", GAMES, "--track", "agent.params.config.gamma=0.9"]
    found = complete(words, run_id="r1", entity="lab", project="legs", grammar=H)
    assert found.argv[:4] == ("python", GAMES, "--track=True", "agent.params.config.gamma=0.9")


def test_script_of_rl_games_that_has_no_switch_gets_none() -> None:
    words = ["python", GAMES, "--task", "T"]
    texts = {GAMES: "parser.add_argument('--sigma')"}
    how = {"run_id": "r1", "entity": "lab", "project": "legs", "grammar": H}
    found = complete(words, script_text=texts.get, **how)  # type: ignore[arg-type]
    assert list(found.argv) == words
    assert found.unlogged is not None
    texts[GAMES] += "; parser.add_argument('--track')"
    assert "--track" in complete(words, script_text=texts.get, **how).argv  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "grammar", "said"),
    [
        pytest.param("isaaclab train", L, None, id="rsl_rl"),
        pytest.param("isaaclab train --logger tensorboard", L, "write --logger wandb", id="logger"),
        pytest.param(f"python {GAMES}", H, None, id="rl_games"),
        pytest.param(f"python {GAMES} --track=0", H, "write --track", id="rl_games-declined"),
        pytest.param(f"python {SKRL}", H, None, id="skrl"),
        pytest.param("isaaclab train --rl_library skrl", L, "--rl_library, skrl", id="skrl-3"),
        pytest.param(f"python {SKRL} {SWITCH}=off", H, f"write {SWITCH}=True", id="skrl-declined"),
        pytest.param("python a/sb3/train.py", H, "in your train.py", id="sb3-2"),
        pytest.param("isaaclab train --rl_library sb3", L, "--rl_library, sb3", id="sb3-3"),
        pytest.param("isaaclab train --rl_library torchrl", L, "-c,", id="torchrl-3"),
        pytest.param("python own.py", H, None, id="plain"),
    ],
)
def test_what_keeps_metrics_from_wandb_is_told_with_what_to_write(
    command: str, grammar: Grammar, said: str | None
) -> None:
    found = why_unlogged(shlex.split(command), grammar)
    assert (found is None) if said is None else (found is not None and said in found.hint)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        pytest.param("isaaclab train --headless", "left out --headless", id="headless"),
        pytest.param("isaaclab train --logger neptune", "no metric of this run", id="logger"),
        pytest.param("isaaclab train --rl_library sb3", "sb3 has no option", id="library"),
        pytest.param(f"python {WRAPPER}", "`isaaclab train` takes its place", id="ancestor"),
    ],
)
def test_what_was_changed_or_looks_wrong_is_told(command: str, said: str) -> None:
    found = complete(shlex.split(command), run_id="r1", entity="lab", project="legs", grammar=L)
    assert any(said in note for note in found.notes)


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        pytest.param(
            ["python", "-m", "sweepctl.pod.run", "sh", "-c", 'true "$@"'],
            ["sh", "-c", 'true "$@"', "sh", "env.a=0.5"],
            id="wrapper",
        ),
        pytest.param(
            ["${env}", "${interpreter}", "-S", "-m", "sweepctl.pod.run", "x", "${overrides}", "y"],
            ["x", "env.a=0.5", "y"],
            id="wrapper-with-macros",
        ),
        pytest.param(
            ["/usr/bin/env", "python3.11", "-m", "sweepctl.pod.run", "x"],
            ["x", "env.a=0.5"],
            id="wrapper-behind-env",
        ),
        pytest.param(
            ["x", "-m", "sweepctl.pod.run", "y"],
            ["x", "-m", "sweepctl.pod.run", "y", "env.a=0.5"],
            id="not-pythons-flag",
        ),
        pytest.param(
            ["isaaclab", "train", "--task", "T"],
            shlex.split(f"isaaclab train --task T env.a=0.5 {ADDED_3}"),
            id="isaaclab",
        ),
        pytest.param(["${program}", "${args}"], ["p.py", "--env.a=0.5"], id="args"),
    ],
)
def test_wrapper_is_taken_off_and_overrides_go_in(command: list[str], argv: list[str]) -> None:
    assert resolved(command, {"env.a": 0.5}) == argv


def resolved(command: list[str], config: dict[str, object], **how: Any) -> list[str]:
    found = resolve(
        command,
        program="p.py",
        parameters=run_parameters(config, {}),
        run_id="r1",
        entity="lab",
        project="legs",
        grammar=L,
        environ={},
        **how,
    )
    return list(found.argv)


@pytest.mark.parametrize(
    "config",
    [
        {"model.layers[0].width": 64},
        {"env.a": float("nan")},
        {"gain": 1.5, "gain_cli_path": "env.a"},
        {"a.b": 10**400, "a.b_type": "float"},
    ],
    ids=["no path", "no literal", "half a scaled dictionary", "no float"],
)
def test_what_no_override_can_say_is_no_matter_where_arguments_say_it(
    config: dict[str, object],
) -> None:
    printed = [f"{name}={value}" for name, value in config.items() if name != "a.b_type"]
    assert resolved(["x", "${args_no_hyphens}"], config) == ["x", *printed]
    with pytest.raises(SweepctlError):
        resolved(["x"], config)


def test_command_that_another_agent_gave_the_arguments_gets_no_overrides() -> None:
    assert resolved(["x", "env.a=0.5"], {"env.a": 0.5}, has_arguments=True) == ["x", "env.a=0.5"]
    assert resolved(["x"], {"env.a": 0.5}) == ["x", "env.a=0.5"]


def test_arguments_ask_for_settings_as_far_as_a_record_can_tell() -> None:
    values = {
        **{"env.n": 1, "env.t": "3e-4", "env.w": "adam", "env.l": [1, 0.5], "lr": 1.0},
        **{"env.z": None, "env.b": "true", "env.q": "it's", "env.m": {"a": 1}, "env.x": ["a"]},
    }
    parameters = run_parameters(values, {"env.n": {"min": 0.5, "max": 2.0}})
    how: dict[str, Any] = {
        "program": None,
        "run_id": "r1",
        "entity": "lab",
        "project": "legs",
        "grammar": L,
        "environ": {},
    }
    printed = resolve(["x", "${args}"], parameters=parameters, **how)
    asked = {override.path: override.value for override in printed.overrides}
    assert asked == {"env.n": 1.0, "env.t": "3e-4", "env.w": "adam", "env.l": [1, 0.5]}
    written = resolve(["x"], parameters=parameters, **how)
    assert [o.path for o in written.overrides] == [path for path in values if path != "lr"]


@pytest.mark.parametrize(
    ("command", "wrapped"),
    [
        (["python", "-m", "sweepctl.pod.run", "x", "${args}"], ["x", "${args}"]),
        (["nice", "-n", "5", "${envvar:PY}", "-m", "sweepctl.pod.run", "x"], ["x"]),
        (["python", "-m", "sweepctl.pod.run"], None),
        (["sh", "-c", "python -m sweepctl.pod.run x"], None),
        ([], None),
    ],
)
def test_wrapper_finds_its_own_command(command: list[object], wrapped: list[object]) -> None:
    assert wrapped_command(command) == wrapped


@pytest.mark.parametrize(
    ("command", "grammar"),
    [
        pytest.param("isaaclab train", L, id="3"),
        pytest.param("python -m sweepctl.pod.run isaaclab train", L, id="3-in-the-wrapper"),
        pytest.param("./isaaclab.sh -p scripts/rsl_rl/train.py", H, id="2"),
        pytest.param(f"python {WRAPPER}", H, id="ancestor"),
        pytest.param("python train.py", H, id="any"),
    ],
)
def test_grammar_without_a_trainer_to_ask_is_the_likeliest(command: str, grammar: Grammar) -> None:
    assert default_grammar(shlex.split(command)) is grammar


@pytest.mark.parametrize(
    ("command", "python"),
    [
        pytest.param("/w/isaaclab.sh -p scripts/rsl_rl/train.py", ("/w/isaaclab.sh", "-p"), id="2"),
        pytest.param("./isaaclab.sh train", ("./isaaclab.sh", "-p"), id="3-by-isaaclab.sh"),
        pytest.param("/isaac-sim/python.sh x/train.py", ("/isaac-sim/python.sh",), id="python.sh"),
        pytest.param("env -i A=b python3.11 train.py", ("python3.11",), id="behind-env"),
        pytest.param(
            "python3 -m torch.distributed.run rsl_rl/train.py --distributed", ("python3",), id="run"
        ),
        pytest.param("isaaclab train --python python3", None, id="isaaclab-is-a-script"),
        pytest.param("torchrun rsl_rl/train.py --python python3", None, id="so-is-torchrun"),
        pytest.param("sh -c 'python train.py'", None, id="inside-a-shells-text"),
        pytest.param("./train.sh python", None, id="only-an-argument"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_trainers_python_is_read_from_the_command(
    command: str, python: tuple[str, ...] | None
) -> None:
    assert python_of(shlex.split(command)) == python


def test_isaac_labs_own_arguments_come_without_the_library() -> None:
    assert arguments_of(shlex.split("isaaclab train --rl_library rsl_rl --task T a.b=1")) == [
        "--task",
        "T",
        "a.b=1",
    ]
    assert arguments_of(shlex.split("isaaclab train --task T --rl_library=rsl_rl")) == [
        "--task",
        "T",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "isaaclab train_multigpu --task T --num_gpus 2 a.b=1",
        "isaaclab train_multigpu --rl_library rsl_rl --nproc_per_node=2 --task T a.b=1",
        "./isaaclab.sh train_multigpu --master_port 29401 --log_all_ranks --task T a.b=1",
        "isaaclab train_multigpu --tee 3 -- --task T a.b=1",
        "isaaclab train_multigpu -- --rl_library rsl_rl --task T a.b=1",
    ],
)
def test_what_the_launcher_keeps_for_itself_is_no_argument_of_the_trainer(command: str) -> None:
    assert arguments_of(shlex.split(command)) == ["--task", "T", "a.b=1"]


@pytest.mark.parametrize(
    ("command", "processes"),
    [
        pytest.param("isaaclab train --num_gpus 2", "1", id="one"),
        pytest.param("isaaclab train_multigpu --task T", "gpu", id="train_multigpus-default"),
        pytest.param("isaaclab train_multigpu --nproc_per_node 2", "2", id="train_multigpu"),
        pytest.param("./isaaclab.sh train_multigpu --num_gpus=4", "4", id="by-isaaclab.sh"),
        pytest.param("torchrun rsl_rl/train.py --nproc_per_node 2", "1", id="the-scripts-own"),
        pytest.param("torchrun --nproc-per-node auto rsl_rl/train.py", "auto", id="torchrun"),
        pytest.param("python -m torch.distributed.run --nproc_per_node=8 x.py", "8", id="any"),
        pytest.param("sh -c 'torchrun --nproc_per_node 2'", "1", id="inside-a-shells-text"),
    ],
)
def test_processes_of_a_node_are_read_from_the_command(command: str, processes: str) -> None:
    assert processes_of(shlex.split(command)) == processes


@pytest.mark.parametrize(
    ("words", "value"),
    [
        pytest.param(["--logger", "wandb"], "wandb", id="two-words"),
        pytest.param(["--logger=wandb"], "wandb", id="one-word"),
        pytest.param(["--logger"], "", id="no-value"),
        pytest.param(["--loggers", "x"], None, id="another-flag"),
        pytest.param([], None, id="none"),
    ],
)
def test_option_is_found_in_both_spellings(words: list[str], value: str | None) -> None:
    assert option(words, "--logger") == value
