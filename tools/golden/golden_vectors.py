"""Golden vectors that Python and the phone app's `core/` share: one JSON file, checked by both.

clips: offline decoding of default users' clips by the default model in float: logits as int16 in steps of
1/256 (base64, little-endian), text, words with confidence, word and character errors. audio_hash: over the
clips' samples as 16-bit WAV files. scoring: difficult pairs of texts. latency: timings and their figures.
statistics: quantiles and trimmed means. sessions: clips spoken one after the other into the app, and the text
of decoding them offline. requests: what the model said to each input that these sessions gave it, as recorded
on the JVM (RecordRequests.java): best token and its posterior in 255ths.
"""

import base64
import json
import math
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from myqasr.core.storage import converter
from myqasr.runtime_bench.results.protocol import summarize
from myqasr.speech.decoding import Tokens, greedy_text
from myqasr.speech.scoring import (
    ErrorCounts,
    character_errors,
    normalize_text,
    utterance_word_errors,
    word_errors,
)

GOLDEN_PATH = Path(__file__).parents[2] / "android_demo/core/src/test/resources/golden.json"
LOGIT_STEP = 1 / 256
PRINTS = 8
PAIRS = (
    ("the cat sat on the mat", "the cat sat on the mat"),
    ("the cat sat", ""),
    ("a b c d", "b c d a"),
    ("one two three four", "one three two four five"),
    ("to be or not to be", "not to be or to be"),
    ("x x y x", "y x x"),
    ("It's nine o'clock!", "its nine o clock"),
    ("Don’t—stop", "don't stop"),
    ("Straße", "STRASSE"),
    ("ΟΔΟΣ ὁδός", "οδοσ ὁδόσ"),
    ("ﬁne Ⅳ ½", "fine iv 1⁄2"),
    ("caf\u0065\u0301 na\u00efve", "café naïve"),
    ("３ ｃａｔｓ", "3 cats"),
    ("日本語 テキスト", "日本語テキスト"),
    ("'tis the boys' club", "tis the boys club"),
    ("zero one", "ZERO, one... two"),
)


def packed(values: NDArray[Any]) -> str:
    """Little-endian bytes as base64."""
    return base64.b64encode(values.astype(values.dtype.newbyteorder("<")).tobytes()).decode()


def unpacked_logits(text: str, vocab: int) -> NDArray[np.float32]:
    """Logits [frames, vocab] of a clip entry."""
    values = np.frombuffer(base64.b64decode(text), "<i2").astype(np.float32) * LOGIT_STEP
    return values.reshape(-1, vocab)


def word_confidences(logits: NDArray[np.float32], tokens: Tokens) -> list[tuple[str, float]]:
    """Words of CTC's best path, each with the geometric mean of its tokens' posteriors.

    logits: [frames, vocab]. A token's posterior is the highest of the frames in a row that it is best in.
    Written for models whose tokens are letters and a delimiter, apart from what the app does.
    """
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    posteriors = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    best = posteriors.argmax(axis=1)
    edges = [0, *(np.flatnonzero(np.diff(best)) + 1), len(best)]
    words: list[tuple[str, list[float]]] = [("", [])]
    for start, stop in pairwise(edges):
        token = int(best[start])
        symbol = tokens.symbols[token]
        if symbol == " ":
            words.append(("", []))
        elif token != tokens.blank and len(symbol) == 1:
            text, logs = words[-1]
            highest = float(posteriors[start:stop, token].max())
            words[-1] = (text + symbol, [*logs, math.log(highest)])
    return [(text, math.exp(sum(logs) / len(logs))) for text, logs in words if text]


def counts(errors: ErrorCounts) -> list[int]:
    """Substitutions, insertions, deletions, reference length."""
    return [errors.substitutions, errors.insertions, errors.deletions, errors.reference_length]


