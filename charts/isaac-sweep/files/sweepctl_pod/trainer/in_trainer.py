"""What only the trainer's own Python knows; it runs this as a short child, which prints JSON.

`yaml FILE…` reads YAML (W&B sweep text, Isaac Lab's params/*.yaml): tags ignored, PyYAML's types.
`features` says which Isaac Lab is installed, without importing it; `python` where packages are.
`settings` reads a command and paths from standard input and gives the paths that Isaac Lab's
configuration does not know.
This is the one pod file that may import PyYAML, and it imports nothing of sweepctl.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import os
import sys
import sysconfig
from collections.abc import Callable, Sequence
from typing import Any

MARK = "sweepctl-in-trainer "
"""What the answer's line begins with: `isaaclab.sh` and imports print lines of their own."""


def main(argv: Sequence[str]) -> int:
    """Answer one question; the exit code is 0 when there is an answer."""
    answers: dict[str, Callable[[Sequence[str]], object]]
    answers = {
        "yaml": read_yaml_files,
        "features": features,
        "settings": unknown_settings,
        "python": describe_python,
    }
    if not argv or argv[0] not in answers:
        print(f"usage: in_trainer.py {'|'.join(answers)}", file=sys.stderr)
        return 2
    try:
        answer = answers[argv[0]](argv[1:])
    except Exception as error:  # whatever the trainer's packages raise, in one line
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        if argv[0] != "settings":
            return 1
        answer = {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write("\n" + MARK + json.dumps(answer) + "\n")
    return 1 if isinstance(answer, dict) and "error" in answer else 0


def read_yaml_files(paths: Sequence[str]) -> object:
    """Give the content of each file; `-` is standard input. {"error": …} when it is no YAML."""
    import yaml

    try:
        return _read_yaml_files(paths)
    except yaml.YAMLError as error:
        return {"error": " ".join(str(error).split())}


def _read_yaml_files(paths: Sequence[str]) -> list[object]:
    found = []
    for path in paths:
        if path == "-":
            found.append(read_yaml(sys.stdin.buffer.read()))
        else:
            with open(path, "rb") as file:
                found.append(read_yaml(file.read()))
    return found


def read_yaml(text: bytes) -> object:
    """Read YAML 1.1 as PyYAML does, with every unknown tag taken for what it is written as.

    libyaml, where PyYAML has it, reads a record of 200,000 lines in a tenth of the time.
    """
    import yaml

    quick = getattr(yaml, "CSafeLoader", None)
    if quick is not None:
        try:
            return _as_json(yaml.load(text, _without_tags(quick)))
        except yaml.YAMLError:
            pass  # libyaml is the stricter of the two
    return _as_json(yaml.load(text, _without_tags(yaml.SafeLoader)))


def _without_tags(kind: Any) -> Any:
    """Give a loader that reads a value with an unknown tag by its form."""
    import yaml

    loader_of_ours = type("Loader", (kind,), {})

    def ignore_tag(loader: Any, suffix: str, node: yaml.Node) -> object:
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        if isinstance(node, yaml.SequenceNode):
            return loader.construct_sequence(node, deep=True)
        return loader.construct_scalar(node)

    loader_of_ours.add_multi_constructor("", ignore_tag)  # type: ignore[attr-defined]
    return loader_of_ours


def _as_json(value: object) -> object:
    """Make keys strings and what JSON lacks text; floats stay as they are."""
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else _key_text(key): _as_json(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set)):
        return [_as_json(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def _key_text(key: object) -> str:
    return json.dumps(key) if key is None or isinstance(key, (bool, int, float)) else str(key)


def features(_arguments: Sequence[str]) -> dict[str, bool]:
    """Tell whether Isaac Lab is here and whether it reads overrides as literals (3.x does)."""
    spec = importlib.util.find_spec("isaaclab_tasks")
    folders = list(spec.submodule_search_locations or []) if spec else []
    literal = False
    for folder in folders:
        try:
            with open(os.path.join(folder, "utils", "hydra.py"), encoding="utf-8") as file:
                literal = literal or "def _parse_val(" in file.read()
        except OSError:
            continue
    has_yaml = importlib.util.find_spec("yaml") is not None
    return {"isaaclab": bool(folders), "literal": literal, "yaml": has_yaml}


def describe_python(_arguments: Sequence[str]) -> dict[str, object]:
    """Tell which interpreter this is, what it imports from, whether its packages have bytecode."""
    return {
        "identity": f"{sys.implementation.cache_tag} {sys.version} {sys.executable}",
        "folders": [path for path in sys.path if os.path.isdir(path)],
        "has_bytecode": _has_bytecode(sysconfig.get_path("purelib")),
    }


def _has_bytecode(packages: str) -> bool:
    """Look for bytecode of torch, which takes the longest to compile, else of any package."""
    tag = sys.implementation.cache_tag
    names = sorted(os.listdir(packages)) if os.path.isdir(packages) else []
    return any(
        os.path.isfile(os.path.join(packages, name, "__pycache__", f"__init__.{tag}.pyc"))
        for name in (["torch"] if "torch" in names else names)
    )


def unknown_settings(_arguments: Sequence[str]) -> dict[str, list[str]]:
    """Tell which paths name no setting: {path: names there are}.

    Isaac Lab 3 sets whatever attribute an override names, and writes it into its record like any
    other (isaaclab_tasks/utils/hydra.py, isaaclab/utils/dict.py), so only the classes can tell.
    They are made as the trainer makes them: its tasks, its callback, the same arguments. An agent
    that is a plain dictionary (all but rsl_rl's) takes keys that its file does not have.
    """
    question = json.loads(sys.stdin.read())
    arguments, paths = question["arguments"], question["paths"]
    sys.stdin = io.StringIO()
    dispatch = importlib.import_module("isaaclab.cli")
    library = question["library"]
    backend = importlib.import_module(f"isaaclab_rl.entrypoints.backends.train_{library}")
    hydra = importlib.import_module("isaaclab_tasks.utils.hydra")
    dispatch.load_external_tasks()
    known = backend._parse_args(arguments)
    entry = known.agent
    if library == "skrl":
        entry = backend.resolve_skrl_agent_cfg_entry_point(known.agent, known.algorithm)
    env, agent = hydra.resolve_task_config(known.task, entry)
    configs = {"env": env, "agent": None if isinstance(agent, dict) else agent}
    found = {}
    for path in paths:
        root, _, rest = path.partition(".")
        names = _names_instead(configs.get(root), rest.split("."))
        if names is not None:
            found[path] = names
    return found


def _names_instead(node: Any, parts: Sequence[str]) -> list[str] | None:
    """Walk a path through configuration objects; where it leaves them, give the names there are."""
    for part in parts:
        if isinstance(node, dict):
            if part not in node:
                return [str(name) for name in node]
            node = node[part]
        elif isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                return []
            node = node[int(part)]
        else:
            names = _declared(node)
            if names is None:
                return None
            if part not in names or not hasattr(node, part):
                return sorted(names)
            node = getattr(node, part)
    return None


def _declared(node: object) -> set[str] | None:
    """Give the settings that an object's classes declare; None when it is no configuration."""
    names: set[str] = set()
    for cls in type(node).__mro__[:-1]:
        names |= set(getattr(cls, "__dataclass_fields__", {}))
        names |= {name for name in vars(cls).get("__annotations__", {}) if name[:2] != "__"}
        names |= {
            name for name, value in vars(cls).items() if name[:2] != "__" and not callable(value)
        }
    return names or None


if __name__ == "__main__":
    # This file's folder holds modules of sweepctl, whose names belong to others here.
    sys.path[:] = [path for path in sys.path if path != os.path.dirname(os.path.abspath(__file__))]
    sys.exit(main(sys.argv[1:]))
