"""Who imports whom: scripts → rooms → plain values; one room alone starts processes."""

import ast
from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("ColdDataRetriever", "TestConnection")
BESIDE = ("demo", "tests", "benchmarks")
STARTING_MODULES = (
    "subprocess",
    "multiprocessing",
    "concurrent.futures.process",
    "concurrent.futures.ProcessPoolExecutor",
    "pty",
)
STARTING_FUNCTIONS = ("system", "popen", "fork", "exec", "spawn", "posix_spawn")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def imports_in(source: str | bytes, package: str) -> set[str]:
    """The full names that a module imports, wherever in it; ``from a import b`` is both ``a`` and ``a.b``."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            names |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
    return names


def attributes_of_os(source: bytes) -> set[str]:
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
    }


FILES = {
    module_name(path): path
    for path in (*(ROOT / f"{script}.py" for script in SCRIPTS), *sorted((ROOT / "niffler").rglob("*.py")))
}
IMPORTS = {
    name: imports_in(path.read_bytes(), ".".join(path.relative_to(ROOT).parent.parts)) for name, path in FILES.items()
}
EMBEDDED = [name for name in FILES if is_within(name, ["niffler.embedded"])]
LOOKS = [name for name in FILES if is_within(name, ["niffler.looks"])]
ROOMS = [name for name in FILES if is_within(name, ["niffler"]) and name not in (*EMBEDDED, *LOOKS)]


def importing(names: Iterable[str], forbidden: Iterable[str], *, allowed: Iterable[str] = ()) -> dict[str, set[str]]:
    """Those of the modules that import something of what is forbidden, each with what it imports of it."""
    packages, exceptions = tuple(forbidden), tuple(allowed)
    found = {
        name: {one for one in IMPORTS[name] if is_within(one, packages) and not is_within(one, exceptions)}
        for name in names
    }
    return {name: imported for name, imported in found.items() if imported}


def test_imports_are_seen_in_every_form_and_place() -> None:
    source = "import a.b as c\nfrom d import e, f\nfrom . import g\nfrom .h import i\ndef j():\n    from ..k import l\n"
    assert imports_in(source, "p.q") == {"a.b", "d", "d.e", "d.f", "p.q", "p.q.g", "p.q.h", "p.q.h.i", "p.k", "p.k.l"}


def test_scripts_rooms_and_embedded_tools_are_looked_at() -> None:
    assert {"niffler.dcm4che", "niffler.errors", "niffler.vocabulary"} <= set(ROOMS)
    assert "niffler.embedded.findscu" in EMBEDDED
    assert set(importing(SCRIPTS, ROOMS)) == set(SCRIPTS)


def test_dcm4che_alone_starts_tools_and_the_inventory_alone_reads_with_several_processes() -> None:
    starting = importing(FILES, STARTING_MODULES)
    pool = starting.pop("niffler.inventory")  # several processes of its own that read files
    assert all(is_within(name, ["multiprocessing", "concurrent.futures"]) for name in pool)
    assert starting == {"niffler.dcm4che": {"subprocess"}}


def test_no_process_is_started_by_way_of_os_but_one_for_each_association_of_the_embedded_receiver() -> None:
    used = {name: attributes_of_os(path.read_bytes()) for name, path in FILES.items()}
    for name, imported in importing(FILES, ["os"]).items():
        used[name] |= {one.removeprefix("os.") for one in imported}
    starting = [(name, one) for name in used for one in used[name] if one.startswith(STARTING_FUNCTIONS)]
    assert starting == [("niffler.embedded.storescp", "fork")]


def test_no_room_imports_a_script_the_demo_or_a_test() -> None:
    assert importing([*ROOMS, *LOOKS], [*SCRIPTS, *BESIDE]) == {}


def test_no_room_imports_a_look_and_no_look_imports_another_one() -> None:
    assert importing(ROOMS, ["niffler.looks"]) == {}
    assert [name for name in LOOKS if any(is_within(one, LOOKS[1:]) for one in IMPORTS[name] - {name})] == []


def test_no_script_imports_the_other_one_the_demo_or_a_test() -> None:
    assert importing(SCRIPTS, [*SCRIPTS, *BESIDE]) == {}


def test_the_embedded_tools_are_imported_by_no_script_and_no_room() -> None:
    assert importing([*SCRIPTS, *ROOMS, *LOOKS], ["niffler.embedded"]) == {}


def test_the_embedded_tools_import_no_script_and_no_room() -> None:
    assert importing(EMBEDDED, [*SCRIPTS, *BESIDE, "niffler"], allowed=["niffler.embedded"]) == {}


def test_errors_and_plain_values_import_no_room() -> None:
    assert importing(["niffler", "niffler.errors", "niffler.vocabulary"], ["niffler"]) == {}


def test_rooms_do_not_import_each_other_in_circles() -> None:
    graph = {name: IMPORTS[name] & set(ROOMS) - {"niffler"} for name in ROOMS}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" imports ".join(reversed(circle.args[1])))
