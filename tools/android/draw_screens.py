"""Draw the phone app's screens from its own resources, in Debian's chromium.

    python -m tools.android.draw_screens RUN_A RUN_B CLIP docs/android

The app's layouts, strings, colours, sizes and styles become one HTML page a screen, view by view; the texts
that the app fills in are those of two exported files of runs, heard from CLIP by ExecuTorch here. RTF and
latency are this machine's. This is a drawing, not a photograph: no Android ran, and fonts and widgets are
chromium's.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from myqasr.exporters.manifest import Artifact, load_artifact
from myqasr.runtime_bench.measure.transcription import model_inputs
from myqasr.runtime_bench.runners.base import open_system
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.audio import SAMPLE_RATE, load_audio
from tools.android.screen import Resources, body, chart, confident_words
from tools.golden.golden_vectors import word_confidences

RES = Path("android_demo/app/src/main/res")
WIDTH = 360
SCALE = 1.5
LARGE_FONT = 1.6


def main() -> None:
    runs, clip, out = [Path(name) for name in sys.argv[1:3]], Path(sys.argv[3]), Path(sys.argv[4])
    out.mkdir(parents=True, exist_ok=True)
    for name, layout, night, font in (
        ("main", "activity_main", False, 1.0),
        ("main-dark", "activity_main", True, 1.0),
        ("main-large-font", "activity_main", False, LARGE_FONT),
        ("models", "activity_models", False, 1.0),
        ("benchmark", "activity_benchmark", True, 1.0),
        ("record", "activity_record", False, 1.0),
    ):
        resources = Resources.load(RES, night, font)
        filled = contents(resources, runs, clip)
        draw(body(resources, layout, filled), resources, out / f"{name}.png")


def contents(resources: Resources, runs: list[Path], clip: Path) -> dict[str, str]:
    """HTML by view id, as the activities fill it in."""
    filled: dict[str, str] = {}
    rows = []
    for place, run in zip(("first", "second"), runs, strict=True):
        path = next((run / "exports").glob("*.pte"))
        _, artifact = load_artifact(path)
        name = f"{run.name}/{path.name}"
        words, rtf, milliseconds = heard(path, clip)
        size = f"{artifact.size_bytes / 1e6:.2f} MB"
        filled[f"{place}_model"] = resources.string("model_entry", name, size)
        filled[f"{place}_name"] = name
        filled[f"{place}_text"] = confident_words(words, resources)
        filled[f"{place}_figures"] = resources.string(
            "figures",
            f"{rtf:.3f}",
            f"{milliseconds:.0f} ms",
            "–",
            size,
            f"{artifact.mean_bits:.2f}",
        )
        filled[f"{place}_chart"] = chart(
            [spec.bits for spec in artifact.layers.values()], resources
        )
        filled.setdefault("live_text", " ".join(word for word, _ in words))
        rows.append(row(resources, name, size, artifact, filled[f"{place}_chart"]))
    filled["rows"] = "".join(rows)
    filled["status"] = resources.string("added", filled["second_name"])
    filled["outcome"] = ""
    filled["prompt"] = resources.arrays["prompts"][4]
    filled["count"] = resources.string("recorded_of", 4, 12)
    return filled


def row(resources: Resources, name: str, size: str, artifact: Artifact, drawn: str) -> str:
    facts = resources.string(
        "model_facts", size, artifact.mean_bits, len(artifact.layers), artifact.target, "default"
    )
    return body(resources, "row_model", {"row_name": name, "row_facts": facts, "row_chart": drawn})


def heard(path: Path, clip: Path) -> tuple[list[tuple[str, float]], float, float]:
    """Words with confidence, RTF and milliseconds of an exported file on a clip."""
    exported = exported_file(path)
    waveform = load_audio(clip)
    features = model_inputs(waveform, exported.audio)[0]
    runner = open_system(exported.system, 1)
    runner.logits(features)
    start = time.perf_counter()
    logits = runner.logits(features)
    seconds = time.perf_counter() - start
    words = word_confidences(logits, exported.tokens)
    return words, seconds * SAMPLE_RATE / len(waveform), 1e3 * seconds


def draw(page: str, resources: Resources, out: Path) -> None:
    """Screenshot of a page, as high as it is."""
    colors = resources.colors
    document = (
        "<!doctype html><meta charset=utf-8><style>*{box-sizing:border-box}"
        f"body{{margin:0;width:{WIDTH}px;background:{colors['background']};"
        f"font-family:Roboto,'Liberation Sans'}}"
        f"</style>{page}<script>document.title=document.body.scrollHeight</script>"
    )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "screen.html")
        source.write_text(document, encoding="utf-8")
        browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        dumped = subprocess.run(
            [*browser, f"--window-size={WIDTH},640", "--dump-dom", str(source)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        match = re.search(r"<title>(\d+)</title>", dumped)
        height = max(int(match[1]) if match else 640, 640)
        subprocess.run(
            [
                *browser,
                f"--window-size={WIDTH},{height}",
                f"--force-device-scale-factor={SCALE}",
                f"--screenshot={out.absolute()}",
                str(source),
            ],
            capture_output=True,
            check=True,
        )


if __name__ == "__main__":
    main()
