"""An installed wheel works in a folder that holds the user's own files of any name."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THEIRS = (
    "speech.py",
    "cli.py",
    "core.py",
    "numpy.py",
    "exporters/__init__.py",
    "personalize/__init__.py",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    packages = {
        folder.readlink().name for folder in (ROOT / "myqasr").iterdir() if folder.is_symlink()
    }
    kept = {"myqasr"} | packages
    for name in filter(None, tracked):
        file = ROOT / name
        if "/" in name and not name.startswith(tuple(f"{each}/" for each in kept)):
            continue
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        if file.is_symlink():
            (source / name).symlink_to(file.readlink())
        elif file.is_file():
            (source / name).write_bytes(file.read_bytes())
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"),
            *("--wheel-dir", str(folder), str(source)),
        ],
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_its_only_top_level_is_myqasr_and_nothing_is_left_behind(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.partition("/")[0] for name in names if ".dist-info" not in name} == {"myqasr"}
    for name in (
        "myqasr/py.typed", "myqasr/speech/default_model/model.safetensors",
        "myqasr/runtime_bench/cpp/runner.cpp", "myqasr/runtime_bench/cpp/machine.h",
        "myqasr/runtime_bench/page/style.css",
        "myqasr/speech/default_users/manifest.csv",
    ):  # fmt: skip
        assert name in names


def test_the_chain_runs_among_the_users_own_files(
    wheel, tmp_path, tiny_model, tune_clips, test_clips
):
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").iterdir()) / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Dependencies come from this environment, the project from the wheel alone.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    work = tmp_path / "work"
    for name in THEIRS:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(
            f"raise RuntimeError('{name} is the user's own')\n".replace("'s", "s")
        )
    program = tmp_path / "myqasr_program.py"
    program.write_text(
        f"import sys\nimport myqasr\nassert myqasr.__file__.startswith({str(site)!r}), myqasr.__file__\n"
        "from myqasr.cli.main import app\nsys.exit(app())\n"
    )
    clip = next(path for path in sorted(tune_clips.iterdir()))
    for arguments in (
        ("personalize", tiny_model, tune_clips, "--budget", "0.5x", "--clips", 2, "--out", "out/a"),
        ("export", "out/a", "--max-seconds", 6),
        ("bench", "out/a", "--data", test_clips, "--runs", 1, "--seconds", 0, "--limit", 2),
        ("transcribe", "out/a/exports/a.pte", clip),
        ("curve", "out/a", "--steps", 3),
        ("inspect", "out/a/exports/a.pte"),
        ("compare", "out/a", "out/a"),
        ("report", "out/a"),
        ("export", "--help"),
        ("profile", "--help"),
        ("doctor", "--help"),
    ):
        done = subprocess.run(
            [str(python), "-P", str(program), *map(str, arguments)],
            cwd=work, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
