"""What deciding needs to know of a target, as a value: its precisions, and what they weigh. No torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from myqasr.personalize.planning.plan import LayerShape, QuantSpec

if TYPE_CHECKING:
    from myqasr.speech.models.base import SpeechModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTarget:
    """A runtime's files as a plan sees them.

    menu: precisions that its kernels really run for a layer, fp32 last. layer_bytes: bytes of the file that
    a choice is answerable for: weights, scales, bias, bookkeeping. scale_dtype: how the file stores a
    precision's scales (`float32`, `bfloat16`, `float16`, or two joined by `+`: values both hold), so that
    codes are chosen for those. overhead_bytes: estimate of the bytes that no plan changes, replaced by the
    measured figure after an export. when_asked: its precisions are many, and are measured only for who
    plans for it.
    """

    name: str
    menu: Callable[[LayerShape], tuple[QuantSpec, ...]]
    layer_bytes: Callable[[LayerShape, QuantSpec], int]
    scale_dtype: Callable[[QuantSpec], str]
    overhead_bytes: Callable[["SpeechModel"], int]
    when_asked: bool = False


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Targets that are measured together, so that one profile and one set of codes serve all."""

    members: tuple[PlanTarget, ...]

    def menu(self, shape: LayerShape) -> tuple[QuantSpec, ...]:
        """Every precision that some target runs for this layer."""
        return tuple(dict.fromkeys(spec for each in self.members for spec in each.menu(shape)))

    def scale_dtype(self, spec: QuantSpec) -> str:
        """Scales that every target stores unchanged: of all types that are coarser than float32."""
        types = {part for each in self.members for part in each.scale_dtype(spec).split("+")} - {
            "float32"
        }
        return "+".join(sorted(types)) or "float32"
