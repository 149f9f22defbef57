"""What the operations of Core ML programs compute, in torch: those that speech models are converted to.

After Apple's documentation of MIL's operations (iOS 15 to 18 opsets). Shapes are integers in tensors; a value
keeps the shape that Core ML gives it. An operation that isn't here is an error in `coreml_reference`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from myqasr.core.errors import UserError

Arguments = dict[str, Any]
"""Parameter -> tensor, list of tensors, or text; parameters that aren't given are absent."""


def integers(value: Tensor) -> list[int]:
    """A shape, list of axes or single number as plain integers."""
    return [int(each) for each in value.reshape(-1)]


def number(value: Tensor) -> float:
    """A scalar."""
    return float(value.reshape(-1)[0])


def convolution(given: Arguments) -> Tensor:
    """conv with explicit or no padding, over one or two dimensions; its dimensions lie after the channels."""
    x, weight = given["x"], given["weight"]
    spatial = weight.dim() - 2
    padding = [0] * 2 * spatial
    kind = given.get("pad_type", "valid")
    if kind == "custom":
        padding = integers(given["pad"])
    elif kind != "valid":
        raise UserError(f"conv with pad_type {kind} isn't known here")
    # Core ML lists before and after from the first dimension on, torch from the last.
    pairs = [padding[2 * axis : 2 * axis + 2] for axis in range(spatial)]
    padded = functional.pad(x, [size for pair in reversed(pairs) for size in pair])
    apply = functional.conv1d if spatial == 1 else functional.conv2d
    strides = integers(given["strides"]) if "strides" in given else [1] * spatial
    dilations = integers(given["dilations"]) if "dilations" in given else [1] * spatial
    groups = integers(given["groups"])[0] if "groups" in given else 1
    return apply(padded, weight, given.get("bias"), strides, 0, dilations, groups)


def linear(given: Arguments) -> Tensor:
    """x @ weight.T + bias."""
    return functional.linear(given["x"], given["weight"], given.get("bias"))


def matmul(given: Arguments) -> Tensor:
    """Product of the last two axes, each perhaps transposed first."""
    x, y = given["x"], given["y"]
    x = x.transpose(-1, -2) if flag(given, "transpose_x") else x
    y = y.transpose(-1, -2) if flag(given, "transpose_y") else y
    return x @ y


def flag(given: Arguments, name: str) -> bool:
    """A boolean that is false when absent."""
    return name in given and bool(given[name].reshape(-1)[0])


def layer_norm(given: Arguments) -> Tensor:
    """Zero mean and unit variance over the axes, then gamma and beta."""
    x, axes = given["x"], integers(given["axes"])
    centred = x - x.mean(dim=axes, keepdim=True)
    variance = centred.square().mean(dim=axes, keepdim=True)
    even = centred * torch.rsqrt(variance + number(given["epsilon"]))
    even = even * given["gamma"] if "gamma" in given else even
    return even + given["beta"] if "beta" in given else even


def gelu(given: Arguments) -> Tensor:
    """Exact, or by the tanh formula."""
    mode = given.get("mode", "EXACT")
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise UserError(f"gelu with mode {mode} isn't known here")
    return functional.gelu(given["x"], approximate="none" if mode == "EXACT" else "tanh")


def reduction(apply: Callable[..., Tensor]) -> Callable[[Arguments], Tensor]:
    """Over the given axes, or all."""

    def reduce(given: Arguments) -> Tensor:
        x = given["x"]
        axes = integers(given["axes"]) if "axes" in given else list(range(x.dim()))
        return apply(x, dim=axes, keepdim=flag(given, "keep_dims"))

    return reduce


def reshape(given: Arguments) -> Tensor:
    """0 keeps the size at its place, -1 is what is left."""
    x, shape = given["x"], integers(given["shape"])
    return x.reshape([x.shape[at] if size == 0 else size for at, size in enumerate(shape)])


def expand_dims(given: Arguments) -> Tensor:
    """New axes of size 1, at places of the result."""
    x, axes = given["x"], integers(given["axes"])
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(given: Arguments) -> Tensor:
    """Without the axes of size 1 that are named, or all."""
    x = given["x"]
    return x.squeeze(integers(given["axes"])) if "axes" in given else x.squeeze()


def slice_by_index(given: Arguments) -> Tensor:
    """x[begin:end:stride] on every axis.

    Masks say on which axes begin or end is the axis's own, or only the index `begin` is taken.
    """
    x = given["x"]
    begin, end = integers(given["begin"]), integers(given["end"])
    stride = integers(given["stride"]) if "stride" in given else [1] * x.dim()
    masks = {
        name: [bool(each) for each in given[name]] if name in given else [False] * x.dim()
        for name in ("begin_mask", "end_mask", "squeeze_mask")
    }
    places: list[slice | int] = []
    for axis in range(x.dim()):
        start = None if masks["begin_mask"][axis] else begin[axis]
        stop = None if masks["end_mask"][axis] else end[axis]
        if stride[axis] < 1:
            raise UserError(f"slice_by_index with stride {stride[axis]} isn't known here")
        chosen = slice(start, stop, stride[axis])
        places.append(begin[axis] if masks["squeeze_mask"][axis] else chosen)
    return x[tuple(places)]


