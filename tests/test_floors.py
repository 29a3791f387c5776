"""Imports point down only, and builders and commands alone see the config. Read from the source, not imported."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "softdet"
FLOORS = {
    "errors": 0,
    "files": 0,
    "structures": 0,
    "config": 0,
    "ops": 0,
    "models": 1,
    "data": 1,
    "doctor": 2,
    "derive": 2,
    "semi": 2,
    "report": 2,
    "engine": 3,
    "evaluation": 3,
    "deploy": 4,
    "builders": 4,
    "cli": 5,
    "__main__": 6,
}
# The ground that even the rooms of the lowest floor stand on; it imports nothing of ours.
GROUND = {"errors", "files", "structures"}
# A longer file holds two ideas.
MAX_LINES = 300


def modules() -> dict[str, Path]:
    """Dotted names below `softdet`, without `softdet` itself."""
    names = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_of(path: Path, known: set[str]) -> set[str]:
    """The modules of ours that a file imports, at its top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here, so that they can be read"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "softdet":
                # `from softdet.a import b` names the module softdet.a.b, or something inside softdet.a.
                found.add(rest if rest in known else rest.rpartition(".")[0])
    return found - {""}


MODULES = modules()
GRAPH = {name: imports_of(path, set(MODULES)) - {name} for name, path in MODULES.items()}


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_module_stands_on_a_floor() -> None:
    rooms = {room(name) for name in MODULES if name}
    assert rooms == set(FLOORS)


@pytest.mark.parametrize("module", [name for name in MODULES if name])
def test_a_module_imports_from_lower_floors_its_own_room_or_the_ground(module: str) -> None:
    own = room(module)
    for imported in GRAPH[module]:
        other = room(imported)
        is_below = FLOORS[other] < FLOORS[own]
        stands_on = own not in GROUND and other in GROUND
        assert other == own or is_below or stands_on, f"{module} (floor {FLOORS[own]}) imports {imported}"


def test_only_builders_and_commands_see_the_config() -> None:
    readers = {room(name) for name, imported in GRAPH.items() if any(room(other) == "config" for other in imported)}
    assert readers - {"config"} == {"builders", "cli"}


def test_no_module_imports_itself_on_a_detour() -> None:
    # A package's __init__ hands out what its modules hold, so that is the one direction to leave out.
    graph = {name: {other for other in imported if other != room(name)} for name, imported in GRAPH.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("module", list(MODULES))
def test_no_bridge_for_the_type_checker_alone(module: str) -> None:
    assert "TYPE_CHECKING" not in MODULES[module].read_text(encoding="utf-8")


@pytest.mark.parametrize("module", list(MODULES))
def test_a_file_holds_one_idea(module: str) -> None:
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_a_report_knows_no_model() -> None:
    for name, imported in GRAPH.items():
        if room(name) == "report":
            assert not {"models", "semi"} & {room(other) for other in imported}


def test_the_graph_was_read() -> None:
    assert "ops.box_coding" in GRAPH["models.postprocess"]
    assert "builders" in GRAPH["cli.train"]
    assert "softdet" not in {room(other) for imported in GRAPH.values() for other in imported}
