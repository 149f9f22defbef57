"""The values that flow from measuring to writing: specs, profiles and plans. No torch in here.

Bytes are bytes of the file that gets written. Costs are nats of divergence per output frame between the
float model's posteriors and the quantised model's, estimated without any transcript.
"""

import math
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

from myqasr.core.errors import BudgetError, UserError
from myqasr.core.storage import converter, sha256_of_text

Scheme = Literal["int", "lut", "q0", "q1", "qk", "float"]
Activation = Literal["float", "int8-dynamic", "int8-static", "int8-blocks"]
LayerKind = Literal["linear", "conv1d", "conv2d", "embedding"]

_ACTIVATION_SUFFIX: dict[Activation, str] = {
    "float": "",
    "int8-dynamic": "-a8d",
    "int8-static": "-a8s",
    "int8-blocks": "-a8b",
}
_ACTIVATIONS = {suffix: activation for activation, suffix in _ACTIVATION_SUFFIX.items()}
_LABEL = re.compile(r"(?:(fp|int|lut)([0-9]{1,2})(?:-g([0-9]{1,9}))?|q([0-9])_([01K]))(-a8[dsb])?")
BLOCK = 32
"""Weights of a row, and values of an input, that share a scale in ggml's formats."""
SUPERBLOCK = 256
"""Weights that share the scales of their scales in its k-quants, and values of an input to them."""
_BLOCKED: dict[str, Scheme] = {"0": "q0", "1": "q1", "K": "qk"}


@dataclass(frozen=True, slots=True)
class QuantSpec:
    """How one layer is stored and computed.

    bits: bits per weight as stored (1 to 8 for integers and `lut`; 16 or 32 for `float`).
    scheme: `int` symmetric integers, `lut` palette, `float`; and ggml's blocks of 32: `q0` symmetric integers
        whose scale may be negative, `q1` unsigned ones with a scale and the least value; `qk` its k-quants:
        blocks of 256 within which scales, and least values at 4 and 5 bits, are integers themselves.
    group_size: weights along the input that share a scale; None is one scale per output channel. Of `lut`:
        output channels that share a palette; None is one palette for the whole layer.
    activation: what the kernel does with its input: float, int8 with a range found at run time per
        token (`int8-dynamic`), int8 with a stored range (`int8-static`), or int8 in blocks of 32,
        for `qk` of 256, with a scale each, found at run time (`int8-blocks`).
    """

    bits: int
    scheme: Scheme = "int"
    group_size: int | None = None
    activation: Activation = "float"

    def __post_init__(self) -> None:
        allowed = (16, 32) if self.scheme == "float" else range(1, 9)
        if self.bits not in allowed:
            raise UserError(f"{self.scheme} weights can't have {self.bits} bits")
        if self.group_size is not None and (self.group_size < 1 or self.scheme == "float"):
            raise UserError(
                f"group size {self.group_size} makes no sense for {self.scheme} weights"
            )
        blocks = SUPERBLOCK if self.scheme == "qk" else BLOCK
        if self.in_blocks and self.group_size != blocks:
            raise UserError(f"{self.scheme} weights share a scale by {blocks}")

    @property
    def in_blocks(self) -> bool:
        """Whether in a format of ggml's."""
        return self.scheme in _BLOCKED.values()

    @property
    def as_converted(self) -> bool:
        """Whether converters make it when nobody asks for groups."""
        return self.group_size is None or self.in_blocks

    @property
    def label(self) -> str:
        """Short unique text, e.g. `int4-g32-a8d`, `int8-a8s`, `q4_0-a8b`, `fp32`; the form used in JSON."""
        if self.in_blocks:
            return f"q{self.bits}_{self.scheme[1].upper()}{_ACTIVATION_SUFFIX[self.activation]}"
        prefix = "fp" if self.scheme == "float" else self.scheme
        group = "" if self.group_size is None else f"-g{self.group_size}"
        return f"{prefix}{self.bits}{group}{_ACTIVATION_SUFFIX[self.activation]}"

    @property
    def stored(self) -> "QuantSpec":
        """What is stored, whatever the kernel does with its input."""
        return QuantSpec(self.bits, self.scheme, self.group_size)

    @classmethod
    def from_label(cls, label: str) -> "QuantSpec":
        """Inverse of `label`; raises UserError on any other text."""
        match = _LABEL.fullmatch(label)
        if match is None:
            raise UserError(
                f"{label!r} is not a precision; write e.g. int4-g32-a8d, int8-a8s or fp32"
            )
        prefix, bits, group, blocked, kind, suffix = match.groups()
        activation = _ACTIVATIONS[suffix or ""]
        if blocked is not None:
            group_size = SUPERBLOCK if kind == "K" else BLOCK
            return cls(int(blocked), _BLOCKED[kind], group_size, activation)
        scheme: Scheme = "float" if prefix == "fp" else "int" if prefix == "int" else "lut"
        return cls(int(bits), scheme, int(group) if group else None, activation)


