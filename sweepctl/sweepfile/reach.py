"""Whether what the parameters ask for reaches the trainer, and is what it trains with.

A shell's script that passes nothing on, options and words of the command that win, settings that
Isaac Lab sets itself, two parameters for one setting, what a grammar cannot replace. What the two
grammars do is proven with Isaac Lab's own readers (tests/contract/test_override_parsers.py). Where
every run would differ from what was asked for, which fails it, that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from sweepctl.sweepfile.checker import Checker
from sweepctl.sweepfile.document import Path
from sweepctl.sweepfile.scaled import Trainer
from sweepctl.sweepfile.trainer_flags import always_set, flags_in
from sweepctl_pod.command import OVERRIDES_MACRO, takes_overrides
from sweepctl_pod.overrides import Grammar, InexpressibleError, Override, Value
from sweepctl_pod.shell_script import commands_in, find_script, lost_argument, script_trouble
from sweepctl_pod.trainer.launchers import TrainerKind, find_launch
from sweepctl_pod.trainer.resolve import library_of

_OPTION_MACROS = ("${args}", "${args_no_equals}", "${args_no_boolean_flags}")
WRITING_MACROS = (
    *(OVERRIDES_MACRO, "${args_no_hyphens}"),
    *("${args_append_hydra}", "${args_override_hydra}"),
)
_HYDRA_MACROS = WRITING_MACROS[2:]
_WORD = re.compile(r"(\+{0,2})([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_ALL_ARGUMENTS = ("$@", "$*", "${@", "${*")
_SHORT = 60


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting that a parameter asks for: what every run is given as an override."""

    path: str
    name: str
    at: Path
    values: Sequence[object] | None = None
    """All that it can be, in the order of the file; None where that is a range of numbers."""
    is_list: bool = False
    """Whether they stand below `values:`."""
    keys: Mapping[str, object] | None = None
    """The table of a scaled dictionary."""

    @property
    def plain_path(self) -> str:
        """Its path without the plus signs of Hydra."""
        return self.path.lstrip("+")

    @property
    def is_hydras(self) -> bool:
        """Whether even Isaac Lab 3 reads it in Hydra's grammar: after all that it reads itself."""
        return not self.path.startswith(("env.", "agent."))

    def maps(self) -> list[Mapping[str, object]] | None:
        """Give the maps that it can be; None when it can be something else."""
        if self.keys is not None:
            return [self.keys]
        maps = [value for value in self.values or () if isinstance(value, Mapping)]
        return maps if self.values and len(maps) == len(self.values) else None

    def is_constant(self, text: str, grammar: Grammar = Grammar.HYDRA) -> bool:
        """Tell whether it is always what `text` says."""
        if self.values is None or len(self.values) != 1:
            return False
        if str(self.values[0]) == text:
            return True
        try:
            value = cast(Value, self.values[0])
            written = Override(self.plain_path, value, self.name).text(grammar)
        except InexpressibleError:
            return False
        return written.partition("=")[2] == text


@dataclass(frozen=True, slots=True)
class _PlacedWord:
    """A word of the command as the trainer gets it, and its place in the file."""

    text: str
    at: Path


def check_script(checker: Checker, command: Sequence[str], has_overrides: bool) -> None:
    """Say where a shell's script keeps arguments from the trainer, as `resolve` does."""
    script = find_script(command)
    if script is None:
        return
    if has_overrides and (trouble := script_trouble(command)):
        checker.error(("command", script.index), *trouble)
    if lost := lost_argument(command):
        checker.warn(("command", script.index + 1), *lost)


def check_reach(
    checker: Checker,
    trainer: Trainer,
    command: Sequence[str],
    names: Collection[str],
    settings: Sequence[Setting],
) -> None:
    """Say which settings will not be what the parameters ask for; `command` names the program."""
    _check_pairs(checker, trainer, settings)
    for setting in settings:
        grammars = (Grammar.HYDRA,) if setting.is_hydras else trainer.grammars
        _check_merging(checker, setting, grammars)
        _check_items(checker, setting, grammars)
    words = _words(command)
    launch = find_launch([word.text for word in words], _only(trainer.grammars))
    own = words[launch.start :]
    _check_options(checker, trainer, own, names)
    places = [place for place, word in enumerate(own) if _writes(word)]
    if not places:
        return
    _check_words(checker, trainer, own, places[0], settings)
    if launch.trainer is not TrainerKind.PLAIN:
        library = library_of([word.text for word in words])
        _check_flags(checker, launch.trainer, library, own, settings)


def _check_pairs(checker: Checker, trainer: Trainer, settings: Sequence[Setting]) -> None:
    owners: dict[str, Setting] = {}
    for setting in settings:
        path = setting.plain_path
        if path in owners:
            checker.error(
                setting.at,
                f"{path} is set by the parameter {owners[path].name} already",
                "remove one of the two",
                at_key=True,
            )
            continue
        for other in owners.values():
            whole, part = sorted((setting, other), key=lambda each: len(each.plain_path))
            if part.plain_path.startswith(f"{whole.plain_path}."):
                _check_part(checker, trainer, setting.at, whole, part)
                break
        owners[path] = setting


