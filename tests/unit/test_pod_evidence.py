"""What a trainer's output and files show, by recorded outputs of Isaac Lab 2.3 and 3.0."""

from pathlib import Path

import pytest

from sweepctl_pod.overrides import Grammar, Override
from sweepctl_pod.trainer.evidence import Evidence
from sweepctl_pod.trainer.launchers import TrainerKind
from sweepctl_pod.trainer.settings import differences

GOLDEN = Path(__file__).parents[1] / "golden" / "trainer_output"


def evidence_of(trainer: TrainerKind, output: bytes) -> Evidence:
    evidence = Evidence(trainer)
    for line in output.splitlines(keepends=True):
        evidence.feed(line)
    return evidence


def recorded(name: str, folder: Path) -> bytes:
    """Give a recorded output with its log folder moved into `folder`."""
    return (GOLDEN / name).read_bytes().replace(b"/LOGS", str(folder).encode())


@pytest.mark.parametrize(
    ("name", "trainer", "models", "shows_end"),
    [
        pytest.param("isaaclab-3.0-finished.txt", TrainerKind.ISAACLAB3, [], True, id="3-finished"),
        pytest.param("isaaclab-3.0-sigint.txt", TrainerKind.ISAACLAB3, [0], False, id="3-sigint"),
        pytest.param(
            "isaaclab-2.3-finished.txt", TrainerKind.ISAACLAB2, [0, 2], True, id="2.3-last-model"
        ),
        pytest.param(
            "isaaclab-2.3-finished.txt", TrainerKind.ISAACLAB2, [0], False, id="2.3-no-last-model"
        ),
        pytest.param("isaaclab-2.3-died.txt", TrainerKind.ISAACLAB2, [0], False, id="2.3-died"),
        pytest.param("isaaclab-3.0-finished.txt", TrainerKind.PLAIN, [], True, id="plain-has-none"),
    ],
)
def test_end_of_training_is_read_from_output_and_models(
    name: str, trainer: TrainerKind, models: list[int], shows_end: bool, tmp_path: Path
) -> None:
    output = recorded(name, tmp_path)
    folder = tmp_path / "logs" / "rsl_rl" / "legs" / ("r1" if "3.0" in name else "2025-11-03_r1")
    folder.mkdir(parents=True)
    for number in models:
        (folder / f"model_{number}.pt").touch()
    evidence = evidence_of(trainer, output)
    assert evidence.shows_end() is shows_end
    if trainer is not TrainerKind.PLAIN:
        assert evidence.log_folder() == folder


START = (
    "[INFO] Logging experiment in directory: {folder}/logs/{library}/cartpole\n"
    "Exact experiment name requested from command line: 2025-07-01_10-00-00\n"
)
BAR = " {}%|████      | {}/4800 [00:07<00:00, 640.2it/s]"


