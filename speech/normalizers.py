"""What counts as the same text: the normalisations that word errors can be taken after.

`whisper-english` and `whisper-basic` are those of Radford et al., ICML 2023, appendix C: what published
word errors of Whisper and of its rivals were taken after. The English one writes numbers in digits, spells
British words the American way and drops "uh"; both come from the package `whisper-normalizer`.
"""

import functools
from collections.abc import Callable

from myqasr.core.errors import NotInstalledError, UserError
from myqasr.speech.scoring import Normalize, normalize_text

DEFAULT_NORMALIZER = "default"
WHISPER_ENGLISH = "whisper-english"


def normalizer(name: str) -> Normalize:
    """The normalisation of that name: text in, the words that are compared out, single spaces between.

    Raises UserError listing the known names, NotInstalledError when it needs an extra.
    """
    if name not in NORMALIZERS:
        raise UserError(f"unknown normalizer {name!r}; known: {', '.join(NORMALIZERS)}")
    return _made(name)


@functools.cache
def _made(name: str) -> Normalize:
    return NORMALIZERS[name]()


def _whisper_english() -> Normalize:
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise _missing(WHISPER_ENGLISH) from error
    return _single_spaced(EnglishTextNormalizer())


def _whisper_basic() -> Normalize:
    try:
        from whisper_normalizer.basic import BasicTextNormalizer
    except ImportError as error:
        raise _missing("whisper-basic") from error
    return _single_spaced(BasicTextNormalizer())


def _missing(name: str) -> NotInstalledError:
    return NotInstalledError(
        f"normalizer {name} needs whisper-normalizer", "pip install 'myqasr[whisper-normalizer]'"
    )


def _single_spaced(normalize: Callable[[str], str]) -> Normalize:
    return lambda text: " ".join(normalize(text).split())


NORMALIZERS: dict[str, Callable[[], Normalize]] = {
    DEFAULT_NORMALIZER: lambda: normalize_text,
    WHISPER_ENGLISH: _whisper_english,
    "whisper-basic": _whisper_basic,
    "none": lambda: _single_spaced(str),
}
"""Name -> what makes the normalisation."""
