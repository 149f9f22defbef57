"""The packages depend one way, and the command line starts without loading torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ["speech", "personalize", "exporters", "runtime_bench", "cli"]
TORCH_FREE = [
    "cli.main",
    "speech.audio",
    "speech.datasets",
    "speech.decoding",
    "speech.scoring",
    "speech.segments",
    "personalize.plan",
    "personalize.budget",
    "personalize.allocate",
    "exporters.target",
    "exporters.manifest",
    "exporters.xnnpack",
    "exporters.executorch",
    "exporters.coreml",
    "exporters.coreml_ios16",
    "exporters.coreml_pte",
    "runtime_bench.report",
    "runtime_bench.protocol",
    "runtime_bench.compare",
    "runtime_bench.coreml_report",
    "exporters.litert",
    "exporters.tflite_runtime",
    "runtime_bench.environments",
]


def imported_packages(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ORDER)
def test_imports_go_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    forbidden = {*ORDER[ORDER.index(package) + 1 :], "tools", "tests", "benchmarks"}
    for file in files:
        assert not imported_packages(file) & forbidden, file


@pytest.mark.parametrize("module", TORCH_FREE)
def test_deciding_and_parsing_start_without_torch(module):
    check = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0


def test_every_command_shows_its_help_fast_and_without_torch():
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cli.main import app\n"
        "names = 'personalize export curve bench compare report inspect transcribe profile demo doctor'\n"
        "for name in names.split():\n"
        "    result = CliRunner().invoke(app, [name, '--help'])\n"
        "    assert result.exit_code == 0, (name, result.output)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_no_file_has_grown_past_a_page_or_two():
    long = {
        str(file.relative_to(ROOT)): lines
        for package in (*ORDER, "tools", "benchmarks")
        for file in (ROOT / package).rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 350
    }
    assert not long


def test_an_installed_copy_has_every_package():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for package in ORDER
        for file in (ROOT / package).rglob("__init__.py")
    }
    assert set(listed) == there
