"""sweep.yaml: from its text to the sweep as W&B stores it, or every problem of it at once.

A W&B sweep file, plus the nested form of a scaled dictionary. The rules of single parameters are in
`rules`, of the trainer's overrides in `scaled`. It samples nothing and sends nothing.
"""

from __future__ import annotations

import copy
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as FilePath

import yaml

from sweepctl.search.metric import Metric
from sweepctl.sweepfile.checker import Checker
from sweepctl.sweepfile.document import MAX_SIZE_BYTES, Path, Unreadable, read_document, string_text
from sweepctl.sweepfile.names import fit_name, unfit_name
from sweepctl.sweepfile.nesting import complain_at_the_top
from sweepctl.sweepfile.objective import check_early_terminate, check_metric
from sweepctl.sweepfile.parameters import Parameters
from sweepctl.sweepfile.reach import check_reach, check_script
from sweepctl.sweepfile.scaled import Trainer
from sweepctl_pod.command import (
    DEFAULT_COMMAND,
    KNOWN_MACROS,
    OVERRIDES_MACRO,
    unknown_macros,
    unread_variables,
    uses_args,
)
from sweepctl_pod.errors import Problem, SpecError, UsageError, nearest
from sweepctl_pod.overrides import Grammar, ScaledDict
from sweepctl_pod.search_seed import SeedError, read_seed, with_seed
from sweepctl_pod.stored_form import PLACEHOLDER_ENTITY, stored_config
from sweepctl_pod.stored_form import config_text as config_text
from sweepctl_pod.trainer.launchers import TrainerKind
from sweepctl_pod.trainer.resolve import library_of, trainer_for, trainer_within, why_unlogged

STDIN = "<stdin>"
"""How messages name a file that is read from standard input."""

METHODS = ("grid", "random", "bayes")
_TEXTS = ("program", "name", "description", "entity", "project", "apiVersion")
_NAMES = ("entity", "project")
_KEYS = (
    *("method", "metric", "parameters", "command", *_TEXTS),
    *("run_cap", "early_terminate", "controller", "kind"),
)
_SYNONYMS = {
    **dict.fromkeys(("run_name", "sweep_name", "title"), "name"),
    **dict.fromkeys(("count", "max_runs", "num_runs", "n_trials", "runs"), "run_cap"),
    **dict.fromkeys(("early_stopping", "early_stop"), "early_terminate"),
    **dict.fromkeys(("script", "entrypoint"), "program"),
    **dict.fromkeys(("strategy", "search", "sampler"), "method"),
    **dict.fromkeys(("objective", "optimize"), "metric"),
    **dict.fromkeys(("hyperparameters", "config", "search_space"), "parameters"),
}
_FOREIGN_KEYS = {
    "job": "W&B Launch",
    "image_uri": "W&B Launch",
    "scheduler": "W&B's custom schedulers",
    "metrics": "W&B's custom schedulers",
}


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A sweep file without errors."""

    file: str
    text: str
    config: dict[str, object]
    """The sweep in W&B's stored form: what is sent when it is created."""
    method: str
    metric: Metric | None
    command: tuple[object, ...] | None
    """As written; None means W&B's default command."""
    program: str | None
    name: str | None
    project: str | None
    entity: str | None
    run_cap: int | None
    scaled: tuple[ScaledDict, ...]
    warnings: tuple[Problem, ...]

    @property
    def argument(self) -> str:
        """The word that names this file on a command line."""
        return "-" if self.file == STDIN else self.file

    def to_wandb_config(self) -> dict[str, object]:
        """Give a copy of the sweep in W&B's stored form."""
        return copy.deepcopy(self.config)

    def seeded(self, seed: int) -> SweepSpec:
        """Give this sweep with a search seed in its description, in place of another there."""
        description = self.config.get("description")
        named = with_seed(description if isinstance(description, str) else None, seed)
        return replace(self, config={**self.config, "description": named})


