"""ggml files of Whisper for whisper.cpp 1.8.5, as the wheel pywhispercpp 1.5.1 brings it.

- **One type for all matrices**, the table of tokens among them: the loader compares bytes with those of the
  header's type, and refuses a file that mixes (`exporters.ggml.loader` tries it on any other version). So a
  plan has one precision for all of them, and the budget picks it. Convolutions are float16 and norms, biases
  and positions float32 in every file; float32 matrices aren't usable on a CPU.
- Its kernels round what a matrix is multiplied with to int8 in blocks of 32, of 256 for k-quants (`-a8b`),
  also for codes with a least value; for float16, to float16. The table of tokens is looked up row by row and
  made float.
- The table is the head's matrix, too, and lies there once. There is no place for what undoes its evening
  (`speech.models.whisper.evening`), so the model is measured with the table as it was published.
- The Fourier transform is the runtime's own; the mel filters are the file's.
- K-quants (q4_K, q5_K, q6_K) cut rows into 256: base has them, tiny, whose rows are 384 long, hasn't.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from myqasr.core.errors import ModelError, UserError
from myqasr.exporters.ggml.loader import loader
from myqasr.exporters.ggml.types import BLOCK_TYPES, F16, FILE_TYPES, bytes_of, number_of
from myqasr.exporters.target import ExportOptions, StoredLayer, Target
from myqasr.personalize.planning.plan import BLOCK, FLOAT16, FLOAT32, LayerShape, QuantSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from myqasr.exporters.ggml.container import Tensor
    from myqasr.personalize.rounding.codes import LayerCodes
    from myqasr.speech.models.base import SpeechModel

NAME = "whisper-cpp"
PREFIX, SUFFIX = "ggml-", ".bin"

MEL, TRANSFORM = "features.mel", "features.transform"
TABLE_LAYER, HEAD = "decoder.embed_tokens", "proj_out"


def menu(shape: LayerShape) -> tuple[QuantSpec, ...]:
    """Precisions that whisper.cpp runs for this layer, float16 last."""
    if shape.fixed:
        return (FLOAT32,)
    if shape.kind not in ("linear", "embedding"):
        return (FLOAT16,)
    taken = (each.stored for each in BLOCK_TYPES if each.name in loader().types)
    stored = (spec for spec in taken if shape.row_weights % (spec.group_size or 1) == 0)
    return (*(_computed(spec, shape.kind == "embedding") for spec in stored), FLOAT16)


def _computed(stored: QuantSpec, table: bool) -> QuantSpec:
    """With what the kernel does to its input; a table has none."""
    if table or stored.scheme == "float":
        return stored
    return replace(stored, activation="int8-blocks")


def alike(shape: LayerShape) -> bool:
    """Whether a layer has the one type of the file."""
    return shape.kind in ("linear", "embedding") and not shape.fixed and not loader().mixes


def of_runtime(shape: LayerShape) -> bool:
    """The Fourier transform."""
    return shape.fixed and shape.kind == "conv1d"


def scale_dtype(spec: QuantSpec) -> str:
    """float16 in blocks; nothing is asked of other precisions."""
    return "float16" if spec.in_blocks else "float32"


def layer_bytes(shape: LayerShape, spec: QuantSpec) -> int:
    """Weights and scales, and the bias in float32; a shared matrix counts once."""
    if of_runtime(shape):
        return 0
    weights = 0 if shape.matrix_of else bytes_of(number_of(spec), shape.weights)
    return weights + (4 * shape.out_channels if shape.has_bias else 0)


def overhead_bytes(model: "SpeechModel") -> int:
    """Header, vocabulary, headers of the tensors, and those that aren't layers': what it will be."""
    from myqasr.exporters.ggml.container import float_tensor

    layers = {f"{name}.{part}" for name in model.layers() for part in ("weight", "bias")}
    total = len(_front(model, F16)) - 4 * model.layers()[MEL].weight.numel()  # type: ignore[operator]
    for name, values in model.module.state_dict().items():
        if _lies_there(name):
            tensor = float_tensor(name, values.numpy())
            total += len(tensor.header) + (0 if name in layers else len(tensor.data))
    return total


def suits(model: "SpeechModel") -> "SpeechModel":
    """A Whisper with its table of tokens as it was published; raises ModelError for other models."""
    from myqasr.speech.models.whisper.evening import with_published_table
    from myqasr.speech.models.whisper.network import Whisper

    module = model.module
    if not isinstance(module, Whisper):
        raise ModelError(f"{NAME} runs Whispers only; {model.model_id} is none")
    if not module.decoder.embed_tokens.matrix_of:
        raise ModelError(
            f"{NAME} has one matrix for the head and the table of tokens; those of {model.model_id} differ"
        )
    width = module.decoder.embed_tokens.embedding_dim
    inner = {len(layer.fc1.weight) for layer in (*module.encoder.layers, *module.decoder.layers)}
    if inner != {4 * width}:
        raise ModelError(
            f"{NAME} wants feed-forward layers four times as wide as the model, {4 * width}; those of "
            f"{model.model_id} are {', '.join(map(str, sorted(inner)))}"
        )
    return with_published_table(model)


def write(
    model: "SpeechModel",
    codes: "dict[str, LayerCodes]",
    path: Path,
    options: ExportOptions,
) -> tuple[str, ...]:
    """Write the file, whole or not at all; returns layer names in the order they run.

    Raises UserError when codes and model don't fit, layers have several types, or the model isn't a Whisper
    with its published table.
    """
    from myqasr.exporters.checks import check_layers, check_menu
    from myqasr.exporters.ggml.container import is_matrix, write_file

    if suits(model) is not model:
        raise UserError(
            f"{model.model_id} was measured with its table of tokens evened out, which {NAME} can't undo; "
            f"make a run for it: myqasr personalize '{suits(model).model_id}' ..."
        )
    check_layers(model, codes)
    check_menu(model, codes, menu, NAME)
    tensors = list(_tensors(model, codes))
    numbers = {each.number for each in tensors if is_matrix(each.name, len(each.shape))}
    if len(numbers) > 1 and not loader().mixes:
        labels = sorted({layer.spec.label for layer in codes.values()})
        raise UserError(
            f"a file for {NAME} has one type of matrices, this plan mixes {', '.join(labels)}; make one for "
            f"it: myqasr personalize ... --target {NAME}"
        )
    write_file(path, _front(model, max(numbers)), tensors)
    modules = model.layers()
    ran = [name for name in modules if name not in (MEL, TRANSFORM, HEAD)]
    return MEL, *ran, HEAD


def _front(model: "SpeechModel", number: int) -> bytes:
    from myqasr.exporters.ggml.container import Sizes, front

    module: Any = model.module
    filters = module.features.mel.weight.numpy()
    halves = (
        number
        for half in (module.encoder, module.decoder)
        for number in (
            *half.embed_positions.weight.shape,
            half.layers[0].self_attn.num_heads,
            len(half.layers),
        )
    )
    tokens = len(module.decoder.embed_tokens.weight)
    sizes = Sizes(*(tokens, *halves, len(filters), FILE_TYPES[number]))
    return front(sizes, filters, model.tokens.symbols)


def _lies_there(name: str) -> bool:
    """Whether a tensor of the model is one of the file."""
    return not name.startswith(("features.", f"{HEAD}."))


def _tensors(model: "SpeechModel", codes: "dict[str, LayerCodes]") -> "Iterator[Tensor]":
    from myqasr.exporters.ggml.container import Tensor, float_tensor, is_convolution
    from myqasr.exporters.ggml.types import BY_NUMBER

    for name, values in model.module.state_dict().items():
        if not _lies_there(name):
            continue
        tensor = float_tensor(name, values.numpy())
        layer = codes.get(name.removesuffix(".weight"))
        if layer is None or not name.endswith(".weight") or is_convolution(tensor.name):
            yield tensor
            continue
        number = number_of(layer.spec)
        if layer.codes is None or layer.scales is None:
            data = values.half().numpy().tobytes()
        else:
            scales = layer.scales.flatten(0, 1).numpy()
            size = layer.spec.group_size or BLOCK
            data = BY_NUMBER[number].pack(layer.codes.reshape(-1, size).numpy(), scales)
        yield Tensor(tensor.name, tensor.shape, number, data)


def read(path: Path) -> tuple[StoredLayer, ...]:
    """Every weight-bearing layer of the file, from the file alone; the table of tokens is also the head."""
    import torch

    from myqasr.exporters.ggml.container import TABLE, is_convolution, is_matrix, read_file
    from myqasr.personalize.rounding.codes import LayerCodes

    file = read_file(path)
    filters = torch.from_numpy(file.filters.copy())
    found = [StoredLayer(f"{NAME} mel filters", LayerCodes(FLOAT32), filters.nbytes, filters)]
    head: list[StoredLayer] = []
    for tensor in file.tensors:
        if is_convolution(tensor.name) or is_matrix(tensor.name, len(tensor.shape)):
            table = tensor.name == TABLE
            found.append(_stored(tensor, table))
            if table:
                head.append(replace(_stored(tensor, False), payload_bytes=0))
    return (*found, *head)


def _stored(tensor: "Tensor", table: bool) -> StoredLayer:
    import numpy as np
    import torch

    from myqasr.exporters.ggml.types import BY_NUMBER
    from myqasr.personalize.rounding.codes import LayerCodes

    payload, kind = len(tensor.data), BY_NUMBER.get(tensor.number)
    if kind is None:
        halves = np.frombuffer(tensor.data, np.float16 if tensor.number == F16 else np.float32)
        spec = FLOAT16 if tensor.number == F16 else FLOAT32
        weight = torch.from_numpy(halves.reshape(tensor.shape).copy())
        return StoredLayer(f"{NAME} f{spec.bits}", LayerCodes(spec), payload, weight)
    codes, scales = (torch.from_numpy(each) for each in kind.unpack(tensor.data))
    held = LayerCodes(
        _computed(kind.stored, table),
        codes.reshape(tensor.shape),
        scales.reshape(tensor.shape[0], -1, *scales.shape[1:]),
    )
    return StoredLayer(f"{NAME} {kind.name}", held, payload)


def probe() -> "SpeechModel":
    """A Whisper of random weights, about 0.2 M parameters, that hears a second."""
    from myqasr.exporters.ggml.probe import small_whisper

    return small_whisper()


TARGET = Target(
    name=NAME,
    prefix=PREFIX,
    suffix=SUFFIX,
    menu=menu,
    layer_bytes=layer_bytes,
    scale_dtype=scale_dtype,
    overhead_bytes=overhead_bytes,
    write=write,
    read=read,
    runner="whisper-cpp",
    when_asked=True,
    one_copy=True,
    alike=alike,
    needs=("_pywhispercpp", "pywhispercpp"),
    extra="whisper-cpp",
    half_activations=True,
    suits=suits,
    of_runtime=of_runtime,
    probe=probe,
)
