"""What deciding needs to know of a target, as a value: its precisions, and what they weigh. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from myqasr.personalize.planning.plan import LayerShape, QuantSpec
from myqasr.personalize.planning.problem import Offer

if TYPE_CHECKING:
    from myqasr.speech.models.base import SpeechModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTarget:
    """A runtime's files as a plan sees them.

    menu: precisions that its kernels really run for a layer, widest last: fp32 wherever a file may hold
    floats. layer_bytes: bytes of the file that
    a choice is answerable for: weights, scales, bias, bookkeeping. scale_dtype: how the file stores a
    precision's scales (`float32`, `bfloat16`, `float16`, or two joined by `+`: values both hold), so that
    codes are chosen for those. overhead_bytes: estimate of the bytes that no plan changes, replaced by the
    measured figure after an export. when_asked: its precisions are many, or its scales coarse: codes are made
    to suit it, and its precisions measured, only for who plans for it. one_copy: layers that read one matrix
    have one precision, and its file holds that matrix once; `layer_bytes` of the second are without it.
    alike: of a file that has one precision for many layers, which they are; by `QuantSpec.stored`, so that
    a table of tokens can be among them.
    """

    name: str
    menu: Callable[[LayerShape], tuple[QuantSpec, ...]]
    layer_bytes: Callable[[LayerShape, QuantSpec], int]
    scale_dtype: Callable[[QuantSpec], str]
    overhead_bytes: Callable[["SpeechModel"], int]
    when_asked: bool = False
    one_copy: bool = False
    alike: Callable[[LayerShape], bool] | None = None

    @property
    def offer(self) -> Offer:
        """What a plan may choose from."""
        return Offer(self.menu, self.layer_bytes, self.one_copy, self.alike)


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Targets for which codes are made together, so that one set of them serves all.

    asked: the one whose precisions are measured now, a member; None: those of all members.
    """

    members: tuple[PlanTarget, ...]
    asked: PlanTarget | None = None

    @property
    def name(self) -> str:
        """Of what is measured, for people."""
        return "all targets" if self.asked is None else self.asked.name

    def menu(self, shape: LayerShape) -> tuple[QuantSpec, ...]:
        """Every precision to be measured: those that the target runs for this layer, or any of all."""
        targets = self.members if self.asked is None else (self.asked,)
        return tuple(dict.fromkeys(spec for each in targets for spec in each.menu(shape)))

    def scale_dtype(self, spec: QuantSpec) -> str:
        """Scales that every target stores unchanged: of all types that are coarser than float32."""
        types = {part for each in self.members for part in each.scale_dtype(spec).split("+")} - {
            "float32"
        }
        return "+".join(sorted(types)) or "float32"
