"""How a checkpoint's decoding starts and ends, as its own files say, in transformers' order.

generation_config.json's `task` and `language` come first; without either, its `forced_decoder_ids`, then
those of config.json, as fine-tuning wrote them until 2024 (transformers, `_retrieve_init_tokens` in
generation_whisper.py). What can't be followed is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import Autoregression
from myqasr.speech.models.whisper.unheeded import unheeded
from myqasr.speech.models.whisper.vocabulary import (
    ENGLISH,
    LANGUAGES,
    Vocabulary,
    language_code,
    not_speech,
)

LANGUAGE = "en"
MAX_TOKENS = 448
TASKS = ("transcribe", "translate")
FIRST_TASK = "transcribe"
FIRST_START = 50_257
"""The start token's id in English-only vocabularies of OpenAI's."""


@dataclass(frozen=True, slots=True)
class Writing:
    """How a checkpoint wants its text written. None where its files don't say.

    language, task: that it is told. suppressed, suppressed_first: ids never written, and not at first.
    max_new: most ids beside the prompt. ends: ids, any of which ends the text; ends_silently: it
    isn't written. unheeded: see `Tokens`.
    """

    multilingual: bool
    language: str | None = None
    suppressed: tuple[int, ...] | None = None
    suppressed_first: tuple[int, ...] | None = None
    max_tokens: int = MAX_TOKENS
    task: str = FIRST_TASK
    max_new: int | None = None
    ends: tuple[int, ...] = ()
    ends_silently: bool = True
    unheeded: tuple[str, ...] = ()


def is_multilingual(vocabulary: Vocabulary) -> bool:
    """Whether a vocabulary is that of models that are told a language.

    English-only ones list the languages, too, but start one id earlier: with 50257, right behind the text.
    """
    start = vocabulary.id_of("startoftranscript")
    counted = len(vocabulary.names) - len(vocabulary.unused)
    # A multilingual one that leaves an id out has as many tokens as an English one: the start tells.
    if start == FIRST_START or (start != FIRST_START + 1 and counted == ENGLISH):
        return False
    return any(vocabulary.id_of(code) is not None for code in LANGUAGES)


def writing_of(config: Any, generation: Any, vocabulary: Vocabulary, model_id: str) -> Writing:
    """As generation_config.json, or an older config.json, says.

    Raises ModelError for what can't be followed.
    """
    start = vocabulary.id_of("startoftranscript")
    for told in (generation.decoder_start_token_id, config.decoder_start_token_id):
        if told is not None and start is not None and told != start:
            raise ModelError(
                f"{model_id}: decoding starts with id {told}, the tokenizer's <|startoftranscript|> is "
                f"{start}; put the model's own tokenizer there"
            )
    stamps = vocabulary.id_of("notimestamps")
    told = getattr(generation, "no_timestamps_token_id", None)
    if told is not None and stamps is not None and told != stamps:
        raise ModelError(
            f"{model_id}: generation_config.json has no_timestamps_token_id {told}, the tokenizer's "
            f"<|notimestamps|> is {stamps}; put the model's own tokenizer there"
        )
    if getattr(generation, "return_timestamps", None):
        raise ModelError(
            f"{model_id}: generation_config.json asks for timestamps, which aren't written; set "
            "return_timestamps to false there if its text is what you want"
        )
    task, language = getattr(generation, "task", None), getattr(generation, "language", None)
    if task is None and language is None:
        task, language = _forced(config, generation, vocabulary, model_id)
    if task is not None and task not in TASKS:
        raise ModelError(
            f"{model_id}: generation_config.json names the task {task!r}; Whisper has {', '.join(TASKS)}"
        )
    if language is not None and not isinstance(language, str):
        raise ModelError(
            f"{model_id}: generation_config.json names {language!r} as language; name one"
        )
    outputs = len(vocabulary.names)
    return Writing(
        multilingual=_multilingual(generation, vocabulary, model_id),
        language=language,
        suppressed=existing(generation.suppress_tokens, outputs),
        suppressed_first=existing(generation.begin_suppress_tokens, outputs),
        task=task or FIRST_TASK,
        # transformers doesn't count the prompt among the tokens of a max_length.
        max_new=generation.max_new_tokens or generation.max_length,
        ends=existing(_listed(generation.eos_token_id), outputs) or (),
        # transformers takes the end off the text where it is one id, and leaves it there where it is listed.
        ends_silently=not isinstance(generation.eos_token_id, list),
        unheeded=unheeded(generation),
    )


def autoregression(
    vocabulary: Vocabulary, writing: Writing, model_id: str, language: str | None
) -> Autoregression:
    """Prompt for a text without timestamps, and the tokens that generation leaves out.

    Raises ModelError when the vocabulary lacks a token that the prompt needs.
    """

    def token(name: str) -> int:
        found = vocabulary.id_of(name)
        if found is None:
            raise ModelError(
                f"{model_id}: the tokenizer has no token <|{name}|>; pass a folder with Whisper's own"
            )
        return found

    prompt = [token("startoftranscript")]
    if writing.multilingual:
        spoken = language_code(language or writing.language or LANGUAGE, model_id)
        prompt += [token(spoken), token(writing.task)]
    elif language is not None and language_code(language, model_id) != LANGUAGE:
        raise ModelError(
            f"{model_id} hears English only; use a multilingual Whisper for {language}"
        )
    elif writing.task != FIRST_TASK or writing.language not in (None, *_ENGLISH):
        raise ModelError(
            f"{model_id}: an English-only model can't {writing.task} into {writing.language or LANGUAGE}; "
            "take language and task out of generation_config.json"
        )
    prompt.append(token("notimestamps"))
    end, *more_ends = writing.ends or (token("endoftext"),)
    never, first = writing.suppressed, writing.suppressed_first
    space = [index for index, name in enumerate(vocabulary.names[:1024]) if name == "Ġ"]
    limit = writing.max_tokens
    if writing.max_new is not None:
        limit = min(limit, len(prompt) + writing.max_new)
    listed = not_speech(vocabulary.names) if never is None else never
    return Autoregression(
        prompt=tuple(prompt),
        end=end,
        max_tokens=limit,
        suppressed=tuple(sorted({*listed, *vocabulary.unused})),
        suppressed_first=(*space, end) if first is None else first,
        more_ends=tuple(more_ends),
    )


_ENGLISH = ("en", "english", "English", "<|en|>")


def _multilingual(generation: Any, vocabulary: Vocabulary, model_id: str) -> bool:
    """Of the vocabulary; the setting, which may be missing, may not say otherwise."""
    found = is_multilingual(vocabulary)
    said = getattr(generation, "is_multilingual", None)
    if said is False and vocabulary.id_of("startoftranscript") not in (
        FIRST_START,
        FIRST_START + 1,
    ):
        return False  # not OpenAI's tokens: nothing but the setting tells
    if said is not None and bool(said) != found:
        what = "several languages" if found else "English only"
        raise ModelError(
            f"{model_id}: generation_config.json says is_multilingual {said}, its tokens are those of a "
            f"model for {what}; put the right generation_config.json there"
        )
    return found


def _forced(
    config: Any, generation: Any, vocabulary: Vocabulary, model_id: str
) -> tuple[str | None, str | None]:
    """Task and language of `forced_decoder_ids`."""
    forced = getattr(generation, "forced_decoder_ids", None)
    if forced is None:
        forced = getattr(config, "forced_decoder_ids", None)
    task = language = None
    for place, index in forced or ():
        if index is None or not 0 <= index < len(vocabulary.names):
            continue  # the language is found out
        name = vocabulary.names[index].strip("<|>")
        if name in LANGUAGES and place == 1:
            language = name
        elif name in TASKS:
            task = name
        elif name != "notimestamps":
            raise ModelError(
                f"{model_id}: forced_decoder_ids has <|{name}|> at {place}; what is read there is a "
                "language, a task and <|notimestamps|>: name `language` and `task` in "
                "generation_config.json instead"
            )
    return task, language


def _listed(told: int | Sequence[int] | None) -> tuple[int, ...]:
    return (told,) if isinstance(told, int) else tuple(dict.fromkeys(told or ()))


def existing(listed: Sequence[int] | None, outputs: int) -> tuple[int, ...] | None:
    """Those that exist: others do nothing."""
    return None if listed is None else tuple(index for index in listed if 0 <= index < outputs)
