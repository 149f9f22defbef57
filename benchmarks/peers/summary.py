"""One row for each system over all speakers: bytes, word errors, same text, time and memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.peers.clips import TestClip
from benchmarks.peers.systems import CTRANSLATE2, FLOAT, WHISPER_CPP
from benchmarks.peers.turns import Heard, Kept
from myqasr.core.statistics import Interval, rate_difference, time_ratio
from myqasr.runtime_bench.results.quality import agreement
from myqasr.speech.normalizers import normalizer
from myqasr.speech.scoring import ErrorCounts, utterance_word_errors

AGAINST = (CTRANSLATE2, WHISPER_CPP["q5_0"])
"""Systems that times are held against."""

Bounds = tuple[float, float, float]
Speakers = Mapping[str, tuple[Sequence[TestClip], Mapping[str, Kept]]]
"""By speaker: the clips, and what each system did with them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One system. size_bytes: mean over speakers. wer, more_than_float: value and bounds of resampled clips.

    same_text: share of clips whose text is the float model's, both normalised. time_over: relative to each
    of `AGAINST`, in the same session. cpu_rtf: by CPU time, which programs beside it don't stretch.
    peak_rss_bytes: of the whole process, the most of all speakers; baseline_rss_bytes: of that, before
    loading. others_share: of the core, taken by others, at worst.
    """

    system: str
    version: str
    size_bytes: float | None
    clips: int
    word_errors: int
    words: int
    wer: Bounds
    more_than_float: Bounds
    same_text: float
    rtf: float
    cpu_rtf: float
    time_over: dict[str, Bounds]
    peak_rss_bytes: int
    baseline_rss_bytes: int
    others_share: float


def rows(speakers: Speakers, normalize: str) -> list[Row]:
    """Systems that every speaker has, in their order."""
    first, *others = (list(kept) for _, kept in speakers.values())
    shared = [name for name in first if all(name in other for other in others)]
    scored = {name: _errors(speakers, name, normalize) for name in shared}
    return [_row(speakers, name, scored, normalize) for name in shared]


def by_speaker(speakers: Speakers, normalize: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Word errors and words of each system, by speaker."""
    found: dict[str, dict[str, tuple[int, int]]] = {}
    for speaker, (clips, kept) in speakers.items():
        one = {speaker: (clips, kept)}
        found[speaker] = {}
        for name in kept:
            counts = _errors(one, name, normalize)
            wrong = sum(each.errors for each in counts)
            found[speaker][name] = wrong, sum(each.reference_length for each in counts)
    return found


def _row(
    speakers: Speakers, name: str, scored: Mapping[str, list[ErrorCounts]], normalize: str
) -> Row:
    counts, kept = scored[name], [done[name] for _, done in speakers.values()]
    errors = [each.errors for each in counts]
    lengths = [each.reference_length for each in counts]
    expected = [each.errors for each in scored[FLOAT]]
    sizes = [done.size_bytes for done in kept if done.size_bytes is not None]
    made_same = normalizer(normalize)
    texts, floats = (
        [made_same(heard.text) for _, heard in _heard(speakers, each)] for each in (name, FLOAT)
    )
    audio = sum(clip.seconds for clip, _ in _heard(speakers, name))
    return Row(
        system=name,
        version=kept[0].version,
        size_bytes=sum(sizes) / len(sizes) if sizes else None,
        clips=len(counts),
        word_errors=sum(errors),
        words=sum(lengths),
        wer=_bounds(rate_difference(errors, [0] * len(errors), lengths)),
        more_than_float=_bounds(rate_difference(errors, expected, lengths)),
        same_text=agreement(texts, floats),
        rtf=sum(median(heard.seconds) for _, heard in _heard(speakers, name)) / audio,
        cpu_rtf=sum(median(heard.cpu_seconds) for _, heard in _heard(speakers, name)) / audio,
        time_over={
            against: ratio
            for against in AGAINST
            if against in scored and (ratio := _ratio(speakers, name, against)) is not None
        },
        peak_rss_bytes=max(done.peak_rss_bytes or 0 for done in kept),
        baseline_rss_bytes=max(done.baseline_rss_bytes or 0 for done in kept),
        others_share=max(done.others_share for done in kept),
    )


def _heard(speakers: Speakers, name: str) -> list[tuple[TestClip, Heard]]:
    return [
        (clip, kept[name].clips[clip.name]) for clips, kept in speakers.values() for clip in clips
    ]


def _errors(speakers: Speakers, name: str, normalize: str) -> list[ErrorCounts]:
    pairs = _heard(speakers, name)
    texts, heard = [clip.text for clip, _ in pairs], [each.text for _, each in pairs]
    return utterance_word_errors(texts, heard, normalizer(normalize))


def _ratio(speakers: Speakers, name: str, against: str) -> Bounds | None:
    """Time relative to another system's, over the runs in which the two took turns."""
    pairs = zip(_heard(speakers, name), _heard(speakers, against), strict=True)
    same = [(one, other) for (_, one), (_, other) in pairs if one.session == other.session]
    if not same:
        return None
    times = [seconds for one, _ in same for seconds in one.seconds]
    return _bounds(time_ratio(times, [seconds for _, other in same for seconds in other.seconds]))


def _bounds(interval: Interval) -> Bounds:
    return interval.value, interval.low, interval.high
