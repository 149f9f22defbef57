"""What a measuring that may be killed has got so far."""

from collections.abc import MutableMapping

from myqasr.personalize.measuring.method import ClipCosts
from myqasr.personalize.planning.plan import LayerProfile
from myqasr.personalize.rounding.codes import Precisions


class Fitted:
    """Codes made for some clips, and the layers as those clips show them.

    layers: without costs; None until all the clips were heard. rounded: layer -> codes.
    """

    def __init__(self) -> None:
        self.layers: tuple[LayerProfile, ...] | None = None
        self.rounded: MutableMapping[str, Precisions] = {}

    def keep_layers(self, layers: tuple[LayerProfile, ...]) -> None:
        """All clips were heard."""
        self.layers = layers


class Keeping:
    """Keeps it in memory, for who doesn't want to go on after a kill; `personalize.unfinished` has files.

    whole: made for all clips. halves: for every other clip, from the first and from the second on. clips:
    index -> costs.
    """

    def __init__(self) -> None:
        self.whole, self.halves = Fitted(), (Fitted(), Fitted())
        self.clips: dict[int, ClipCosts] = {}

    def keep_clip(self, index: int, costs: ClipCosts) -> None:
        """One more clip was measured."""
        self.clips[index] = costs