def clip_entry(clip: str, reference: str, logits: NDArray[np.float32], tokens: Tokens) -> Any:
    """Everything of a clip that both sides work out from the stored logits."""
    stored = np.clip(np.rint(logits / LOGIT_STEP), -32768, 32767).astype(np.int16)
    kept = stored.astype(np.float32) * LOGIT_STEP
    text = greedy_text(kept, tokens)
    return {
        "clip": clip,
        "reference": reference,
        "text": text,
        "confidences": [round(value, 6) for _, value in word_confidences(kept, tokens)],
        "words": counts(utterance_word_errors([reference], [text])[0]),
        "characters": counts(character_errors([reference], [text])),
        "logits": packed(stored),
    }


def scoring_entries() -> list[Any]:
    """Pairs of texts, their normal forms and errors."""
    draw = np.random.default_rng(8)
    pairs = list(PAIRS)
    for _ in range(40):
        reference = draw.choice(list("abcd"), draw.integers(1, 12))
        hypothesis = draw.choice(list("abcd"), draw.integers(0, 12))
        pairs.append((" ".join(reference), " ".join(hypothesis)))
    return [
        {
            "reference": reference,
            "hypothesis": hypothesis,
            "normal": [normalize_text(reference), normalize_text(hypothesis)],
            "words": counts(utterance_word_errors([reference], [hypothesis])[0]),
            "characters": counts(character_errors([reference], [hypothesis])),
        }
        for reference, hypothesis in pairs
    ]


def statistics_entries() -> list[Any]:
    """Lists of numbers with their quantiles and 20 % trimmed mean."""
    draw = np.random.default_rng(9)
    lists = [[3.0], [1.0, 2.0], [5.0, 5.0, 5.0, 1.0, 9.0]]
    lists += [[round(float(x), 6) for x in draw.gamma(2, 3, n)] for n in (7, 10, 49, 50)]
    shares = [0, 0.1, 0.25, 0.5, 0.9, 0.99, 1]
    return [
        {
            "values": values,
            "shares": shares,
            "quantiles": [float(np.quantile(values, share)) for share in shares],
            "trimmed_mean": float(trim_mean(values, 0.2)),
        }
        for values in lists
    ]


def latency_entry() -> Any:
    """Turns (one utterance timed less often, one never) with their seconds, and what comes of them."""
    draw = np.random.default_rng(10)
    audio_seconds = [1.5, 2.25, 4.0, 3.1, 2.0]
    turns = [*range(4)] * 5 + [0, 1, 2]
    times = [round(0.02 * audio_seconds[turn] * float(draw.gamma(20, 1 / 20)), 9) for turn in turns]
    return {
        "turns": turns,
        "seconds": times,
        "audio_seconds": audio_seconds,
        "expected": asdict(summarize(turns, times, audio_seconds)),
    }


def request_entry(features: NDArray[np.float32], logits: NDArray[np.float32]) -> Any:
    """What the model said to one input; `print` are the features at eight places, evenly spread."""
    places = [i * (len(features) - 1) // (PRINTS - 1) for i in range(PRINTS)]
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    highest = (exponents / exponents.sum(axis=1, keepdims=True)).max(axis=1)
    return {
        "samples": len(features),
        "print": [round(float(features[place]), 4) for place in places],
        "ids": packed(logits.argmax(axis=1).astype(np.uint8)),
        "posteriors": packed(np.rint(255 * highest).astype(np.uint8)),
    }


def load_golden() -> Any:
    """The golden file as plain data."""
    return json.loads(GOLDEN_PATH.read_text(encoding="utf-8"))


def golden_tokens(golden: Any) -> Tokens:
    """The golden file's tokens."""
    return converter.structure(golden["tokens"], Tokens)


def total_wer(golden: Any) -> float:
    """WER of all clips together, from their texts."""
    return word_errors(
        [entry["reference"] for entry in golden["clips"]],
        [entry["text"] for entry in golden["clips"]],
    ).rate
