"""A model of the hub as a folder here: what of it is needed, in huggingface_hub's own cache.

Every class and every check then sees a folder. Weights that transformers wouldn't read (of other frameworks,
of training, in other precisions) aren't fetched, and of adapters by language (MMS) the one that is asked for.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from myqasr.core.errors import ModelError

_SMALL = re.compile(r"[^/]+\.(json|txt|model|tiktoken)|language_model/attrs\.json")
_WEIGHTS = (
    re.compile(r"model(-\d+-of-\d+)?\.safetensors"),
    re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin"),
    re.compile(r"model\.bin"),
)
"""In transformers' order; the last is CTranslate2's."""
_ADAPTER = re.compile(r"adapter\.(?P<language>[^/]+)\.(safetensors|bin)")


def fetched(name: str, language: str | None) -> Path:
    """The folder in which the files of a hub id lie, fetched where they aren't yet.

    language: whose adapter is wanted; none: the one that the tokenizer names. Without a connection it is what
    was fetched before. Raises ModelError when there is neither.
    """
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    neither = f"{name} is neither a folder here nor a model that can be fetched from the hub"
    try:
        listed = [each.rfilename for each in HfApi().model_info(name).siblings or ()]
    except GatedRepoError as error:
        raise ModelError(
            f"{name} is on the hub for those only who agreed to its terms: do so on its page, then run "
            "`hf auth login`"
        ) from error
    except (HFValidationError, RepositoryNotFoundError) as error:
        _, address, tail = name.partition("://huggingface.co/")
        short = "/".join(tail.split("/")[:2])
        raise ModelError(f"{neither}; pass {short}" if address and short else neither) from error
    except Exception as error:  # no connection, in any of its forms
        before = try_to_load_from_cache(name, "config.json")
        if not isinstance(before, str):
            raise ModelError(f"{neither}: {error}") from error
        return Path(before).parent
    try:
        folder = Path(snapshot_download(name, allow_patterns=wanted(listed, language)))
        own = None if language is not None else _named(folder)
        if own is not None:
            snapshot_download(name, allow_patterns=[f"adapter.{own}.*"])
    except Exception as error:
        raise ModelError(f"{neither}: {error}") from error
    return folder


def wanted(listed: Iterable[str], language: str | None) -> list[str]:
    """Those of a model's files that loading it takes."""
    names = list(listed)
    found = [name for name in names if _SMALL.fullmatch(name)]
    for pattern in _WEIGHTS:
        weights = [name for name in names if pattern.fullmatch(name)]
        if weights:
            found += weights
            break
    for name in names:
        adapter = _ADAPTER.fullmatch(name)
        if adapter and language is not None and adapter["language"] == language:
            found.append(name)
    return found


def _named(folder: Path) -> str | None:
    """The language that a tokenizer's settings name."""
    try:
        held = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = held.get("target_lang") if isinstance(held, dict) else None
    return named if isinstance(named, str) else None