FLOAT32 = QuantSpec(32, "float")
FLOAT16 = QuantSpec(16, "float")

converter.register_unstructure_hook(QuantSpec, lambda spec: spec.label)
converter.register_structure_hook(QuantSpec, lambda label, _: QuantSpec.from_label(label))


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What a target needs to know of a layer to say which precisions it runs and what they weigh.

    weight_shape: linear [out_features, in_features]; conv1d [out_channels, in_channels / groups, kernel];
        conv2d [out_channels, in_channels / groups, kernel height, kernel width]; embedding [tokens, size].
    has_rows: whether the layer can run as one matrix product, over tokens or a convolution's windows.
    fixed: whether it must stay as it is: the Fourier transform and mel filters of a front end.
    matrix_of: the layer whose very weight this one reads, too (Whisper's head has the matrix of its token
        embedding); empty if none.
    """

    name: str
    kind: LayerKind
    weight_shape: tuple[int, ...]
    has_bias: bool
    groups: int = 1
    has_rows: bool = True
    fixed: bool = False
    matrix_of: str = ""

    def __post_init__(self) -> None:
        expected = {"linear": 2, "conv1d": 3, "conv2d": 4, "embedding": 2}[self.kind]
        if len(self.weight_shape) != expected or min(self.weight_shape) < 1:
            raise UserError(f"layer {self.name}: {self.kind} weight of shape {self.weight_shape}")

    @property
    def out_channels(self) -> int:
        """Rows of the weight: one scale each when per channel."""
        return self.weight_shape[0]

    @property
    def row_weights(self) -> int:
        """Weights that feed one output channel."""
        return math.prod(self.weight_shape[1:])

    @property
    def weights(self) -> int:
        """Number of weights, bias not counted."""
        return math.prod(self.weight_shape)


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One layer, measured: its cost under every precision, keyed by `QuantSpec.label`.

    share_group: layers that read the same input tensor (q, k and v of one attention) carry the same text.
    statistics: plain figures of the layer's output on this speaker, by name. errors: standard error of each
    cost over the clips; empty when there was only one.
    """

    shape: LayerShape
    share_group: str
    costs: dict[str, float]
    statistics: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for label, cost in self.costs.items():
            if not (math.isfinite(cost) and cost >= 0):
                raise UserError(f"layer {self.shape.name}: cost of {label} is {cost}")

    def cost(self, spec: QuantSpec) -> float:
        """At a precision; float32 costs nothing. Raises KeyError for one that wasn't measured."""
        return 0.0 if spec == FLOAT32 else self.costs[spec.label]


IN_NATS = ("fisher", "kl", "operating-point")
"""Methods whose costs are divergences."""


@dataclass(frozen=True, slots=True)
class Check:
    """A plan that was tried whole on clips which its codes never heard.

    expected: sum of its layers' costs. measured: divergence, nats per frame; error: its standard error.
    """

    expected: float
    measured: float
    error: float


