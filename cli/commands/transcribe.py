"""`myqasr transcribe`: text by the exported file itself."""

from dataclasses import dataclass
from pathlib import Path

from myqasr.cli.terminal.output import console, print_json, print_skipped


@dataclass(frozen=True, slots=True)
class Transcript:
    """One audio file and what was heard in it."""

    file: str
    seconds: float
    text: str


def run(file: Path, audio: list[Path], threads: int, as_json: bool) -> None:
    """Print a line per audio file."""
    from myqasr.runtime_bench.measure.transcription import model_inputs, transcribe
    from myqasr.runtime_bench.runners.base import open_system
    from myqasr.runtime_bench.runners.exported import exported_file
    from myqasr.speech.datasets import find_clips, read_clips

    exported = exported_file(file)
    recordings, skipped = read_clips(find_clips(audio))
    print_skipped(skipped)
    runner = open_system(exported.system, threads)
    transcripts = [
        Transcript(
            str(recording.clip.path),
            round(recording.seconds, 3),
            transcribe(runner, model_inputs(recording.waveform, exported.audio), exported.tokens),
        )
        for recording in recordings
    ]
    if as_json:
        print_json(transcripts)
        return
    for transcript in transcripts:
        console.print(
            f"{transcript.file}\t{transcript.text}", markup=False, highlight=False, soft_wrap=True
        )
