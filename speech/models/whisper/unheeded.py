"""Settings of generation_config.json that greedy decoding doesn't follow: beams, sampling, penalties.

By the names and the neutral values of transformers' `GenerationConfig`.
"""

from typing import Any

from myqasr.core.errors import one_line

MOST_SHOWN = 80
"""Characters of a setting: lists of words may be long."""

_BEAMS = ("early_stopping", "length_penalty", "num_beam_groups", "diversity_penalty")
"""Do something with several beams only."""

_SAMPLING = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
"""Do something where tokens are drawn only."""

_NEUTRAL: dict[str, object] = {
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "min_length": 0,
    "min_new_tokens": 0,
    "guidance_scale": 1.0,
    "exponential_decay_length_penalty": None,
    "bad_words_ids": None,
    "force_words_ids": None,
    "constraints": None,
    "sequence_bias": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "stop_strings": None,
    "max_time": None,
    "penalty_alpha": 0.0,
    "dola_layers": None,
    "watermarking_config": None,
    "prompt_ids": None,
}


def unheeded(generation: Any) -> tuple[str, ...]:
    """Each setting that would change the text, as `name value`.

    generation: a transformers GenerationConfig.
    """
    told = {name: getattr(generation, name, None) for name in _NEUTRAL}
    found = {name: value for name, value in told.items() if value not in (None, _NEUTRAL[name])}
    beams = getattr(generation, "num_beams", None) or 1
    draws = bool(getattr(generation, "do_sample", None))
    for asked, first, others in (
        (beams > 1, ("num_beams", beams), _BEAMS),
        (draws, ("do_sample", True), _SAMPLING),
    ):
        if asked:
            values = {name: getattr(generation, name, None) for name in others}
            found |= dict([first]) | {
                key: value for key, value in values.items() if value is not None
            }
    return tuple(one_line(f"{name} {value}", MOST_SHOWN) for name, value in found.items())
