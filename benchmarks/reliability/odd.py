"""Input that nobody should give: option values, manifests, model folders, data sets, results."""

import contextlib
import io
import json
import math
import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability.commands import Material
from myqasr.core.errors import MOST_CHARACTERS, UserError

VALUES: tuple[Any, ...] = (
    *(0, -1, 1, 3, 2**63, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"), True, None),
    *(
        "",
        "x",
        "é",
        "\x00",
        "n" * 300,
        "../..",
        "[",
        [],
        [0],
        [[]],
        ["x", 1],
        {},
        {"a": 1},
        {"x": []},
    ),
)
NO_JSON = (b"", b"5", b"[]", b"\xff", b'{"q": []}', b'{"l": ""}', b"[" * 50_000)
PLACES = (
    *("n" * 256, "n" * 5_000, "/dev/null", "/dev/null/x", "/proc/x/y", "é" * 200),
    *("a\x00b", "", "\udcff", "/"),
)
TEXTS = (
    *("", " ", "0", "-1", "4MB", "0.2x", "x", "1e5", "nan", "inf", "-inf", "9" * 5_000, "1." * 50),
    *(
        "int4",
        "int99",
        "int" + "9" * 5_000,
        "fp32",
        "lut3-g16",
        "a=8",
        "=8",
        "a=",
        "*=16",
        "lm_head=9",
    ),
    *(
        "é",
        "\x00",
        "n" * 300,
        "/" * 5_000,
        "٣MB",
        "0x10",
        "1_0MB",
        ",",
        ",,",
        "1,2",
        "2,5,inf",
        "\udcff",
    ),
)


def odd_inputs(
    material: Material, run: Path, folder: Path, count: int, draw: random.Random
) -> list[dict[str, Any]]:
    """So many, shared out over the kinds of input there are; what came of them, counted."""
    kinds = {
        "option values": (0.35, _options(draw)),
        "manifests and lists": (0.25, _manifests(folder, draw)),
        "data sets in Arrow and AudioFolder": (0.1, _data_sets(folder, draw)),
        "paths": (0.1, _paths(draw)),
        "records of a run": (0.1, _records(run, folder, draw)),
        "model folders": (0.1, _models(material, folder, draw)),
    }
    found = []
    for name, (share, cases) in kinds.items():
        seen = {
            "input": name,
            "cases": 0,
            "taken": 0,
            "refused": 0,
            "tracebacks": 0,
            "long messages": 0,
        }
        for _ in range(round(share * count)):
            case = next(cases)
            seen["cases"] += 1
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    case()
                seen["taken"] += 1
            except UserError as error:
                seen["refused"] += 1
                seen["long messages"] += len(str(error)) > MOST_CHARACTERS or "\n" in str(error)
            except Exception:
                seen["tracebacks"] += 1
                print(name, traceback.format_exc()[-900:])
        found.append(seen)
    return found


Case = Callable[[], object]


def _options(draw: random.Random) -> Iterator[Case]:
    from myqasr.cli.terminal.rules import rules_of, seconds_of
    from myqasr.cli.terminal.selection import selection_of
    from myqasr.exporters.target import load_target
    from myqasr.personalize.planning.budget import parse_budget
    from myqasr.personalize.planning.plan import QuantSpec
    from myqasr.runtime_bench.results.protocol import TimingOptions
    from myqasr.runtime_bench.runners.records import record_of

    while True:
        text = (
            draw.choice(TEXTS) if draw.random() < 0.5 else _garbled(draw.choice(TEXTS[:30]), draw)
        )
        number = draw.choice([0, -1, 1, 10**30, 0.5, float("nan"), float("inf")])
        yield draw.choice(
            [
                lambda text=text: parse_budget(text, 1_000_000),
                lambda text=text: QuantSpec.from_label(text),
                lambda text=text: rules_of(text, [text], "", None, False),
                lambda text=text: rules_of("", None, text, None, False),
                lambda text=text: seconds_of(text),
                lambda text=text: selection_of(text, text, text, text),
                lambda text=text: load_target(text),
                lambda text=text: record_of(text),
                lambda number=number: TimingOptions(seconds=number),  # type: ignore[misc]
            ]
        )


def _garbled(text: str, draw: random.Random) -> str:
    letters = list(text)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(letters) + 1)
        letters[at:at] = [draw.choice("0123456789.xMB=-*[]{}\"',;\\/é\x00 \n")]
    return "".join(letters)


def _manifests(folder: Path, draw: random.Random) -> Iterator[Case]:
    from myqasr.api import find_clips

    place = folder / "manifests"
    place.mkdir(exist_ok=True)
    while True:
        name = draw.choice(["a.csv", "a.tsv", "a.json", "a.jsonl", "a.txt", "a.lst", "a.zip"])
        entry = {"audio_filepath": "a.wav", "text": "a", "duration": 1.0, "offset": 0.0}
        entry[draw.choice(list(entry))] = draw.choice(VALUES)
        body = draw.choice(
            [
                "path,text,speaker\n" + ",".join(_garbled("a.wav", draw) for _ in range(4)) + "\n",
                json.dumps(entry) + "\n",
                _garbled("a.wav\n# b\nc.flac\n", draw) + "n" * draw.choice([0, 400]) + ".wav",
                "[" * draw.choice([1, 100_000]),
                "path\n" + '"' + "x" * draw.choice([1, 200_000]),
            ]
        ).encode(errors="replace")
        if draw.random() < 0.3:
            body = bytes(draw.randrange(256) for _ in range(draw.randrange(60)))

        def case(path: Path = place / name, body: bytes = body) -> None:
            path.write_bytes(body)
            find_clips(path)

        yield case


