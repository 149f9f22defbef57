"""Whisper as OpenAI publishes it: a `.pt` of weights and sizes (openai/whisper, model.py), no tokenizer."""

import importlib.util
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from myqasr.core.errors import ModelError

_NAMES = (
    (r"^(encoder|decoder)\.blocks\.", r"\1.layers."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.attn\.", ".self_attn."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"\.out\.", ".out_proj."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"^encoder\.ln_post\.", "encoder.layer_norm."),
    (r"^decoder\.ln\.", "decoder.layer_norm."),
    (r"^decoder\.token_embedding\.", "decoder.embed_tokens."),
    (r"\.positional_embedding$", ".embed_positions.weight"),
)
"""Parts of OpenAI's names -> of transformers'."""


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Sizes as OpenAI names them, and weights by their names in transformers, float32.

    Only tensors and plain values are read: a file that would run code is refused. Raises ModelError naming
    the file when it is no Whisper.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        sizes, stored = dict(held["dims"]), dict(held["model_state_dict"])
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ModelError(
            f"{path} can't be read: it is cut off, damaged, or holds more than weights; fetch it again"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path} is not one of OpenAI's Whisper files: no {error}; load other checkpoints with the class "
            "that they were trained with, and pass what model.save_pretrained(folder) writes"
        ) from error
    return sizes, {f"model.{_renamed(name)}": tensor.float() for name, tensor in stored.items()}


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def listed_tokens(multilingual: bool) -> Path | None:
    """The file of an installed openai-whisper that lists its tokens; None without one."""
    file = "multilingual.tiktoken" if multilingual else "gpt2.tiktoken"
    found = importlib.util.find_spec("whisper")
    places = (found.submodule_search_locations or ()) if found is not None else ()
    paths = [Path(place) / "assets" / file for place in places]
    return next((path for path in paths if path.is_file()), None)