def gather(given: Arguments) -> Tensor:
    """Rows of x along an axis, in the shape of the indices."""
    x, indices = given["x"], given["indices"].long()
    axis = integers(given["axis"])[0] % x.dim() if "axis" in given else 0
    if "batch_dims" in given and integers(given["batch_dims"])[0] != 0:
        raise UserError("gather with batch_dims isn't known here")
    rows = x.index_select(axis, indices.reshape(-1))
    return rows.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_along_axis(given: Arguments) -> Tensor:
    """Of every line of x along an axis, the values at the indices."""
    return given["x"].gather(integers(given["axis"])[0], given["indices"].long())


def pad(given: Arguments) -> Tensor:
    """Values before and after on the last axes; `pad` lists them from the first of these axes on."""
    x, sizes = given["x"], integers(given["pad"])
    mode = given.get("mode", "constant")
    pairs = [sizes[at : at + 2] for at in range(0, len(sizes), 2)]
    if mode == "constant":
        flat = [size for pair in reversed(pairs) for size in pair]
        return functional.pad(x, flat, value=number(given["constant_val"]))
    while len(pairs) > 1 and pairs[0] == [0, 0]:
        pairs = pairs[1:]
    flat = [size for pair in reversed(pairs) for size in pair]
    if mode != "reflect" or len(pairs) != 1:
        raise UserError(f"pad with mode {mode} on {len(pairs)} axes isn't known here")
    lines = functional.pad(x.reshape(1, -1, x.shape[-1]), flat, mode="reflect")
    return lines.reshape([*x.shape[:-1], -1])


def split(given: Arguments) -> list[Tensor]:
    """Parts of x along an axis, of equal or listed sizes."""
    x, axis = given["x"], integers(given["axis"])[0]
    if "split_sizes" in given:
        return list(x.split(integers(given["split_sizes"]), dim=axis))
    return list(x.chunk(integers(given["num_splits"])[0], dim=axis))


def concat(given: Arguments) -> Tensor:
    """Parts along an axis; of different types they become the widest."""
    if flag(given, "interleave"):
        raise UserError("concat with interleave isn't known here")
    values = [torch.atleast_1d(value) for value in given["values"]]
    return torch.cat(values, dim=integers(given["axis"])[0])


def range_1d(given: Arguments) -> Tensor:
    """From start up to end, without it."""
    start, end, step = (given[name].reshape(-1)[0].item() for name in ("start", "end", "step"))
    return torch.arange(start, end, step, dtype=given["end"].dtype)


def cast(given: Arguments) -> Tensor:
    """To another type; floats of any width are float32 here and rounded, if at all, after the operation."""
    kinds = {"fp16": torch.float32, "fp32": torch.float32, "bool": torch.bool}
    kind = kinds.get(given["dtype"], torch.int32)
    result: Tensor = given["x"].to(kind)
    return result


def of(apply: Callable[..., Any], *names: str) -> Callable[[Arguments], Any]:
    """A torch function of the named parameters."""
    return lambda given: apply(*(given[name] for name in names))


OPERATIONS: dict[str, Callable[[Arguments], Any]] = {
    "add": of(torch.add, "x", "y"),
    "sub": of(torch.sub, "x", "y"),
    "mul": of(torch.mul, "x", "y"),
    "real_div": of(torch.div, "x", "y"),
    "floor_div": of(torch.floor_divide, "x", "y"),
    "pow": of(torch.pow, "x", "y"),
    "maximum": of(torch.maximum, "x", "y"),
    "minimum": of(torch.minimum, "x", "y"),
    "equal": of(torch.eq, "x", "y"),
    "greater": of(torch.gt, "x", "y"),
    "greater_equal": of(torch.ge, "x", "y"),
    "less": of(torch.lt, "x", "y"),
    "select": of(torch.where, "cond", "a", "b"),
    "abs": of(torch.abs, "x"),
    "exp": of(torch.exp, "x"),
    "cos": of(torch.cos, "x"),
    "sin": of(torch.sin, "x"),
    "sqrt": of(torch.sqrt, "x"),
    "square": of(torch.square, "x"),
    "tanh": of(torch.tanh, "x"),
    "erf": of(torch.erf, "x"),
    "relu": of(torch.relu, "x"),
    "sigmoid": of(torch.sigmoid, "x"),
    "silu": of(functional.silu, "x"),
    "log": lambda given: torch.log(given["x"] + number(given["epsilon"])),
    "rsqrt": lambda given: torch.rsqrt(given["x"] + number(given["epsilon"])),
    "clip": lambda given: given["x"].clamp(number(given["alpha"]), number(given["beta"])),
    "softmax": lambda given: given["x"].softmax(integers(given["axis"])[0]),
    "reduce_mean": reduction(torch.mean),
    "reduce_sum": reduction(torch.sum),
    "reduce_max": reduction(torch.amax),
    "shape": lambda given: torch.tensor(given["x"].shape, dtype=torch.int32),
    "transpose": lambda given: given["x"].permute(integers(given["perm"])),
    "tile": lambda given: given["x"].tile(integers(given["reps"])),
    "stack": lambda given: torch.stack(given["values"], integers(given["axis"])[0]),
    "fill_like": lambda given: torch.full(
        integers(torch.tensor(given["ref_tensor"].shape)), given["value"].reshape(-1)[0].item()
    ),
    "identity": lambda given: given["x"],
    "conv": convolution,
    "linear": linear,
    "matmul": matmul,
    "layer_norm": layer_norm,
    "gelu": gelu,
    "reshape": reshape,
    "expand_dims": expand_dims,
    "squeeze": squeeze,
    "slice_by_index": slice_by_index,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "pad": pad,
    "split": split,
    "concat": concat,
    "range_1d": range_1d,
    "cast": cast,
}
"""MIL operation -> what it computes from its parameters: a tensor, or a list of them."""