def _data_sets(folder: Path, draw: random.Random) -> Iterator[Case]:
    from myqasr.api import find_clips

    place = folder / "set"
    while True:
        value = draw.choice(VALUES)
        entries = (value, [value], [{"filename": value}])
        files = {
            "dataset_dict.json": {"splits": draw.choice(VALUES)},
            "state.json": {"_data_files": draw.choice(entries)},
            "metadata.jsonl": {"file_name": draw.choice(VALUES), "text": draw.choice(VALUES)},
            "dataset_info.json": {"features": draw.choice(VALUES)},
        }
        chosen = draw.sample(list(files), draw.randrange(1, 4))
        raw = draw.choice([None, None, b"", b"5", b"\xff", b"[" * 50_000])

        def case(names: Any = tuple(chosen), files: Any = files, raw: bytes | None = raw) -> None:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            for name in names:
                body = json.dumps(files[name]).encode() if raw is None else raw
                (place / name).write_bytes(body)
            find_clips(place)

        yield case


def _paths(draw: random.Random) -> Iterator[Case]:
    from myqasr import api
    from myqasr.core.placing import check_place

    while True:
        text = draw.choice(
            [
                "n" * 256,
                "n" * 5_000,
                "/dev/null",
                "/dev/null/x",
                "/proc/x/y",
                "é" * 200,
                "a\x00b",
                "",
                "\udcff",
                "/",
            ]
        )
        yield draw.choice(
            [
                lambda text=text: api.load_model(text),
                lambda text=text: api.export(text),
                lambda text=text: api.bench(text, text),
                lambda text=text: api.transcribe(text, text),
                lambda text=text: api.inspect(text),
                lambda text=text: api.personalize_model(text, text, budget="4MB", out=text),
                lambda text=text: api.outside_errors()(check_place)(Path(text)),
            ]
        )


def _records(run: Path, folder: Path, draw: random.Random) -> Iterator[Case]:
    """Records that say the right hash of a wrong content."""
    from myqasr.core.storage import load_record, save_record
    from myqasr.exporters.manifest import Manifest
    from myqasr.personalize.planning.plan import Plan, Profile
    from myqasr.personalize.run_folder import MeasuredOverhead, RunSettings
    from myqasr.runtime_bench.results.report import load_report

    kinds: dict[str, type] = {
        "profile.json": Profile,
        "plan.xnnpack.json": Plan,
        "run.json": RunSettings,
        "overhead.xnnpack.json": MeasuredOverhead,
        "exports/manifest.json": Manifest,
    }
    place = folder / "record.json"
    report = next((run / "bench").glob("*.json"))
    while True:
        name = draw.choice([*kinds, "report"])
        held = json.loads((report if name == "report" else run / name).read_text())
        held.pop("sha256")
        spot, key = _somewhere(held, draw)
        value = draw.choice(VALUES)
        if not isinstance(value, float) or math.isfinite(value):
            spot[key] = value

        def case(held: Any = held, name: str = name) -> None:
            save_record(held, place)
            if name == "report":
                load_report(place)
            else:
                load_record(place, kinds[name])

        yield case


def _somewhere(held: Any, draw: random.Random) -> tuple[Any, Any]:
    """A container in nested data, and a key of it."""
    while True:
        keys = list(held) if isinstance(held, dict) else list(range(len(held)))
        key = draw.choice(keys)
        inner = held[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.3:
            return held, key
        held = inner


def _models(material: Material, folder: Path, draw: random.Random) -> Iterator[Case]:
    from myqasr.api import load_model

    place = folder / "odd model"
    names = (
        "config.json",
        "vocab.json",
        "preprocessor_config.json",
        "model.safetensors",
        "sha256.json",
    )
    while True:
        name = draw.choice(names)
        path = material.model / name
        data = bytearray(path.read_bytes()) if path.is_file() else bytearray(b"{}")
        kind = draw.choice(["value", "value", "raw", "bit", "cut"])
        if kind == "value" and name.endswith(".json"):
            held = json.loads(data)
            held[draw.choice([*held, "architectures"])] = draw.choice(VALUES[:4] + VALUES[6:])
            data = bytearray(json.dumps(held).encode())
        elif kind == "raw":
            data = bytearray(draw.choice(NO_JSON))
        elif kind == "bit":
            data[draw.randrange(min(len(data), 2_000))] ^= 1 << draw.randrange(8)
        else:
            del data[draw.randrange(len(data)) :]

        def case(name: str = name, data: bytes = bytes(data)) -> None:
            if not place.exists():
                shutil.copytree(material.model, place)
            (place / name).write_bytes(data)
            try:
                load_model(place)
            finally:
                shutil.rmtree(place)

        yield case