def _check_part(
    checker: Checker, trainer: Trainer, at: Path, whole: Setting, part: Setting
) -> None:
    rest = part.plain_path[len(whole.plain_path) + 1 :]
    loses = [
        _loses_part(whole, rest, Grammar.HYDRA if whole.is_hydras else grammar)
        for grammar in trainer.grammars
    ]
    if not any(loses):
        return
    message = f"{part.plain_path} is a part of {whole.plain_path}, and both are set"
    hint = "set the part alone, or the whole alone"
    if all(loses) and trainer.is_isaac_lab:
        why = "the one that comes last wins, so no run would train with both"
        checker.error(at, f"{message}: {why}", hint, at_key=True)
    else:
        checker.warn(at, message, hint, at_key=True)


def _loses_part(whole: Setting, rest: str, grammar: Grammar) -> bool:
    """Tell whether a whole and its part contradict each other.

    Isaac Lab 3 replaces a map, and chooses a preset by its name before all else; Hydra merges maps.
    """
    maps = whole.maps()
    if grammar is Grammar.LITERAL:
        texts = [value for value in whole.values or () if isinstance(value, str)]
        return not whole.values or len(texts) < len(whole.values)
    return maps is None or any(_holds(given, rest) for given in maps)


def _holds(tree: object, path: str) -> bool:
    """Tell whether a map has something at a path, above it or below it."""
    for key in path.split("."):
        if not isinstance(tree, Mapping):
            return True
        if key not in tree:
            return False
        tree = tree[key]
    return True


def _check_merging(checker: Checker, setting: Setting, grammars: Sequence[Grammar]) -> None:
    if Grammar.HYDRA not in grammars or not setting.values:
        return
    for index, value in enumerate(setting.values):
        at = (*setting.at, "values", index) if setting.is_list else (*setting.at, "value")
        is_lost = value == {} and len(setting.values) == len(grammars) == 1
        complain = checker.error if is_lost else checker.warn
        for keys in _empty_maps(value, ()):
            complain(
                (*at, *keys),
                "Hydra merges a map into the one that is there, so {} changes nothing of"
                f" {'.'.join((setting.plain_path, *keys))}",
                "give the keys that are there other values: no override takes them away",
            )
    maps = [given for given in setting.maps() or [] if given]
    if any(given.keys() != maps[0].keys() for given in maps):
        checker.warn(
            (*setting.at, "values"),
            "Hydra merges a map into the one that is there: a key that one of these maps lacks"
            f" keeps the task's own value in {setting.plain_path}",
            "write every key in each of them, if that is not meant",
        )


