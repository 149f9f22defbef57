"""ARM64 kernels against the host's on one user's files: texts, and instructions for each second of audio.

python -m benchmarks.files.arm64 [--clips 24] [--targets xnnpack,litert,tflite-runtime]

ExecuTorch, LiteRT and tflite-runtime on emulated Cortex-A53 (plain NEON) and Cortex-A76 (dot products). Every
test clip runs once on each; the first ones run again in a process of their own, for how well the counts
repeat. What is measured is kept, so that a run that was stopped goes on.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.results import BUILD, RESULTS, ROOT, load_result, save_result
from myqasr.api import plan_speaker
from myqasr.core.placing import write_bytes
from myqasr.exporters.command import export_controls
from myqasr.exporters.export import export_run
from myqasr.exporters.target import load_target
from myqasr.personalize.run_folder import RunFolder
from myqasr.runtime_bench.devices.emulator import CPUS
from myqasr.runtime_bench.measure.run_bench import held_out_recordings
from myqasr.runtime_bench.measure.transcription import model_inputs
from myqasr.runtime_bench.runners.arm64 import count_instructions
from myqasr.runtime_bench.runners.base import open_system
from myqasr.runtime_bench.runners.exported import Exported, exported_file
from myqasr.speech.audio import SAMPLE_RATE
from myqasr.speech.datasets import find_clips
from myqasr.speech.decoding import greedy_text
from myqasr.speech.models import load_model

RUN = BUILD / "demo-default"
FILES = {
    "fp32": "controls/uniform-32",
    "int8": "controls/uniform-8",
    "int4": "controls/uniform-4",
    "mixed": "exports/demo-default",
}
BUDGET, MAX_SECONDS = "0.18x", 15.0  # the demo's
HOSTS = {"xnnpack": "executorch-cpp", "litert": "litert", "tflite-runtime": "tflite-runtime"}
"""Target -> runner that its files on ARM64 are held against."""
REPEATED = 3
USER = ROOT / "speech" / "default_users" / "synth-ada" / "test"


def measure(
    name: str, file: Exported, cpu: str, inputs: list[NDArray[np.float32]]
) -> dict[str, Any]:
    """Figures of one file on one CPU model, beside the host."""
    # The first inference also sets kernels up, so it isn't counted. All others come after one of another
    # length, for which TFLite packs its weights again; the second of a pair doesn't.
    counted, found = count_instructions(file.system, cpu, [inputs[-1], *inputs])
    pairs = [features for features in inputs[:REPEATED] for _ in range(2)]
    again, _ = count_instructions(file.system, cpu, [inputs[-1], *pairs])
    count = np.array(counted.inferences[1:])
    runner = HOSTS[file.artifact.target]
    host = open_system(exported_file(Path(file.system.source), runner=runner).system, 1)
    expected = [host.logits(features) for features in inputs]
    repeated, unchanged = np.array(again.inferences[1::2]), np.array(again.inferences[2::2])
    texts = [greedy_text(logits, file.tokens) for logits in found[1:]]
    host_texts = [greedy_text(logits, file.tokens) for logits in expected]
    both = list(zip(expected, found[1:], strict=True))
    seconds = sum(len(features) for features in inputs) / SAMPLE_RATE
    return {
        "target": file.artifact.target,
        "file": name,
        "cpu": cpu,
        "size_bytes": file.artifact.size_bytes,
        "clips": len(inputs),
        "same_text": sum(one == other for one, other in zip(texts, host_texts, strict=True)),
        "frames": int(sum(len(one) for one, _ in both)),
        "same_tokens": int(sum((one.argmax(1) == two.argmax(1)).sum() for one, two in both)),
        "largest_difference": float(max(np.abs(one - two).max() for one, two in both)),
        "instructions_per_second": float(count.sum() / seconds),
        "same_length": float(unchanged.sum() / repeated.sum()),
        "load_instructions": counted.load,
        "repeats_within": float(np.abs(repeated / count[:REPEATED] - 1).max()),
    }


def write_files(targets: Sequence[str]) -> None:
    """The demo's files, and those of the other targets from the same measurement."""
    if not (RUN / "exports").is_dir():
        command = [sys.executable, "-m", "myqasr.cli.main", "demo", "--out", str(RUN)]
        subprocess.run(command, cwd=ROOT, check=True)
    folder = RunFolder(RUN)
    speaker = folder.load_measurement()
    for name in targets:
        target = load_target(name)
        if all((RUN / f"{path}{target.suffix}").is_file() for path in FILES.values()):
            continue
        export_controls("default", speaker, target, RUN / "controls", MAX_SECONDS, print)
        plan_speaker(folder, load_model("default"), speaker, budget=BUDGET, target=name)
        export_run(folder, load_model("default"), speaker, target, MAX_SECONDS, print)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--targets", default=",".join(HOSTS), help="others keep their figures")
    options = parser.parse_args()
    targets = options.targets.split(",")
    write_files(targets)
    heard = held_out_recordings(RunFolder(RUN).load_settings(), find_clips([USER]), options.clips)
    rows: list[dict[str, Any]] = []
    if (RESULTS / "arm64.json").is_file():
        rows = [row for row in load_result("arm64")["figures"] if row["target"] not in targets]
    files = [
        (name, RUN / f"{path}{load_target(target).suffix}")
        for target in targets
        for name, path in FILES.items()
    ]
    for name, path in files:
        file = exported_file(path, name)
        inputs = [
            piece
            for recording in heard.recordings
            for piece in model_inputs(recording.waveform, file.audio)
        ]
        for cpu in CPUS:
            kept = BUILD / "arm64" / f"{file.artifact.sha256[:16]}-{cpu}-{len(inputs)}.json"
            if not kept.is_file():
                row = json.dumps(measure(name, file, cpu, inputs))
                write_bytes(kept, row.encode())
            rows.append(json.loads(kept.read_text()))
            print(rows[-1], flush=True)
    print(save_result("arm64", "python -m benchmarks.files.arm64", rows))


if __name__ == "__main__":
    main()
