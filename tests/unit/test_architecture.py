"""The rings of the house: which room may import which. Imports go down, and never in a circle."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import sweepctl
import sweepctl_pod
from sweepctl.cli.app import app

HOUSE = Path(sweepctl.__file__).parent
POD = Path(sweepctl_pod.__file__).parent
RINGS = (
    ("sweepctl_pod",),
    ("figures", "search", "sweepfile", "kube", "values"),
    ("manifest", "server", "sweeps"),
    ("jobs", "local", "report"),
    ("cli",),
    ("__main__", "pod"),
)
"""The rooms, from the innermost ring to the outermost; docs/architecture.md has their picture."""
POD_RINGS = (
    ("errors", "json_text", "log_lines", "run_record", "timestamps"),
    ("checkpoint", "checkpoint_uri"),
    ("command", "companion", "console", "overrides", "preflight", "search_seed", "wandb"),
    ("assignment", "claims", "pythonpath", "run_parameters", "shell_script", "waiting"),
    ("heartbeats", "stored_form", "trainer"),
    ("find_sweep", "run"),
    ("adoption", "handed_out"),
    ("first_runs", "helm_test"),
    ("options",),
    ("giving_up", "wrapper"),
    ("agent",),
    ("__main__",),
)
"""The files and folders of the pod code; each imports only from the levels before its own."""
SERVER_RINGS = (
    ("disk",),
    ("access", "bounds", "errors", "lifecycle", "timings"),
    ("json_texts",),
    ("store",),
    ("engine", "server_process", "stored_sweeps"),
    ("runs", "backup", "prune"),
    ("artifacts",),
    ("graphql",),
    ("web",),
    ("app",),
    ("__main__",),
)
"""The folders and loose files of the server: what it decides without data, its rows, who gets which
run, what trainers send, their artifacts, W&B's API, HTTP; `app` opens all of that. Without a
server, `stored_sweeps` reads its rows, `backup` and `prune` care for its folder;
`server_process` is what other commands start."""
RING = {room: ring for ring, rooms in enumerate(RINGS) for room in rooms}
SQL = re.compile(
    r"\s*(SELECT\b.+\bFROM|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE (TABLE|INDEX)"
    r"|ALTER TABLE|DROP TABLE|PRAGMA|BEGIN IMMEDIATE|WITH (RECURSIVE )?\w+.* AS \()",
    re.DOTALL,
)
MAX_LINES = 450


def modules() -> dict[str, Path]:
    """Give every file of both packages by its dotted name; a package has its folder's."""
    found = {}
    for package in (HOUSE, POD):
        for path in sorted(package.rglob("*.py")):
            parts = path.relative_to(package.parent).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    first, _, rest = module.partition(".")
    return first if first == "sweepctl_pod" else rest.partition(".")[0]


def imported(module: str, whole: bool = True) -> Iterator[str]:
    """List what a module imports, by full name; not `whole`: when it is imported itself."""
    path = MODULES[module]
    tree = ast.parse(path.read_text("utf-8"))
    nodes = list(ast.walk(tree)) if whole else list(_at_import(tree.body))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative imports hide where they lead"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else str(node.module)


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from _at_import(node.body + node.orelse)
        elif isinstance(node, ast.Try):
            yield from _at_import(node.body)


def ours(module: str) -> set[str]:
    return {name for name in imported(module) if name in MODULES} - {module}


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_its_own_room_and_those_of_rings_not_above(module: str) -> None:
    own = room(module)
    if not own:
        assert not ours(module), "the package itself imports nothing"
        return
    assert own in RING, f"{own} is in no ring"
    above = {name for name in ours(module) if RING[room(name)] > RING[own]}
    assert not above, f"{module} imports {sorted(above)} from a ring above"


def circle(arrows: dict[str, set[str]]) -> list[str]:
    """Give the names of one circle, in order; none gives an empty list."""
    done: set[str] = set()
    way: list[str] = []

    def visit(name: str) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        way.append(name)
        found = next(filter(None, map(visit, sorted(arrows.get(name, ())))), [])
        way.pop()
        done.add(name)
        return found

    return next(filter(None, map(visit, sorted(arrows))), [])


@pytest.mark.parametrize(
    ("arrows", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c", "b"]),
    ],
    ids=["a line", "two ways", "a circle"],
)
def test_a_circle_is_found(arrows: dict[str, set[str]], expected: list[str]) -> None:
    assert circle(arrows) == expected


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle({module: ours(module) for module in MODULES}) == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {}
    for module in MODULES:
        arrows.setdefault(room(module), set()).update(
            room(name) for name in ours(module) if room(name) not in ("", room(module))
        )
    assert circle(arrows) == []


INNER_RINGS = {"sweepctl.server": SERVER_RINGS, "sweepctl_pod": POD_RINGS}


def _inside(package: str) -> list[str]:
    """List the files of a room, each by its full name, without the room's own face."""
    return [name for name in MODULES if name.startswith(f"{package}.")]


def _place(package: str, module: str) -> str:
    """Name the folder of a file within its room, or the loose file itself."""
    return module.removeprefix(f"{package}.").split(".")[0]


@pytest.mark.parametrize(
    ("package", "module"), [(package, name) for package in INNER_RINGS for name in _inside(package)]
)
def test_a_file_imports_only_its_own_folder_and_those_below_in_its_room(
    package: str, module: str
) -> None:
    rings = {name: number for number, ring in enumerate(INNER_RINGS[package]) for name in ring}
    own = _place(package, module)
    assert own in rings, f"{own} is in no ring of {package}"
    beside = {_place(package, name) for name in ours(module) & set(_inside(package))} - {own}
    above = {name for name in beside if rings[name] >= rings[own]}
    assert not above, f"{module} imports {sorted(above)}, which is not below it"