def load_sweep(
    path: str, text: bytes | None = None, *, grammar: Grammar | None = None
) -> SweepSpec:
    """Read a sweep file; `-` is standard input, `text` stands for the file's content.

    Raises SpecError with every problem of the file, UsageError when there is no such file.
    `grammar`, when chosen, is the one that the trainer has; else its command tells.
    """
    file = STDIN if path == "-" else path
    document = read_document(file, _read(path) if text is None else text)
    checker = Checker(document, list(document.problems))
    root = document.value
    if not checker.mapping(root, (), "a sweep begins with `method: random`"):
        raise SpecError(checker.problems)
    sweep = _Sweep(checker, root, grammar)
    spec = sweep.check(file, document.text)
    problems = list(dict.fromkeys(checker.problems))
    if any(not problem.is_warning for problem in problems):
        raise SpecError(problems)
    return spec


def _read(path: str) -> bytes:
    """Read a file, no further than what is too long anyway."""
    if path == "-":
        return sys.stdin.buffer.read(MAX_SIZE_BYTES + 1)
    try:
        with FilePath(path).open("rb") as file:
            return file.read(MAX_SIZE_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}", "give the path of a sweep.yaml") from None
    except IsADirectoryError:
        hint = f"give a file, such as {FilePath(path) / 'sweep.yaml'}"
        raise UsageError(f"{path} is a folder", hint) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot read {path!r}: {reason}") from None