@pytest.mark.parametrize(
    ("library", "said", "files", "shows_end"),
    [
        pytest.param("rl_games", "fps step: 1 epoch: 4/4\nMAX EPOCHS NUM!\n", [], True, id="games"),
        pytest.param("rl_games", "MAX FRAMES NUM!\n", [], True, id="games-by-frames"),
        pytest.param(
            "rl_games", "Maximum reward achieved. Network won!\n", [], True, id="games-by-score"
        ),
        pytest.param("rl_games", "fps step: 1 epoch: 3/4\n", [], False, id="games-swallowed"),
        pytest.param(
            "skrl",
            f"\r{BAR.format(0, 0)}\r{BAR.format(100, 4800)}\n",
            [],
            True,
            id="skrl",
        ),
        pytest.param(
            "skrl",
            f"\r{BAR.format(0, 0)}\r{BAR.format(62, 3000)}\n",
            [],
            False,
            id="skrl-broke-off",
        ),
        pytest.param("skrl", "no bar is wanted\n", [], True, id="skrl-without-a-bar"),
        pytest.param("sb3", "", ["model.zip"], True, id="sb3"),
        pytest.param("sb3", "", ["model_4000_steps.zip"], False, id="sb3-checkpoint-alone"),
        pytest.param("rsl_rl", f"{BAR.format(100, 4800)}\n", [], False, id="rsl_rl-has-no-bar"),
    ],
)
def test_end_of_2s_other_libraries_is_told_by_what_each_shows(
    library: str, said: str, files: list[str], shows_end: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "logs" / library / "cartpole" / "2025-07-01_10-00-00"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    output = START.format(folder=tmp_path, library=library) + said
    assert evidence_of(TrainerKind.ISAACLAB2, output.encode()).shows_end() is shows_end


def test_lines_of_several_processes_are_read_with_the_rank_before_them(tmp_path: Path) -> None:
    (tmp_path / "logs" / "rsl_rl" / "legs" / "r1").mkdir(parents=True)
    output = recorded("isaaclab-3.0-finished.txt", tmp_path)
    ranked = b"".join(
        b"[default%d]:%s" % (number % 2, line)
        for number, line in enumerate(output.splitlines(keepends=True))
    )
    evidence = evidence_of(TrainerKind.ISAACLAB3, ranked)
    assert evidence.shows_end()
    assert evidence.log_folder() == tmp_path / "logs" / "rsl_rl" / "legs" / "r1"


@pytest.mark.parametrize(
    ("line", "is_unknown"),
    [
        pytest.param(
            b"gymnasium.error.NameNotFound: Environment `Legs` doesn't exist. Did you mean: `L`?",
            True,
            id="name",
        ),
        pytest.param(
            b"gymnasium.error.NamespaceNotFound: Namespace me not found.", True, id="namespace"
        ),
        pytest.param(
            b"[default1]:gymnasium.error.VersionNotFound: Environment version `v3` for environment",
            True,
            id="version-of-a-rank",
        ),
        pytest.param(
            b"train: error: the following argument is required: --rl_library", True, id="library"
        ),
        pytest.param(b"FileNotFoundError: Environment file doesn't exist", False, id="other"),
    ],
)
def test_a_task_that_is_not_registered_is_recognised(line: bytes, is_unknown: bool) -> None:
    output = b"Traceback (most recent call last):\n" + line + b"\n"
    assert evidence_of(TrainerKind.ISAACLAB3, output).task_is_unknown is is_unknown
    assert not evidence_of(TrainerKind.PLAIN, output).task_is_unknown
    path = b'  File "/opt/isaaclab-venv/lib/isaaclab_tasks/utils/parse_cfg.py", line 66\n'
    assert evidence_of(TrainerKind.PLAIN, path + output).task_is_unknown is is_unknown


def test_log_folder_is_unknown_until_it_is_there(tmp_path: Path) -> None:
    output = recorded("isaaclab-3.0-finished.txt", tmp_path)
    assert evidence_of(TrainerKind.ISAACLAB3, b"").log_folder() is None
    assert evidence_of(TrainerKind.ISAACLAB3, output).log_folder() is None


@pytest.mark.parametrize(
    ("output", "signature"),
    [
        pytest.param(
            b"2025-01-01 [1s] [Error] [omni.ext.plugin] Failed to resolve extension dependencies.",
            "[omni.ext.plugin] Failed to resolve extension dependencies",
            id="registry",
        ),
        pytest.param(
            b"[Error] [omni.kit.app.plugin] Exiting app because of dependency solver failure...",
            "Exiting app because of dependency solver failure",
            id="solver",
        ),
        pytest.param(
            b"[Error] [carb.graphics-vulkan.plugin] VkResult: ERROR_DEVICE_LOST",
            "[carb.graphics-vulkan.plugin] VkResult: ERROR_DEVICE_LOST",
            id="vulkan",
        ),
        pytest.param(
            b"[carb.crashreporter-breakpad.plugin] [crash] A crash has occurred.\n"
            b"Learning iteration 3/10\n",
            None,
            id="crash-in-the-middle",
        ),
        pytest.param(b"ValueError: bad stiffness\n", None, id="any-error"),
    ],
)
def test_cold_start_is_known_by_its_signatures_before_training(
    output: bytes, signature: str | None
) -> None:
    assert evidence_of(TrainerKind.ISAACLAB2, output).cold_start == signature


def test_last_line_that_says_something_is_kept() -> None:
    output = b"boom\n" * 2000 + "\x1b[1mValueError: ü\x1b[0m\n╰─────╯\n   \n----\n".encode()
    assert evidence_of(TrainerKind.PLAIN, output).last_line == "ValueError: ü"
    assert evidence_of(TrainerKind.PLAIN, b"").last_line == ""
    output += b"\x1b[34;1mwandb\x1b[0m: \nwandb: Find logs at: ./wandb/run-1/logs\n"
    assert evidence_of(TrainerKind.PLAIN, output).last_line == "ValueError: \xfc"
    assert evidence_of(TrainerKind.PLAIN, b"wandb: ERROR no\n").last_line == "wandb: ERROR no"


def test_full_disk_is_noticed_in_any_trainers_output() -> None:
    output = b"OSError: [Errno 28] No space left on device: 'model_3.pt'\n"
    assert evidence_of(TrainerKind.PLAIN, output).said_disk_full
    assert not evidence_of(TrainerKind.PLAIN, b"No space for legs\n").said_disk_full


PARAMS = {
    "env": {
        "robot": {"stiffness": {".*_hip": 150.0, ".*_knee": 0.30000000000000004}},
        "size": [1, 2.5],
        "physics": {"dt": 0.005, "solver": "newton"},
        "name": "a",
        "scale": 1,
        "flag": True,
        "nothing": None,
        "big": float("inf"),
    },
    "agent": {"seed": 42, "lr": 1e-05, "terms": [{"w": 1.0}]},
}


@pytest.mark.parametrize(
    ("path", "asked", "grammar", "said"),
    [
        pytest.param("agent.lr", "1e-5", "literal", None, id="number-printed-as-text"),
        pytest.param("agent.lr", "2e-5", "literal", "asked for '2e-5'", id="another-as-text"),
        pytest.param("env.flag", "1", "literal", "asked for '1'", id="text-for-a-truth-value"),
        pytest.param("agent.lr", 1e-05, "literal", None, id="float"),
        pytest.param(
            "agent.lr",
            1.0000000000000001e-05 + 2e-21,
            "literal",
            "asked for 1.0000000000000003e-05, the trainer has 1e-05",
            id="float-by-one-bit",
        ),
        pytest.param("agent.seed", 42, "literal", None, id="int"),
        pytest.param(
            "agent.seed", 43, "literal", "asked for 43, the trainer has 42", id="int-else"
        ),
        pytest.param("env.scale", 1.0, "literal", None, id="int-for-an-equal-float"),
        pytest.param("env.flag", True, "literal", None, id="bool"),
        pytest.param(
            "env.flag", 1, "literal", "asked for 1, the trainer has True", id="bool-is-no-1"
        ),
        pytest.param("env.nothing", None, "literal", None, id="null"),
        pytest.param("env.big", float("inf"), "literal", None, id="infinity"),
        pytest.param("env.size", (1, 2.5), "literal", None, id="tuple-is-a-list"),
        pytest.param("env.size", [1, 2.5, 3], "literal", "asked for [1, 2.5, 3]", id="longer-list"),
        pytest.param(
            "env.robot.stiffness",
            {".*_hip": 150.0, ".*_knee": 0.30000000000000004},
            "literal",
            None,
            id="table",
        ),
        pytest.param(
            "env.robot.stiffness",
            {".*_hip": 150.0},
            "literal",
            "env.robot.stiffness: asked for",
            id="table-replaces",
        ),
        pytest.param("env.robot.stiffness", {".*_hip": 150.0}, "hydra", None, id="table-merges"),
        pytest.param(
            "env.robot.stiffness", {".*_hip": 1.0}, "hydra", "asked for", id="merged-table-differs"
        ),
        pytest.param("env.physics", "newton_mjwarp", "literal", None, id="preset-by-its-name"),
        pytest.param("env.name", "b", "literal", "asked for 'b', the trainer has 'a'", id="text"),
        pytest.param(
            "env.robot.stifness",
            1.0,
            "literal",
            "no such setting (did you mean env.robot.stiffness?)",
            id="typo-at-the-end",
        ),
        pytest.param(
            "env.robto.stiffness",
            1.0,
            "literal",
            "no such setting (did you mean env.robot.stiffness?)",
            id="typo-in-the-middle",
        ),
        pytest.param("agent.terms.0.w", 1.0, "literal", None, id="list-index"),
        pytest.param("agent.terms.1.w", 1.0, "literal", "no such setting", id="no-such-index"),
        pytest.param("agent.seed.x", 1.0, "literal", "no such setting", id="below-a-number"),
        pytest.param("++env.scale", 2, "hydra", "env.scale: asked for 2", id="hydras-prefix"),
        pytest.param("presets", "newton", "literal", None, id="no-setting-of-these-files"),
    ],
)
def test_trainers_record_is_compared_value_by_value(
    path: str, asked: object, grammar: str, said: str | None
) -> None:
    override = Override(path, asked, path)  # type: ignore[arg-type]
    found = differences([override], Grammar(grammar), PARAMS)
    if said is None:
        assert found == []
    else:
        assert said in found[0].text()


@pytest.mark.parametrize("root", ["/x" * 3000, "/proc/1/root\0/x", "/dev/null/x", "**"])
@pytest.mark.parametrize("name", ["r" * 5000, "a/../b\0", "/", "**"])
def test_place_that_is_none_is_no_log_folder(root: str, name: str) -> None:
    output = (
        f"[INFO] Logging experiment in directory: {root}\n"
        f"Exact experiment name requested from command line: {name}\n"
        "Learning iteration 2/3\n"
    )
    evidence = evidence_of(TrainerKind.ISAACLAB3, output.encode())
    evidence.log_folder()
    assert not evidence.proves_end()


def test_numbers_of_any_length_are_read_past() -> None:
    digits = b"9" * 10_000
    lines = b"Learning iteration " + digits + b"/" + digits + b"\n" + digits + b"%|#| 1/2 [\n"
    assert not evidence_of(TrainerKind.ISAACLAB3, lines).proves_end()


def test_first_iteration_and_end_are_noted_with_the_moment_in_which_their_lines_came() -> None:
    moments = iter([10.0, 20.0])
    evidence = Evidence(TrainerKind.ISAACLAB3, lambda: next(moments))
    evidence.feed(b"[INFO] loading\n")
    assert (evidence.iteration_at, evidence.ended_at) == (None, None)
    evidence.feed(b"Learning iteration 0/2\n")
    evidence.feed(b"Learning iteration 1/2\n")
    evidence.feed(b"Training time: 12.5 seconds\n")
    evidence.feed(b"Training time: 12.5 seconds\n")
    assert (evidence.iteration_at, evidence.ended_at) == (10.0, 20.0)