@pytest.mark.parametrize("package", INNER_RINGS)
def test_the_rings_of_a_room_name_what_there_is(package: str) -> None:
    named = [name for ring in INNER_RINGS[package] for name in ring]
    assert sorted(named) == sorted({_place(package, name) for name in _inside(package)})


@pytest.mark.parametrize("package", ["sweepctl.server", "sweepctl_pod"])
def test_no_folders_of_a_room_import_each_other_in_a_circle(package: str) -> None:
    folders = {name for name in MODULES if MODULES[name].name == "__init__.py"}

    def folder(module: str) -> str:
        parts = module.removeprefix(f"{package}.").split(".")
        return parts[0] if f"{package}.{parts[0]}" in folders else ""

    arrows: dict[str, set[str]] = {}
    for module in MODULES:
        if module.startswith(f"{package}."):
            inside = {name for name in ours(module) if name.startswith(f"{package}.")}
            arrows.setdefault(folder(module), set()).update(map(folder, inside))
    # What lies loose in the room is below its folders or above them, file by file.
    arrows = {name: found - {name, ""} for name, found in arrows.items() if name}
    assert circle(arrows) == []


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "sweepctl_pod"])
def test_pod_code_imports_itself_and_the_standard_library(module: str) -> None:
    allowed = {*sys.stdlib_module_names, "sweepctl_pod"}
    if module == "sweepctl_pod.trainer.in_trainer":
        allowed.add("yaml")  # it runs in the trainer's interpreter, which has it
    assert {name.partition(".")[0] for name in imported(module)} <= allowed


def test_what_runs_as_a_script_lies_beside_no_file_of_a_standard_modules_name() -> None:
    # Python puts the folder of a script first on sys.path.
    scripts = [path for path in POD.rglob("*.py") if "__main__" in path.read_text("utf-8")]
    beside = {file.stem for script in scripts for file in script.parent.glob("*.py")}
    assert not (beside & set(sys.stdlib_module_names)) - {"__main__"}


def statements(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [text for text in texts if isinstance(text, str) and SQL.match(text)]


def test_only_the_servers_store_speaks_sql() -> None:
    speakers = {name for name, path in MODULES.items() if statements(path)}
    importers = {name for name in MODULES if "sqlite3" in imported(name)}
    outside = {
        name for name in speakers | importers if not name.startswith("sweepctl.server.store.")
    }
    assert speakers
    assert outside == set()


def test_nothing_lies_loose_in_the_house() -> None:
    assert {path.name for path in HOUSE.iterdir() if path.is_file()} == {
        *("__init__.py", "__main__.py", "py.typed")
    }


@pytest.mark.parametrize("package", [n for n, p in MODULES.items() if p.name == "__init__.py"])
def test_a_folders_init_is_a_face_and_no_body(package: str) -> None:
    body = ast.parse(MODULES[package].read_text("utf-8")).body
    kinds = {type(node) for node in body}
    assert kinds <= {ast.Expr, ast.ImportFrom}, "docstring and re-exports alone"


@pytest.mark.parametrize("module", MODULES)
def test_no_file_is_longer_than_a_room_may_be(module: str) -> None:
    assert len(MODULES[module].read_text("utf-8").splitlines()) <= MAX_LINES


def test_importing_the_packages_imports_nothing() -> None:
    for module in ("sweepctl", "sweepctl_pod"):
        assert list(imported(module)) == []


MAX_VERB_LINES = 15


def groups(of: typer.Typer) -> list[typer.Typer]:
    """Give the groups of verbs below, at any depth."""
    found = [each.typer_instance for each in of.registered_groups if each.typer_instance]
    return [*found, *(below for each in found for below in groups(each))]


VERBS = {
    f"{command.callback.__module__}.{command.callback.__name__}": command.callback
    for each in (app, *groups(app))
    for command in each.registered_commands
    if command.callback is not None
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_is_parse_one_call_one_print(verb: str) -> None:
    """Counts the lines of its body, but for the docstring and the imports that stand in it."""
    (function,) = ast.parse(inspect.getsource(VERBS[verb])).body
    assert isinstance(function, ast.FunctionDef)
    lines = [
        number
        for node in function.body[1:]
        if not isinstance(node, ast.Import | ast.ImportFrom)
        for number in range(node.lineno, (node.end_lineno or 0) + 1)
    ]
    assert len(lines) <= MAX_VERB_LINES


def test_every_verb_stands_in_a_file_of_verbs() -> None:
    homes = {callback.__module__ for callback in VERBS.values()}
    assert all(re.fullmatch(r"sweepctl\.cli\.\w+_verbs", home) for home in homes), homes


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "cli"])
def test_the_command_line_imports_the_rooms_below_in_its_verbs(module: str) -> None:
    # So that --help and completion stay quick: neither Kubernetes nor GraphQL nor a room with them.
    views = {"sweepctl.cli.views", "sweepctl.cli.job_views"}  # imported by verbs themselves
    names = {"sweepctl_pod.errors", "sweepctl.search.engine_name"}  # they import nothing
    allowed = {"sweepctl.cli", *names, *(MODULES if module in views else ())}
    found = {name for name in imported(module, whole=False) if name in MODULES}
    assert {name for name in found if room(name) != "cli"} <= allowed


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "cli"])
def test_only_targets_decides_where_a_sweep_lives(module: str) -> None:
    assert "is_in_cluster" not in MODULES[module].read_text("utf-8")
