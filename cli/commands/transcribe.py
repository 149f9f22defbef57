"""`myqasr transcribe`: text by the exported file itself."""

from pathlib import Path

from myqasr.cli.terminal.output import console, print_json, print_skipped, say


def run(file: Path, audio: list[Path], threads: int, as_json: bool) -> None:
    """Print a line per audio file."""
    from myqasr.api import Listener, transcribe

    listener = Listener(say, print_skipped)
    transcripts = transcribe(file, audio, threads=threads, listener=listener)
    if as_json:
        print_json(transcripts)
        return
    for transcript in transcripts:
        console.print(
            f"{transcript.file}\t{transcript.text}", markup=False, highlight=False, soft_wrap=True
        )