@dataclass(frozen=True, slots=True)
class Profile:
    """What one speaker's recordings say about one model. Serves any number of plans.

    rounding: how the codes were chosen whose costs these are, e.g. `gptq` or `nearest, l1 scales`. unheard:
    every clip told the costs of codes made for other clips, so that they hold for what is said next. checks:
    whole plans that were tried, by rising expectation.
    """

    model: str
    weights_hash: str
    audio_hash: str
    clips: int
    seconds: float
    frames: int
    method: str
    seed: int
    float_weight_bytes: int
    layers: tuple[LayerProfile, ...]
    rounding: str = "nearest"
    unheard: bool = False
    checks: tuple[Check, ...] = ()

    @property
    def key(self) -> str:
        """Hash of what the costs were measured on and how: what a plan made of them refers to.

        Costs that are added later, for another target, leave it as it is.
        """
        return sha256_of_text(
            f"{self.weights_hash} {self.audio_hash} {self.seed} {self.rounding} {self.method} "
            f"{self.unheard}"
        )

    @property
    def in_nats(self) -> bool:
        """Whether costs are divergences, which add up to the plan's."""
        return self.method in IN_NATS

    @property
    def unit(self) -> str:
        """Of the costs, for people."""
        return "nats per frame" if self.in_nats else f"by {self.method}"

    def __post_init__(self) -> None:
        names = [layer.shape.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise UserError("a profile names each layer once")


ALLOCATIONS = ("exact", "greedy", "min-max", "sweep")


@dataclass(frozen=True, slots=True)
class PlanRules:
    """What the user asked of a plan beside its budget.

    precisions: the labels allowed besides fp32; empty for all of the target's menu.
    keep: `PATTERN=BITS`, e.g. `lm_head=8` or `*.attention.*=16`: layers whose name the shell pattern matches
    get that many bits or more.
    allocation: one of ALLOCATIONS, or empty for the best that the costs allow.
    most_precisions: so many different ones at most, float32 not counted. tied: layers that read the same
    tensor (q, k and v of an attention) get the same precision. Both only with exact allocation.
    """

    precisions: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    allocation: str = ""
    most_precisions: int | None = None
    tied: bool = False

    def __post_init__(self) -> None:
        for rule in self.keep:
            parse_keep(rule)
        if self.allocation not in ("", *ALLOCATIONS):
            raise UserError(
                f"unknown allocation {self.allocation!r}; known: {', '.join(ALLOCATIONS)}"
            )
        if self.most_precisions is not None and self.most_precisions < 1:
            raise UserError(
                f"can't plan with {self.most_precisions} precisions; allow at least one"
            )
        if self.allocation not in ("", "exact") and (self.tied or self.most_precisions is not None):
            raise UserError(
                f"{self.allocation} allocation can't tie layers or limit the number of precisions; "
                "use exact"
            )

    def least_bits(self, name: str) -> int:
        """Fewest bits that the layer may get."""
        rules = map(parse_keep, self.keep)
        return max((bits for pattern, bits in rules if fnmatchcase(name, pattern)), default=0)


NO_RULES = PlanRules()
KEPT_BITS = ("1", "2", "3", "4", "5", "6", "7", "8", "16", "32")
"""What may be asked for; a target may have fewer."""


def parse_keep(rule: str) -> tuple[str, int]:
    """Pattern and bits of `PATTERN=BITS`; raises UserError for anything else."""
    pattern, _, bits = rule.rpartition("=")
    if not pattern or bits not in KEPT_BITS:
        raise UserError(f"{rule!r} is not PATTERN=BITS with 1 to 8, 16 or 32 bits, e.g. lm_head=8")
    return pattern, int(bits)


@dataclass(frozen=True, slots=True)
class Plan:
    """A precision for every layer, under a byte budget, for one target.

    profile_hash: `Profile.key` of the costs that it was made from.
    expected_cost: sum of the layers' costs, nats per frame.
    lower_bound: no plan within the budget costs less than this (dual bound of the solver).
    overhead_bytes: bytes of the file that no choice of precision changes (float rest, container).
    rules: what the user asked for beside the budget; a plan that is made again keeps to them.
    """

    profile_hash: str
    target: str
    method: str
    budget_bytes: int
    predicted_bytes: int
    overhead_bytes: int
    expected_cost: float
    lower_bound: float
    layers: dict[str, QuantSpec]
    rules: PlanRules = NO_RULES

    def __post_init__(self) -> None:
        if self.predicted_bytes > self.budget_bytes:
            raise BudgetError(
                f"plan of {self.predicted_bytes:,} bytes exceeds its budget of {self.budget_bytes:,}"
            )

    @property
    def gap(self) -> float:
        """Relative optimality gap; 0 means proven optimal."""
        if self.expected_cost <= self.lower_bound:
            return 0.0
        return (self.expected_cost - self.lower_bound) / self.expected_cost


def mean_bits(shapes: dict[str, LayerShape], specs: dict[str, QuantSpec]) -> float:
    """Weight-averaged stored bits per weight over the quantisable layers (scales not counted)."""
    total = sum(shape.weights for shape in shapes.values())
    return sum(shapes[name].weights * spec.bits for name, spec in specs.items()) / total
