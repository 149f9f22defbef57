"""What a measuring that may be killed has got so far."""

from collections.abc import MutableMapping

from myqasr.personalize.measuring.method import ClipCosts
from myqasr.personalize.planning.plan import LayerProfile
from myqasr.personalize.rounding.codes import Precisions


class Keeping:
    """Keeps it in memory, for who doesn't want to go on after a kill; `personalize.unfinished` has files.

    layers: as seen in the float model, without costs; None until all clips were heard. rounded: layer ->
    codes. clips: index -> costs.
    """

    def __init__(self) -> None:
        self.layers: tuple[LayerProfile, ...] | None = None
        self.rounded: MutableMapping[str, Precisions] = {}
        self.clips: dict[int, ClipCosts] = {}

    def keep_layers(self, layers: tuple[LayerProfile, ...]) -> None:
        """All clips were heard."""
        self.layers = layers

    def keep_clip(self, index: int, costs: ClipCosts) -> None:
        """One more clip was measured."""
        self.clips[index] = costs
