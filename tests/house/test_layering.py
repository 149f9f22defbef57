"""One import name, rooms that import one way, and a command line that starts without loading torch."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "speech", "personalize", "exporters", "runtime_bench", "fleet", "cli")
ORDER = (
    *("core", "speech", "speech.layouts", "speech.datasets", "speech.models"),
    *("speech.models.whisper", "personalize.planning", "personalize.rounding"),
    *("personalize.measuring", "personalize.adapting", "personalize"),
    *("exporters", "exporters.graph", "exporters.executorch", "exporters.tflite"),
    *("exporters.onnx", "exporters.ggml", "exporters.coreml"),
    *("runtime_bench.devices", "runtime_bench.results"),
    *("runtime_bench.runners", "runtime_bench.runners.coreml", "runtime_bench.measure"),
    *("runtime_bench.page", "runtime_bench.diagnose", "runtime_bench"),
    *("api", "teaching", "fleet", "cli.terminal", "cli.commands", "cli"),
)
"""Rooms (and modules that stand for themselves), each importing only from itself and what is before it."""

TORCH_FREE = [
    "myqasr",
    "myqasr.cli.main",
    "myqasr.speech.audio",
    "myqasr.speech.recordings",
    "myqasr.speech.datasets",
    "myqasr.speech.decoding",
    "myqasr.speech.scoring",
    "myqasr.speech.segments",
    "myqasr.personalize.planning.plan",
    "myqasr.personalize.planning.budget",
    "myqasr.personalize.planning.exact",
    "myqasr.exporters.target",
    "myqasr.exporters.manifest",
    "myqasr.exporters.executorch.xnnpack",
    "myqasr.exporters.executorch.portable",
    "myqasr.exporters.coreml.ios18",
    "myqasr.exporters.coreml.ios16",
    "myqasr.exporters.coreml.pte",
    "myqasr.runtime_bench.results.report",
    "myqasr.runtime_bench.runners.records",
    "myqasr.runtime_bench.results.protocol",
    "myqasr.runtime_bench.results.compare",
    "myqasr.runtime_bench.results.coreml_report",
    "myqasr.exporters.tflite.litert",
    "myqasr.exporters.tflite.tflite_runtime",
    "myqasr.exporters.onnx.onnxruntime",
    "myqasr.runtime_bench.devices.environments",
    "myqasr.exporters.ggml.whisper_cpp",
    "myqasr.runtime_bench.devices.whisper_worker",
]


def python_files(*folders: str) -> list[Path]:
    return [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]


MODULES = {
    ".".join(("myqasr", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): file
    for file in python_files(*PACKAGES)
} | {f"myqasr.{file.stem}": file for file in (ROOT / "myqasr").glob("[!_]*.py")}


def imported_modules(file: Path) -> set[str]:
    """Absolute names of all that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if whole in MODULES else str(node.module))
    return names


GRAPH = {
    module: {name for name in imported_modules(file) if name in MODULES and name != module}
    for module, file in MODULES.items()
}


def room_of(module: str) -> str:
    name = module.removeprefix("myqasr.")
    fitting = [room for room in ORDER if name == room or name.startswith(f"{room}.")]
    assert fitting, f"{module} is in no room of ORDER"
    return max(fitting, key=len)


@pytest.mark.parametrize("module", [name for name in MODULES if name != "myqasr"])
def test_rooms_import_one_way(module):
    place = ORDER.index(room_of(module))
    later = {name for name in GRAPH[module] - {"myqasr"} if ORDER.index(room_of(name)) > place}
    assert not later


def test_no_module_imports_itself_by_a_detour():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for name in sorted(GRAPH[module]):
                visit(name, (*path, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


def test_benchmarks_and_tools_import_modules_that_are_there():
    """No test runs most of them: one that a renamed module breaks would be found by whoever needs it."""
    gone = {
        str(file.relative_to(ROOT)): sorted(names)
        for file in python_files("tools", "benchmarks")
        if (
            names := {
                name
                for name in imported_modules(file)
                if name.partition(".")[0] == "myqasr" and name not in MODULES
            }
        )
    }
    assert not gone


def test_nothing_is_imported_by_its_bare_name_or_from_outside_the_wheel():
    bare = {*PACKAGES, "tools", "tests", "benchmarks"}
    found = {
        str(file.relative_to(ROOT)): sorted(names)
        for file in python_files(*PACKAGES, "myqasr", "tests", "tools", "benchmarks")
        if (
            names := {name.partition(".")[0] for name in imported_modules(file)}
            & (bare if file in MODULES.values() else {*PACKAGES})
        )
    }
    assert not found


@pytest.mark.parametrize("module", TORCH_FREE)
def test_deciding_and_parsing_start_without_torch(module):
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_every_command_shows_its_help_fast_and_without_torch():
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom myqasr.cli.main import app\n"
        "names = 'personalize export curve bench compare report inspect transcribe profile demo '\n"
        "names += 'doctor store'\n"
        "for name in names.split():\n"
        "    result = CliRunner().invoke(app, [name, '--help'])\n"
        "    assert result.exit_code == 0, (name, result.output)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


CODE = (*PACKAGES, "tests", "tools", "benchmarks")


def other_code() -> list[Path]:
    """The phone app and the C++ runner."""
    folders, suffixes = ("android_demo", "runtime_bench/cpp"), (".java", ".cpp", ".c", ".h")
    listed = [file for folder in folders for file in (ROOT / folder).rglob("*")]
    return sorted(file for file in listed if file.suffix in suffixes and "build" not in file.parts)


def test_no_file_has_grown_past_a_page_or_two():
    long = {
        str(file.relative_to(ROOT)): lines
        for file in (*python_files(*CODE, "myqasr"), *other_code())
        if (lines := len(file.read_text().splitlines())) > 350
    }
    assert not long


def test_no_folder_holds_more_than_one_looks_through():
    full = {}
    for package in CODE:
        for folder in [ROOT / package, *(ROOT / package).rglob("*/")]:
            files = [file for file in folder.glob("*.py") if file.name != "__init__.py"]
            if len(files) > 16:
                full[str(folder.relative_to(ROOT))] = len(files)
    for folder, count in Counter(file.parent for file in other_code()).items():
        if count > 16:
            full[str(folder.relative_to(ROOT))] = count
    assert not full
    shown = [each.name for each in (ROOT / "exporters").iterdir() if each.name[0] not in "._"]
    assert len(shown) <= 12, sorted(shown)


def test_an_installed_copy_has_every_package():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        ".".join(("myqasr", *file.parent.relative_to(ROOT).parts))
        for package in PACKAGES
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert set(listed) == {"myqasr", *there}


def test_every_top_folder_of_code_is_reached_through_the_one_name():
    links = {each.name: each for each in (ROOT / "myqasr").iterdir() if each.is_symlink()}
    assert set(links) == set(PACKAGES)
    assert all(link.readlink() == Path("..") / name for name, link in links.items())