def _empty_maps(value: object, keys: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(value, Mapping):
        if not value:
            yield keys
        for key, item in value.items():
            yield from _empty_maps(item, (*keys, key))


def _check_items(checker: Checker, setting: Setting, grammars: Sequence[Grammar]) -> None:
    """Isaac Lab 3 walks attributes and keys: a list has no attribute `0`."""
    parts = setting.path.split(".")
    place = next((index for index, part in enumerate(parts) if part.isdigit()), None)
    if place is None or Grammar.HYDRA in grammars:
        return
    whole = ".".join(parts[:place])
    hint = f"set the whole list, {whole}: {{values: [[…], […]]}}"
    if setting.keys is not None:
        hint = f"write ++{setting.path}, which Hydra's grammar reads"
    message = f"{setting.path} is a path through a list, where Isaac Lab 3 sets nothing"
    checker.error(setting.at, message, hint, at_key=True)


def _check_flags(
    checker: Checker,
    kind: TrainerKind,
    library: str,
    own: Sequence[_PlacedWord],
    settings: Sequence[Setting],
) -> None:
    won: set[str] = set()
    for flag in flags_in([word.text for word in own], kind, library):
        won.update(flag.settings)
        for setting in settings:
            if not any(_asks_for(setting, path) for path in flag.settings):
                continue
            if flag.value is not None and setting.is_constant(flag.value):
                continue
            checker.error(
                own[flag.position].at,
                f"{flag.text} wins over the parameter {setting.name}: no run would train with what"
                " that is given",
                f"remove {flag.text} from the command, or the parameter",
            )
    for path, (source, instead) in always_set(kind, library).items():
        for setting in settings:
            if path in won or setting.plain_path != path:
                continue
            hint = f"name the parameter {instead}" if instead else "write --device in the command"
            message = f"Isaac Lab sets {path} from {source}, whatever is asked for"
            is_constant = setting.values is not None and len(setting.values) == 1
            complain = checker.warn if is_constant else checker.error
            complain(setting.at, message, hint, at_key=True)


def _asks_for(setting: Setting, path: str) -> bool:
    """Tell whether a parameter asks for a setting, alone or in a map."""
    if setting.plain_path == path:
        return True
    whole = f"{setting.plain_path}."
    return path.startswith(whole) and any(
        _holds(given, path[len(whole) :]) for given in setting.maps() or ()
    )


def _check_options(
    checker: Checker, trainer: Trainer, own: Sequence[_PlacedWord], names: Collection[str]
) -> None:
    """Find options behind `${args}` that it writes as well: argparse takes the last."""
    macro = next((place for place, word in enumerate(own) if word.text in _OPTION_MACROS), len(own))
    complain = checker.error if trainer.is_isaac_lab else checker.warn
    for word in own[macro + 1 :]:
        option = word.text.partition("=")[0]
        if option.startswith("--") and option[2:] in names:
            complain(
                word.at,
                f"{option} wins over the parameter {option[2:]}: the last of two options counts",
                f"remove {option} from the command, or write it before {own[macro].text}",
            )


def _check_words(
    checker: Checker,
    trainer: Trainer,
    own: Sequence[_PlacedWord],
    place: int,
    settings: Sequence[Setting],
) -> None:
    """Compare `path=value` words of the command with the parameters' overrides."""
    is_hydras = own[place].text in _HYDRA_MACROS
    for position, word in enumerate(own):
        found = _WORD.fullmatch(word.text)
        if found is None:
            continue
        plus, path, value = found.groups()
        for setting in settings:
            if not _overlap(path, setting.plain_path):
                continue
            wins = [
                _comes_last(
                    (bool(plus) or not path.startswith(("env.", "agent.")), position),
                    (setting.is_hydras or is_hydras, place),
                    grammar,
                )
                for grammar in trainer.grammars
            ]
            _check_word(checker, trainer, word, (path, value), setting, wins)


def _comes_last(one: tuple[bool, int], other: tuple[bool, int], grammar: Grammar) -> bool:
    """Tell whether the first takes effect after the second: 3.x leaves Hydra's to the end."""
    return one > other if grammar is Grammar.LITERAL else one[1] > other[1]


def _check_word(
    checker: Checker,
    trainer: Trainer,
    word: _PlacedWord,
    asked: tuple[str, str],
    setting: Setting,
    wins: Sequence[bool],
) -> None:
    path, value = asked
    asked_for = word.text.partition("=")[0]
    is_same = path == setting.plain_path
    if is_same and any(setting.is_constant(value, grammar) for grammar in trainer.grammars):
        return
    text = word.text if len(word.text) <= _SHORT else f"{asked_for}=…"
    hint = f"remove {asked_for}= from the command, or the parameter"
    if all(wins):
        complain = checker.error if trainer.is_isaac_lab else checker.warn
        what = "no run would train with" if is_same else "it changes"
        message = f"{text} wins over the parameter {setting.name}: {what} what that is given"
        complain(word.at, message, hint)
    elif any(wins):
        message = f"both {text} and the parameter {setting.name} set {setting.plain_path}"
        checker.warn(word.at, message, hint)
    elif is_same or _overwrites(trainer, setting, path):
        message = f"{text} has no effect: the parameter {setting.name} comes after it"
        checker.warn(word.at, message, hint)


def _overwrites(trainer: Trainer, setting: Setting, path: str) -> bool:
    rest = path[len(setting.plain_path) + 1 :]
    return path.startswith(f"{setting.plain_path}.") and all(
        _loses_part(setting, rest, grammar) for grammar in trainer.grammars
    )


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _words(command: Sequence[str]) -> list[_PlacedWord]:
    """Give the command as the trainer gets it: a script taken apart, the overrides in place."""
    words = [_PlacedWord(word, ("command", index)) for index, word in enumerate(command)]
    script = find_script(command)
    if takes_overrides(command) and OVERRIDES_MACRO not in command:
        words.append(_PlacedWord(OVERRIDES_MACRO, ("command",)))
    if script is None:
        return words
    following = words[script.index + 1 :]
    if following and not _writes(following[0]):
        following = following[1:]  # $0
    flat = words[: script.index]
    for token in _trainers_words(command):
        if token.startswith(_ALL_ARGUMENTS):
            flat += following
        else:
            flat.append(_PlacedWord(token, ("command", script.index)))
    is_launch = bool(find_launch([word.text for word in flat], None).start)
    if is_launch and takes_overrides(command) and not any(map(_writes, flat)):
        flat.append(_PlacedWord(OVERRIDES_MACRO, ("command", script.index)))
    return flat


def _writes(word: _PlacedWord) -> bool:
    return word.text in WRITING_MACROS


def _trainers_words(command: Sequence[str]) -> list[str]:
    """Give the command of a script that starts a trainer, else the one that has the arguments."""
    commands = commands_in(command)
    launching = [words for words in commands if find_launch(words, None).start]
    passing = [
        words for words in commands if any(word.startswith(_ALL_ARGUMENTS) for word in words)
    ]
    return next(iter(launching + passing), [])


def _only(grammars: Sequence[Grammar]) -> Grammar | None:
    return grammars[0] if len(grammars) == 1 else None
