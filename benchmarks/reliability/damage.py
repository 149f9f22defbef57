"""State with flipped bits, cut off, swapped for another run's, and read by everything that reads it."""

import contextlib
import io
import random
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.commands import copied
from myqasr.core.errors import UserError
from myqasr.core.storage import to_json

NO_RECORDS = (
    *(b"5", b"[]", b"{}", b"null", b"[" * 5_000),
    *(b"\xff", b'{"clips": [5]}', b"9" * 6_000),
)

Reader = Callable[[Path], Any]


def readers() -> dict[str, Reader]:
    """What commands read of a run, without their work: plain data to compare."""
    from myqasr.api import inspect
    from myqasr.cli.commands.curve import curve_points
    from myqasr.exporters.target import load_target
    from myqasr.personalize.measuring.sensitivity import round_plan
    from myqasr.personalize.planning.plan import NO_RULES
    from myqasr.personalize.rounding.codes import load_codes
    from myqasr.personalize.run_folder import RunFolder
    from myqasr.runtime_bench.measure.run_bench import exported_files, run_systems
    from myqasr.runtime_bench.page.page import page
    from myqasr.runtime_bench.page.story import tell

    def figures(codes: Any) -> Any:
        return {
            name: [
                layer.spec.label,
                *(None if part is None else part.tolist() for part in (layer.codes, layer.scales)),
            ]
            for name, layer in codes.items()
        }

    def export(path: Path) -> Any:
        folder = RunFolder(path)
        measured = folder.load_measurement()
        plan = folder.load_plan("xnnpack", measured.profile)
        return to_json(plan), figures(round_plan(measured, plan))

    def bench(path: Path) -> Any:
        folder = RunFolder(path)
        systems, files = run_systems(folder, None)
        codes = [load_codes(Path(each.codes), each.codes_plan) for each in systems if each.codes]
        entries = to_json([file.artifact for file in files])
        return entries, [figures(each) for each, _ in codes], to_json(folder.load_settings())

    return {
        "curve": lambda path: to_json(
            curve_points(RunFolder(path), load_target("xnnpack"), "", 4, NO_RULES)
        ),
        "export": export,
        "bench": bench,
        "inspect": lambda path: to_json(inspect(exported_files(RunFolder(path), None)[0][0])),
        "report": lambda path: page(tell(RunFolder(path)), {}),
    }


def damaged_states(
    run: Path, other: Path, folder: Path, count: int, draw: random.Random
) -> dict[str, Any]:
    """Damage a file of the run, ask all readers, and put it back; so often.

    right: the same answer as before (they don't read the file, or the damage changes nothing, as a blank
    does). other answers: neither right nor refused.
    """
    seen: dict[str, Any] = {
        "states": 0,
        "refused": 0,
        "right": 0,
        "other answers": 0,
        "tracebacks": 0,
    }
    place = copied(run, folder / "alice")
    asked = readers()
    answers = {name: reader(place) for name, reader in asked.items()}
    files = [path for path in sorted(place.rglob("*")) if path.is_file()]
    for _ in range(count):
        path = draw.choice(files)
        whole = path.read_bytes()
        what = _damage(path, whole, other / path.relative_to(place), draw)
        results = set()
        for name, reader in asked.items():
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    results.add("right" if reader(place) == answers[name] else "other answers")
            except UserError:
                results.add("refused")
            except Exception:
                results.add("tracebacks")
                print(path.name, what, name, traceback.format_exc()[-900:])
            if "other answers" in results:
                print("OTHER", path.name, what, name)
        seen["states"] += 1
        for worst in ("tracebacks", "other answers", "refused", "right"):
            if worst in results:
                seen[worst] += 1
                break
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(whole)
    return seen


def _damage(path: Path, whole: bytes, others: Path, draw: random.Random) -> str:
    kind = draw.choice(["bit"] * 6 + ["cut", "empty", "byte", "json", "swap", "folder", "word"])
    data = bytearray(whole)
    at = draw.randrange(len(data)) if data else 0
    match kind:
        case "bit" if data:
            data[at] ^= 1 << draw.randrange(8)
        case "byte" if data:
            data[at] = draw.randrange(256)
        case "cut":
            del data[at:]
        case "empty":
            data.clear()
        case "json":
            data[:] = draw.choice(
                [
                    b"5",
                    b"[]",
                    b"{}",
                    b"null",
                    b"[" * 5_000,
                    b"\xff",
                    b'{"clips": [5]}',
                    b"9" * 6_000,
                ]
            )
        case "word" if data:
            data[at : at + 1] = draw.choice([b"NaN", b"Infinity", b"-1", b'"', b"1e999"])
        case "swap" if others.is_file():
            data[:] = others.read_bytes()
        case "folder":
            path.unlink()
            path.mkdir()
            return kind
    path.write_bytes(bytes(data))
    return f"{kind} at {at}"
