"""What lies in a model's folder before transformers looks at it: weights that are none, adapters, wrappers.

Names of weights are read from the files' own headers, so that each of them is known to end in a layer.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from myqasr.core.errors import ModelError
from myqasr.core.reading import instead, reason

SAFETENSORS, PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "network")
"""Keys under which training programs keep the weights among other things."""
_PREFIXES = ("module.", "_orig_mod.", "model.", "_forward_module.", "base_model.")
_LORA = re.compile(r"(^|\.)(lora_|base_layer\.|lokr_|hada_|oft_|ia3_)|adapter_model")
ONLY_TRAINING = re.compile(
    r"masked_spec_embed$|(^|\.)(quantizer|project_q|project_hid)\.|"
    r"\.(num_batches_tracked|position_ids|inv_freq)$"
)
"""Weights that a recogniser doesn't need."""
_FLOATS = (
    *("F64", "F32", "F16", "BF16"),  # as safetensors names them
    *("float64", "float32", "float16", "bfloat16"),
)
_TRAINING = ("*.ckpt", "*.pt", "*.pth", "optimizer.pt", "*.nemo", "*.distcp")
MERGE = (
    "merge it into the model first: PeftModel.from_pretrained(base, folder).merge_and_unload(), then "
    "save_pretrained(new) of that and of the processor, and pass the new folder"
)


def check_folder(folder: Path, config: Mapping[str, Any], model_id: str) -> None:
    """Raise ModelError for a folder whose weights aren't a float model's, naming the way to one."""
    if config.get("quantization_config"):
        held = config["quantization_config"]
        kind = held.get("quant_method", "some method") if isinstance(held, dict) else "some method"
        raise ModelError(
            f"{model_id}: its weights are quantised already ({kind}); pass the float checkpoint that they "
            "were made from"
        )
    files = weight_files(folder, model_id)
    adapters = [*folder.glob("adapter_config.json"), *folder.glob("adapter_model.*")]
    if adapters:
        where = "an adapter that isn't merged" if files else "an adapter without its model"
        raise ModelError(f"{model_id} holds {where} ({adapters[0].name}); {MERGE}")
    if not files:
        others = [path.name for pattern in _TRAINING for path in sorted(folder.glob(pattern))]
        what = f"; {others[0]} is a training program's own file" if others else ""
        raise ModelError(
            f"{model_id}: no {SAFETENSORS} or {PICKLED} in {folder}{what}; load it with the class that it "
            "was trained with and write it with model.save_pretrained(folder)"
        )
    for file in files:
        check_bytes(file)


def check_adapter_only(folder: Path) -> None:
    """Raise ModelError for a folder that holds an adapter and no model at all."""
    if (folder / "adapter_config.json").is_file():
        raise ModelError(f"{folder} holds an adapter without its model; {MERGE}")


def weight_files(folder: Path, model_id: str) -> list[Path]:
    """The files that transformers would read: one, or the parts that an index lists.

    Raises ModelError naming a part that isn't there.
    """
    for name in (SAFETENSORS, PICKLED):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}{_INDEX}"
        if index.is_file():
            try:
                parts = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ModelError(
                    f"{index} isn't an index of weights ({reason(error)}); fetch it again"
                ) from error
            missing = [part for part in parts if not (folder / part).is_file()]
            if missing:
                raise ModelError(
                    f"{model_id}: {missing[0]} is missing ({len(missing)} of {len(parts)} parts that "
                    f"{index.name} lists); fetch all of the folder"
                )
            return [folder / part for part in parts]
    return []


def check_bytes(file: Path) -> None:
    """Raise ModelError for what a download or git leaves instead of weights."""
    with file.open("rb") as opened:
        head = opened.read(512)
    other = instead(head, "the weights")
    if other is not None:
        raise ModelError(f"{file} {other}")
    if not head:
        raise ModelError(f"{file} is empty; fetch it again")
    if file.suffix == ".safetensors":
        try:
            with safe_open(file, "pt") as tensors:
                tensors.keys()
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelError(
                f"{file} is cut off or damaged ({str(error).splitlines()[0]}); fetch it again"
            ) from error


