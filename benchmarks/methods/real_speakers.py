"""The main job on real people: four reserved LibriSpeech speakers, two men and two women.

python -m benchmarks.methods.real_speakers [--budget 0.2x]

The same three commands a user types, for each speaker; needs $MYQASR_SPEECH or ../shared/speech.
Controls of the same run: the float file and the uniform ones.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.results import BUILD, ROOT, save_result
from myqasr.exporters.command import export_controls
from myqasr.exporters.target import load_target
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.measure.bench import BenchOptions
from myqasr.runtime_bench.measure.run_bench import (
    bench_files,
    exported_files,
    held_out_recordings,
    model_systems,
)
from myqasr.runtime_bench.results.report import BenchReport
from myqasr.runtime_bench.runners.exported import exported_file
from myqasr.speech.datasets import find_clips

SPEAKERS = {"1272": "M", "174": "M", "1462": "F", "84": "F"}
MAX_SECONDS = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="0.2x")
    parser.add_argument("--clips", default="32")
    options = parser.parse_args()
    speech = Path(os.environ.get("MYQASR_SPEECH", ROOT.parent / "shared" / "speech"))
    if not speech.is_dir():
        sys.exit(f"no speech at {speech}; set MYQASR_SPEECH to the folder with libri/")
    rows = []
    for speaker, gender in SPEAKERS.items():
        report = bench_speaker(speech / "libri" / speaker, options.budget, options.clips)
        for system in report.systems:
            words = system.words
            rows.append(
                {
                    "speaker": speaker,
                    "gender": gender,
                    "system": system.name,
                    "size_bytes": system.size_bytes,
                    "word_errors": None if words is None else words.errors,
                    "words": None if words is None else words.reference_length,
                    "wer": None if words is None else words.rate,
                    "agreement": system.agreement,
                    "rtf": None if system.latency is None else system.latency.rtf,
                    "clips": len(report.utterances),
                    "seconds": report.audio_seconds,
                    "problems": list(report.problems),
                }
            )
            print(rows[-1], flush=True)
    print(save_result("real_speakers", "python -m benchmarks.methods.real_speakers", rows))


def bench_speaker(audio: Path, budget: str, clips: str) -> BenchReport:
    """The user's commands, then the controls and the personalised file in one benchmark."""
    out = BUILD / f"libri-{audio.name}"
    myqasr = [sys.executable, "-m", "myqasr.cli.main"]
    subprocess.run(
        [
            *myqasr, "personalize", "default", str(audio), "--budget", budget,
            "--out", str(out), "--clips", clips,
        ],
        cwd=ROOT,
        check=True,
    )  # fmt: skip
    subprocess.run([*myqasr, "export", str(out)], cwd=ROOT, check=True)
    run, target = RunFolder(out), load_target("xnnpack")
    controls = export_controls(
        "default", run.load_measurement(), target, out / "controls", MAX_SECONDS, print
    )
    settings = run.load_settings()
    files = [exported_file(item.path, name) for name, item in controls.items()]
    files += [exported_file(path, "personalised") for path, _ in exported_files(run, "xnnpack")]
    heard = held_out_recordings(settings, find_clips(audio), None)
    systems = [*model_systems(run), *(item.system for item in files)]
    report, _ = bench_files(run, systems, files, heard, BenchOptions())
    return report


if __name__ == "__main__":
    main()
