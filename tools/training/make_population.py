"""What the embedded model's precisions cost speakers in general: `speech/default_model/population.json`.

    python -m tools.training.make_population

Measured on the first clips of all embedded users. To be made again with every release of the weights.
"""

from pathlib import Path

from myqasr.core.storage import save_record
from myqasr.exporters.target import measured_together
from myqasr.personalize.measuring.sensitivity import ProfileOptions, measure
from myqasr.personalize.prior import POPULATION
from myqasr.speech.datasets import audio_hash, find_clips, read_clips
from myqasr.speech.models import load_model

USERS = Path("speech/default_users")
CLIPS_A_USER = 8
ASKED = "coreml"  # so that the prior has the costs of every target's precisions


def main() -> None:
    """Measure and write."""
    clips = [
        clip
        for user in sorted(path for path in USERS.iterdir() if path.is_dir())
        for clip in find_clips([user / "tune"])[:CLIPS_A_USER]
    ]
    recordings, _ = read_clips(clips)
    waveforms = [recording.waveform for recording in recordings]
    options = ProfileOptions(label_draws=2 * len(waveforms))
    measured = measure(
        load_model("default"),
        waveforms,
        measured_together(ASKED).menu,
        measured_together(ASKED).scale_dtype,
        audio_hash(recordings),
        options,
    )
    save_record(measured.profile, POPULATION)
    print(f"{measured.profile.seconds:.0f} s of {len(recordings)} clips in {POPULATION}")


if __name__ == "__main__":
    main()
