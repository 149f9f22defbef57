"""A transformers Whisper written as CTranslate2 and as OpenAI store it."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch

TYPES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def ctranslate2_variables(model: Any, integers: bool = False) -> dict[str, np.ndarray]:
    """Variables by CTranslate2's names; linear weights as int8 with a scale for every row, if asked for."""
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    found: dict[str, np.ndarray] = {
        "decoder/num_heads": np.array(model.config.decoder_attention_heads, np.int16),
        "decoder/activation": np.array(3, np.int8),
    }

    def weight(key: str, values: np.ndarray) -> None:
        if integers and values.ndim == 2 and "encodings" not in key:
            largest = np.abs(values).max(axis=1)
            scales = 127 / np.where(largest == 0, 1, largest)
            found[key] = np.rint(values * scales[:, None]).astype(np.int8)
            found[f"{key}_scale"] = scales.astype(np.float32)
        else:
            found[key] = values

    def stacked(key: str, prefix: str, parts: tuple[str, ...]) -> None:
        weight(
            f"{key}/weight", np.concatenate([state[f"{prefix}.{part}.weight"] for part in parts])
        )
        zeros = np.zeros(len(state[f"{prefix}.{parts[0]}.weight"]), np.float32)
        biases = [state.get(f"{prefix}.{part}.bias", zeros) for part in parts]
        found[f"{key}/bias"] = np.concatenate(biases)

    def norm(key: str, name: str) -> None:
        found[f"{key}/gamma"], found[f"{key}/beta"] = state[f"{name}.weight"], state[f"{name}.bias"]

    for half in ("encoder", "decoder"):
        layers = getattr(model.config, f"{half}_layers")
        for layer in range(layers):
            key, name = f"{half}/layer_{layer}", f"model.{half}.layers.{layer}"
            own, across = f"{name}.self_attn", f"{name}.encoder_attn"
            stacked(f"{key}/self_attention/linear_0", own, ("q_proj", "k_proj", "v_proj"))
            stacked(f"{key}/self_attention/linear_1", own, ("out_proj",))
            norm(f"{key}/self_attention/layer_norm", f"{name}.self_attn_layer_norm")
            if half == "decoder":
                stacked(f"{key}/attention/linear_0", across, ("q_proj",))
                stacked(f"{key}/attention/linear_1", across, ("k_proj", "v_proj"))
                stacked(f"{key}/attention/linear_2", across, ("out_proj",))
                norm(f"{key}/attention/layer_norm", f"{name}.encoder_attn_layer_norm")
            for place, part in enumerate(("fc1", "fc2")):
                stacked(f"{key}/ffn/linear_{place}", name, (part,))
            norm(f"{key}/ffn/layer_norm", f"{name}.final_layer_norm")
        norm(f"{half}/layer_norm", f"model.{half}.layer_norm")
        places = state[f"model.{half}.embed_positions.weight"]
        found[f"{half}/position_encodings/encodings"] = places
    for part in ("conv1", "conv2"):
        weight(f"encoder/{part}/weight", state[f"model.encoder.{part}.weight"])
        found[f"encoder/{part}/bias"] = state[f"model.encoder.{part}.bias"]
    weight("decoder/embeddings/weight", state["model.decoder.embed_tokens.weight"])
    return found


def model_bin(variables: dict[str, np.ndarray], specification: str = "WhisperSpec") -> bytes:
    """A `model.bin` of version 6."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    data = struct.pack("<I", 6) + text(specification) + struct.pack("<II", 3, len(variables))
    for name, values in variables.items():
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        held = values.tobytes()
        kind = struct.pack("<BI", TYPES[str(values.dtype)], len(held))
        data += text(name) + shape + kind + held
    alias = text("decoder/projection/weight") + text("decoder/embeddings/weight")
    return data + struct.pack("<I", 1) + alias


def save_ctranslate2(source: Path, model: Any, folder: Path, integers: bool = False) -> None:
    """What faster-whisper downloads, from the folder that `model` was loaded from."""
    folder.mkdir()
    (folder / "model.bin").write_bytes(model_bin(ctranslate2_variables(model, integers)))
    generation = model.generation_config
    listed = {
        "suppress_ids": list(generation.suppress_tokens),
        "suppress_ids_begin": list(generation.begin_suppress_tokens),
    }
    (folder / "config.json").write_text(json.dumps(listed))
    (folder / "preprocessor_config.json").write_text(
        (source / "preprocessor_config.json").read_text()
    )
    (folder / "tokenizer.json").write_text((source / "tokenizer.json").read_text())


NAMES = (
    ("model.encoder.layer_norm.", "encoder.ln_post."),
    ("model.decoder.layer_norm.", "decoder.ln."),
    ("model.decoder.embed_tokens.", "decoder.token_embedding."),
    ("embed_positions.weight", "positional_embedding"),
    ("model.", ""),
    (".layers.", ".blocks."),
    (".self_attn_layer_norm.", ".attn_ln."),
    (".encoder_attn_layer_norm.", ".cross_attn_ln."),
    (".final_layer_norm.", ".mlp_ln."),
    (".self_attn.", ".attn."),
    (".encoder_attn.", ".cross_attn."),
    (".q_proj.", ".query."),
    (".k_proj.", ".key."),
    (".v_proj.", ".value."),
    (".out_proj.", ".out."),
    (".fc1.", ".mlp.0."),
    (".fc2.", ".mlp.2."),
)


def save_openai(model: Any, path: Path) -> None:
    """One of OpenAI's `.pt` files."""
    state = {}
    for name, tensor in model.state_dict().items():
        if name == "proj_out.weight":
            continue
        renamed = name
        for theirs, ours in NAMES:
            renamed = renamed.replace(theirs, ours)
        state[renamed] = tensor
    config = model.config
    sizes = {
        "n_mels": config.num_mel_bins,
        "n_vocab": config.vocab_size,
        "n_audio_ctx": config.max_source_positions,
        "n_audio_state": config.d_model,
        "n_audio_head": config.encoder_attention_heads,
        "n_audio_layer": config.encoder_layers,
        "n_text_ctx": config.max_target_positions,
        "n_text_state": config.d_model,
        "n_text_head": config.decoder_attention_heads,
        "n_text_layer": config.decoder_layers,
    }
    torch.save({"dims": sizes, "model_state_dict": state}, path)
