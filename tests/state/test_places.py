"""Files take their places whole and together, places are tried before the work, and names may be any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from myqasr.core import placing
from myqasr.core.errors import UserError
from myqasr.core.placing import (
    check_place,
    drafting,
    replacing,
    replacing_folder,
    together,
    write_bytes,
)
from tests.cli.test_bad_input import fails, personalize_arguments


def test_files_written_together_are_all_there_or_none(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), together():
        write_bytes(tmp_path / "a", b"new")
        with replacing_folder(tmp_path / "b") as folder:
            (folder / "x").write_bytes(b"x")
        with drafting(tmp_path / "c") as draft:
            write_bytes(draft, b"c")
            assert draft.read_bytes() == b"c"
        assert (tmp_path / "a").read_bytes() == b"old"
        1 / 0  # noqa: B018
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with together():
        write_bytes(tmp_path / "a", b"new")
        with drafting(tmp_path / "c") as draft, replacing_folder(draft) as folder:
            (folder / "x").write_bytes(b"x")
        with together():
            write_bytes(tmp_path / "d", b"d")
        assert not (tmp_path / "d").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c", "d"]
    assert (tmp_path / "a").read_bytes() == b"new"
    assert (tmp_path / "c" / "x").read_bytes() == b"x"


def test_what_a_library_raises_on_a_full_disk_is_one_line(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with (
        pytest.raises(UserError, match=r"can't write .*a: .*it stays as it was"),
        replacing(tmp_path / "a"),
    ):
        raise RuntimeError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )
    with (
        pytest.raises(UserError, match="it and what goes with it stays as it was"),
        together(),
        replacing(tmp_path / "a"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a"):  # a bug stays a bug
        1 / 0  # noqa: B018
    assert (tmp_path / "a").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_temporary_files_of_the_dead_go_with_the_next_write_and_those_of_the_living_stay(tmp_path):
    program = (
        "import sys, time\nfrom pathlib import Path\nfrom myqasr.core.placing import replacing\n"
        "with replacing(Path(sys.argv[1])) as part:\n    part.write_bytes(b'half')\n"
        "    print('writing', flush=True)\n    time.sleep(100)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        (part,) = tmp_path.glob(".a.*.part")
        write_bytes(tmp_path / "b", b"b")
        assert part.exists()
        writer.kill()
        writer.wait()
        assert part.exists()
        write_bytes(tmp_path / "b", b"b")
        assert not part.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_rename_is_followed_by_a_sync_of_its_folder(tmp_path, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(placing, "sync", synced.append)
    write_bytes(tmp_path / "a", b"a")
    assert synced == [tmp_path]


def places(folder: Path) -> dict[str, Path]:
    (folder / "file").write_bytes(b"")
    (folder / "nothing").symlink_to(folder / "gone" / "far")
    return {
        "a file": folder / "file",
        "below a file": folder / "file" / "x",
        "a link to nothing": folder / "nothing",
        "a device": Path("/dev/null"),
        "below a device": Path("/dev/null/x"),
        "a long name": folder / ("n" * 256),
        "a long path": Path("/".join(["n" * 200] * 40)),
        "no room for the ending": folder / ("n" * 253),
    }


@pytest.mark.parametrize("which", places.__annotations__ and list(range(8)))
def test_a_place_that_cannot_be_written_is_found_before_anything_is_measured(
    which, tmp_path, tiny_model, tune_clips, monkeypatch
):
    monkeypatch.setattr("myqasr.api.load_model", None)  # that would be work
    name, place = list(places(tmp_path).items())[which]
    assert "can't write" in fails(*personalize_arguments(tiny_model, tune_clips, place)), name


def test_trying_a_place_leaves_nothing(tmp_path):
    check_place(tmp_path / "new" / "deep" / "file")
    assert not list(tmp_path.iterdir())


def test_bench_and_report_find_it_before_the_work_too(run_copy, test_clips, monkeypatch):
    monkeypatch.setattr("myqasr.api.held_out_recordings", None)
    (run_copy / "bench").write_bytes(b"")
    assert "can't write" in fails("bench", run_copy, "--data", test_clips)


@pytest.mark.parametrize("name", ["n" * 256, "n" * 5_000])
def test_names_that_are_too_long_are_refused_wherever_they_are_typed(
    name, tmp_path, tiny_model, tune_clips, run_copy
):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{name}.wav\n")
    for arguments in (
        personalize_arguments(name, tune_clips, tmp_path / "a"),
        personalize_arguments(tiny_model, name, tmp_path / "a"),
        personalize_arguments(tiny_model, listed, tmp_path / "a"),
        personalize_arguments(tiny_model, tune_clips, name),
        (*personalize_arguments(tiny_model, tune_clips, tmp_path / "a"), "--prior", name),
        *((command, name) for command in ("export", "curve", "report", "inspect", "compare")),
        ("bench", run_copy, "--data", name),
        ("bench", name, "--data", tune_clips),
        ("transcribe", name, tune_clips),
        ("transcribe", run_copy / "exports" / "alice.pte", name),
    ):
        assert len(fails(*arguments)) < 700, arguments


def test_a_run_in_the_current_folder_is_called_as_the_folder_is(tmp_path, monkeypatch):
    from myqasr.personalize.run_folder import RunFolder

    monkeypatch.chdir(tmp_path)
    assert RunFolder(Path()).name == RunFolder(Path(".")).name == tmp_path.name
    assert RunFolder(tmp_path / "a" / "..").name == tmp_path.name
    with pytest.raises(UserError, match="has no name"):
        _ = RunFolder(Path("/")).name


@pytest.mark.parametrize("value", ["9" * 5_000, "inf", "nan", "-1", "0"])
def test_numbers_past_what_python_takes_are_one_line(value, run_copy, tiny_model, tune_clips):
    arguments = personalize_arguments(tiny_model, tune_clips, run_copy, value)
    if value != "0":
        assert len(fails(*arguments)) < 700
    assert "--max-seconds" in fails("export", run_copy, f"--max-seconds={value[:200]}")
    message = fails(
        *personalize_arguments(tiny_model, tune_clips, run_copy), "--precisions", f"int{value}"
    )
    assert len(message) < 700


def test_a_message_is_a_line_that_can_be_printed():
    message = str(UserError(f"a\nb\x1b[31m {os.fsdecode(b'x' + bytes([255]))} {'n' * 9_000} end"))
    assert len(message) <= 600
    assert message.endswith("end")
    message.encode()
    assert "\n" not in message