class _Sweep:
    """Checks the top level of a sweep file; for one use."""

    def __init__(
        self, checker: Checker, root: Mapping[str, object], grammar: Grammar | None
    ) -> None:
        self.checker = checker
        self.root = root
        self.grammar = grammar
        self._has_strays = False

    def check(self, file: str, text: str) -> SweepSpec:
        self._check_keys()
        for key in _TEXTS:
            given = self.root.get(key)
            if given == "" and key != "program":
                self.checker.warn(
                    (key,), f"{key} is empty, as if it were not there", f"remove {key}"
                )
            elif key in self.root and given is None:
                self.checker.expected(given, (key,), "a text", f"write one, or remove {key}")
            elif key in self.root and self.checker.text(given, (key,)):
                self._check_name(key, given)
        self._check_seed()
        method = self._method()
        library = self._library()
        metric = check_metric(self.checker, self.root, method, library)
        self._check_run_cap()
        check_early_terminate(self.checker, self.root, library)
        self._check_controller()
        command = self._command()
        parameters = self._parameters(method, command)
        launched = self._launched(command or ())
        check_script(self.checker, launched, parameters.has_overrides)
        check_reach(
            self.checker, parameters.trainer, launched, parameters.given, parameters.settings
        )
        entity = self._entity()
        is_sound = all(problem.is_warning for problem in self.checker.problems)
        run_cap = self.root.get("run_cap")
        return SweepSpec(
            file=file,
            text=text,
            config=stored_config(self.root) if is_sound else {},
            method=str(method),
            metric=metric,
            command=None if command is None else tuple(command),
            program=self._optional_text("program"),
            name=self._optional_text("name"),
            project=self._optional_text("project"),
            entity=entity,
            run_cap=int(run_cap) if isinstance(run_cap, (int, float)) else None,
            scaled=tuple(parameters.scaled),
            warnings=tuple(dict.fromkeys(p for p in self.checker.problems if p.is_warning)),
        )

    def _optional_text(self, key: str) -> str | None:
        value = self.root.get(key)
        return value if isinstance(value, str) and value else None

    def _check_keys(self) -> None:
        is_custom = "scheduler" in self.root or self.root.get("method") == "custom"
        for key, owner in _FOREIGN_KEYS.items():
            if key in self.root and (key != "metrics" or is_custom):
                self.checker.error(
                    (key,),
                    f"{key} belongs to {owner}, which sweepctl does not run",
                    f"remove {key}",
                    at_key=True,
                )
        strays = complain_at_the_top(self.checker, self.root, (*_KEYS, *_FOREIGN_KEYS))
        self._has_strays = bool(strays)
        own = {
            key: value
            for key, value in self.root.items()
            if key not in strays
            and (key not in _FOREIGN_KEYS or (key == "metrics" and not is_custom))
        }
        for key in [key for key in own if key.startswith("args")]:
            macro = nearest(f"${{{key}}}", KNOWN_MACROS) or "${args}"
            hint = f'write command: ["${{env}}", "${{interpreter}}", "${{program}}", "{macro}"]'
            self.checker.error((key,), f"{key} is no key of a sweep", hint, at_key=True)
            del own[key]
        for key in [key for key in own if key.startswith(("_", "x-", "."))]:
            hint = "name the anchor where it is used first, as in `lr: &lr {min: 0.1, max: 1.0}`"
            self.checker.error((key,), f"W&B takes no key {key!r}", hint, at_key=True)
            del own[key]
        self.checker.known_keys(own, (), _KEYS, _SYNONYMS)

    def _check_name(self, key: str, name: str) -> None:
        unfit = unfit_name(key, name) if key in _NAMES else None
        if unfit is None:
            return
        fit = fit_name(name)
        if fit is None:
            hint = "use letters, digits, _ and -, 128 of them at most"
        else:
            hint = f"write {key}: {fit if _reads_as_itself(fit) else string_text(fit)}"
        self.checker.error((key,), unfit, hint)

    def _check_seed(self) -> None:
        try:
            read_seed(self._optional_text("description"))
        except SeedError as error:
            self.checker.error(("description",), error.message, error.hint)

    def _method(self) -> object:
        if "method" not in self.root:
            self.checker.missing((), "method", "write method: random (or grid, or bayes)")
            return self.root.get(self.checker.misspelt((), "method") or "")
        method = self.root["method"]
        self.checker.choice(method, ("method",), METHODS)
        return method

    def _check_run_cap(self) -> None:
        run_cap = self.root.get("run_cap")
        if "run_cap" in self.root and self.checker.whole(run_cap, ("run_cap",)) and run_cap < 1:
            self.checker.error(("run_cap",), f"run_cap is {run_cap}: no run would be made")

    def _check_controller(self) -> None:
        if "kind" in self.root:
            self.checker.choice(self.root["kind"], ("kind",), ("sweep",))
        if "controller" not in self.root:
            return
        controller = self.root["controller"]
        if self.checker.mapping(controller, ("controller",), "remove it"):
            at = ("controller", "type")
            if controller.get("type") == "local":
                message = "sweepctl does not run W&B's local controller"
                self.checker.error(at, message, "remove controller")
            else:
                self.checker.choice(controller.get("type"), at, ("cloud",))

    def _command(self) -> list[object] | None:
        at = ("command",)
        command = self.root.get("command")
        if "command" not in self.root:
            if "program" not in self.root and not self.checker.misspelt((), "program"):
                example = "[isaaclab, train, --task, Isaac-Humanoid]"
                self.checker.missing((), "command", f"write command: {example}")
            return None
        if isinstance(command, str):
            self.checker.expected(command, at, "a list", _as_list(command))
            return None
        if not isinstance(command, list):
            self.checker.expected(command, at, "a list", "write [isaaclab, train, --task, …]")
            return None
        if not command:
            message = f"command is empty, so W&B's default runs: {' '.join(DEFAULT_COMMAND)}"
            self.checker.warn(at, message, "write [isaaclab, train, --task, …]")
        for index, item in enumerate(command):
            self._check_word((*at, index), item)
        self._check_macros(at, command)
        if unlogged := why_unlogged(self._launched(command), self.grammar):
            self.checker.warn(at, unlogged.message, unlogged.hint, at_key=True)
        return command

    def _launched(self, command: Sequence[object]) -> list[str]:
        """Give a command with its program in its place: what names the trainer."""
        program = self._optional_text("program") or "${program}"
        return [program if word == "${program}" else str(word) for word in command]

    def _words(self) -> Sequence[object]:
        """Give what stands for a command where there is no list: what a text was meant to be."""
        command = self.root.get("command")
        try:
            return shlex.split(command) if isinstance(command, str) else DEFAULT_COMMAND
        except ValueError:
            return DEFAULT_COMMAND

    def _check_word(self, path: Path, word: object) -> None:
        raw = self.checker.document.raw(path)
        if isinstance(word, Unreadable):
            return
        if isinstance(word, (int, float)) and not isinstance(word, bool):
            if str(word) != raw:
                message = f"the trainer gets {word}: YAML 1.1 reads {raw} as a number"
                self.checker.warn(path, message, f"write '{raw}' in quotes if that is meant")
        elif not isinstance(word, str):
            message = f"the trainer gets {word}, as Python writes it"
            meant = f"'{raw}'" if word is None or isinstance(word, bool) else "it"
            self.checker.warn(path, message, f"write {meant} in quotes if that is meant")
        elif (unread := unread_variables(word)) and unread[0] != word:
            message = (
                f"{unread[0]} reaches the trainer as it stands: W&B reads A-Z, 0-9 and _ alone"
            )
            self.checker.warn(path, message, f"write {_in_capitals(unread[0])}")
        elif "${" in word and not word.startswith("${") and "${envvar:" not in word:
            message = "a macro works only as a whole word: this reaches the trainer as it stands"
            self.checker.warn(path, message, "make the macro an item of its own")

    def _check_macros(self, at: Path, command: Sequence[object]) -> None:
        for index, macro in unknown_macros(command):
            near = nearest(macro, (*KNOWN_MACROS, "${envvar:NAME}"))
            near = _in_capitals(macro) if unread_variables(macro) else near
            hint = f"did you mean {near}?" if near else f"known are {', '.join(KNOWN_MACROS)}"
            self.checker.warn((*at, index), f"unknown macro {macro}: it is left out", hint)
        words = [str(word) for word in command]
        if ("${program}" in words or not words) and "program" not in self.root:
            place = (*at, words.index("${program}")) if words else at
            self.checker.error(place, "there is no program", "add program: train.py at the top")

    def _parameters(self, method: object, command: Sequence[object] | None) -> Parameters:
        words = command or self._words()
        given = self.root.get("parameters")
        example = "write agent.algorithm.learning_rate: {min: 1.0e-4, max: 1.0e-3} below it"
        found: Mapping[str, object] = {}
        if "parameters" not in self.root:
            if self._has_strays:
                return Parameters(self.checker, {}, method, self._trainer(words), None, True)
            self.checker.missing(
                (), "parameters", "write parameters: and the settings to search below it"
            )
        elif self.checker.mapping(given, ("parameters",), example):
            found = given
            if not given and not any(
                p.path.startswith("parameters") for p in self.checker.problems
            ):
                self.checker.error(("parameters",), "parameters is empty", example)
        arguments = next((str(word) for word in words if uses_args([word])), None)
        writes_overrides = arguments is None or OVERRIDES_MACRO in map(str, words)
        parameters = Parameters(
            self.checker, found, method, self._trainer(words), arguments, writes_overrides
        )
        parameters.check()
        if parameters.scaled and not writes_overrides:
            place = next(i for i, word in enumerate(words) if uses_args([word]))
            self.checker.warn(
                ("command", place),
                f"{arguments} passes a scaled dictionary on as three raw parameters",
                f"write {OVERRIDES_MACRO} instead",
            )
        return parameters

    def _trainer(self, command: Sequence[object]) -> Trainer:
        kind = trainer_within(self._launched(command))
        told = {
            TrainerKind.ISAACLAB3: (Grammar.LITERAL,),
            TrainerKind.ISAACLAB2: (Grammar.HYDRA,),
        }
        grammars = (self.grammar,) if self.grammar else told.get(kind, tuple(Grammar))
        return Trainer(grammars, kind is not TrainerKind.PLAIN)

    def _library(self) -> str | None:
        command = self.root.get("command")
        words = self._launched(command if isinstance(command, list) else self._words())
        kind = trainer_for(words, self.grammar)
        return None if kind is TrainerKind.PLAIN else library_of(words)

    def _entity(self) -> str | None:
        entity = self._optional_text("entity")
        if entity != PLACEHOLDER_ENTITY:
            return entity
        message = f"{PLACEHOLDER_ENTITY} is a placeholder: your default entity is used"
        self.checker.warn(("entity",), message, "write your W&B user or team, or remove the line")
        return None


def _in_capitals(variable: str) -> str:
    """Write `${envvar:my_key}` as W&B reads it."""
    return variable[:9] + variable[9:].upper()


def _as_list(command: str) -> str:
    """Write a command line as the list that it should be, to paste."""
    try:
        words = shlex.split(command)
    except ValueError:
        return "write [isaaclab, train, --task, …]"
    items = (word if _reads_as_itself(word) else string_text(word) for word in words)
    return f"write [{', '.join(items)}]"


def _reads_as_itself(word: str) -> bool:
    """Tell whether a word may stand in a YAML list without quotes."""
    try:
        return bool(yaml.safe_load(f"[{word}]") == [word])
    except yaml.YAMLError:
        return False