def refuse_other_shapes(
    stored: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    model_id: str,
) -> None:
    """Raise ModelError for the first weight whose shape isn't the one that the configuration makes."""
    for name, shape in stored.items():
        expected = wanted.get(names[name], shape)
        if expected != shape:
            raise ModelError(
                f"{model_id}: {name} is {list(shape)}, config.json makes it {list(expected)}; put the "
                "config.json there that these weights were saved with"
            )


def read_weights(folder: Path, model_id: str) -> dict[str, Tensor]:
    """All weights by name, without what training programs and compilers put around them.

    Raises ModelError naming the file that can't be read.
    """
    found: dict[str, Tensor] = {}
    for file in weight_files(folder, model_id):
        found.update(read_file(file))
    return found


def weight_shapes(folder: Path, model_id: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights, by the headers alone where there are any."""
    found: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder, model_id):
        check_bytes(file)
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118
                    part = tensors.get_slice(name)
                    found[name] = tuple(part.get_shape())
                    _need_floats(file, name, part.get_dtype())
        else:
            for name, tensor in read_file(file).items():
                found[name] = tuple(tensor.shape)
                _need_floats(file, name, str(tensor.dtype))
    return found


def _need_floats(file: Path, name: str, kind: str) -> None:
    """Raise ModelError for weights that are codes: without their scales they would pass for numbers."""
    if kind.removeprefix("torch.") not in _FLOATS and not ONLY_TRAINING.search(name):
        raise ModelError(
            f"{file}: {name} holds {kind}, no float numbers: its weights are quantised already; pass the "
            "float checkpoint that they were made from"
        )


def read_file(file: Path) -> dict[str, Tensor]:
    """Weights by name of one file; raises ModelError as `read_weights`."""
    check_bytes(file)
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as tensors:
                return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
        held = torch.load(file, map_location="cpu", weights_only=True)
    except (
        *(OSError, RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError),
        *(SafetensorError, zipfile.BadZipFile),
    ) as error:
        said = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        if "Weights only load failed" in said:
            said = "Python objects, which would run as code"
        raise ModelError(
            f"{file} is cut off, damaged, or holds more than weights ({said}); fetch it again, or write it "
            "with model.save_pretrained(folder)"
        ) from error
    return _unwrapped(held, file)


def _unwrapped(held: Any, file: Path) -> dict[str, Tensor]:
    for _ in range(3):
        if isinstance(held, Mapping) and not any(
            isinstance(each, Tensor) for each in held.values()
        ):
            inner = next(
                (held[name] for name in _WRAPPERS if isinstance(held.get(name), Mapping)), None
            )
            held = inner if inner is not None else held
    if not isinstance(held, Mapping):
        raise ModelError(f"{file} holds a {type(held).__name__}, not weights by name")
    return {str(name): value for name, value in held.items() if isinstance(value, Tensor)}


def fitted_names(names: Iterable[str], expected: set[str]) -> dict[str, str]:
    """Stored name -> the class's own, with such prefixes taken off, or put on, as fit the most."""
    stored = list(names)
    best: dict[str, str] = {name: name for name in stored}
    most = len(expected & set(stored))
    tried = {""}
    for _ in range(3):  # module._orig_mod.model.
        tried |= {before + prefix for before in tried for prefix in _PREFIXES}
    for prefix in sorted(tried):
        renamed = {name: name.removeprefix(prefix) for name in stored}
        count = len(expected & set(renamed.values()))
        if count > most and len(set(renamed.values())) == len(stored):
            best, most = renamed, count
    return best


def refuse_adapters(names: Iterable[str], model_id: str) -> None:
    """Raise ModelError where weights of an adapter lie among those of the model."""
    found = next((name for name in sorted(names) if _LORA.search(name)), None)
    if found is not None:
        raise ModelError(
            f"{model_id}: its weights hold an adapter that isn't merged ({found}); {MERGE}"
        )


def refuse_unused(unused: Iterable[str], model_id: str, architecture: str) -> None:
    """Raise ModelError for weights that end in no layer of the class; those that only training uses may."""
    names = sorted(name for name in unused if not ONLY_TRAINING.search(name))
    refuse_adapters(names, model_id)
    if not names:
        return
    raise ModelError(
        f"{model_id}: {len(names)} weights belong to no layer of {architecture} ({names[0]}); what they do "
        "would be lost: pass a checkpoint of that class, or take them out"
    )
