"""Encoders with a classification head over the whole clip: keyword spotting, intents."""

import math

from torch import Tensor, nn

from myqasr.core.errors import ModelError
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel, min_input_samples
from myqasr.speech.models.pretrained import (
    feature_extractor,
    fold_weight_norm,
    in_id_order,
    load_pretrained,
    refused,
)


def load(source: str, model_id: str, architecture: str) -> SpeechModel:
    """Load from a local folder or hub id; raises UserError when files are missing or don't fit."""
    model = load_pretrained(source, model_id, architecture).eval().requires_grad_(False)
    with refused(model_id, architecture):
        normalize = feature_extractor(source).do_normalize
    config = model.config
    fold_weight_norm(model)
    return SpeechModel(
        model_id=model_id,
        module=OneFrame(model).eval(),
        layer_prefix="model.",
        tokens=label_tokens(
            {label: int(index) for index, label in config.id2label.items()}, source
        ),
        normalize=normalize,
        stride_samples=math.prod(config.conv_stride),
        min_samples=min_input_samples(config.conv_kernel, config.conv_stride),
    )


def label_tokens(labels: dict[str, int], source: str) -> Tokens:
    """Labels by id as what each output writes; raises UserError when there are fewer than two."""
    if len(labels) < 2:
        raise ModelError(f"{source} tells {len(labels)} labels apart; a classifier has two or more")
    return Tokens(in_id_order(labels, source), blank=None)


class OneFrame(nn.Module):
    """A classifier's logits as the single frame of a recogniser's."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, 1, labels]."""
        logits: Tensor = self.model(waveform).logits
        return logits[:, None]
