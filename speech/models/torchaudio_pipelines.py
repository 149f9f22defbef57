"""torchaudio's fine-tuned pipelines: `torchaudio:WAV2VEC2_ASR_BASE_960H` instead of a folder.

torchaudio is an extra and imported only here. Its wheels are linked to CUDA builds of torch; beside a CPU
build its Python layer works once the compiled files are removed from `torchaudio/lib`: all that this needs.
"""

import math
from typing import Any

from torch import Tensor, nn

from myqasr.core.errors import ModelError, NotInstalledError
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel, min_input_samples, need_sample_rate
from myqasr.speech.models.pretrained import fold_weight_norm, plain_layer_norm


def load(name: str, model_id: str) -> SpeechModel:
    """Load the pipeline of this name, through torchaudio's own download or cache (`$TORCH_HOME`).

    Raises UserError when torchaudio isn't there, knows no such recogniser, or can't fetch its weights.
    """
    bundle = _bundle(name, model_id)
    try:
        model = bundle.get_model()
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"the weights of {model_id} can't be fetched or loaded: {reason}"
        ) from error
    need_sample_rate(model_id, bundle.sample_rate)
    # Pipelines that normalise their input wrap the model; the wrapper can't be traced.
    plain = getattr(model, "model", model)
    plain.requires_grad_(False)
    fold_weight_norm(plain)
    convolutions = [block.conv for block in plain.feature_extractor.conv_layers]
    kernels = [convolution.kernel_size[0] for convolution in convolutions]
    strides = [convolution.stride[0] for convolution in convolutions]
    return SpeechModel(
        model_id=model_id,
        module=WaveformToLogits(plain, normalize=plain is not model).eval(),
        layer_prefix="model.",
        tokens=Tokens(tuple(_written(label) for label in bundle.get_labels()), blank=0),
        normalize=False,
        stride_samples=math.prod(strides),
        min_samples=min_input_samples(kernels, strides),
    )


class WaveformToLogits(nn.Module):
    """One waveform, normalised as the pipeline does, to logits."""

    def __init__(self, model: nn.Module, normalize: bool) -> None:
        super().__init__()
        self.model = model
        self.normalize = normalize

    def forward(self, waveform: Tensor) -> Tensor:
        """[1, samples] -> [1, frames, vocab]."""
        if self.normalize:
            waveform = plain_layer_norm(waveform, (1,))
        logits: Tensor = self.model(waveform)[0]
        return logits


def _bundle(name: str, model_id: str) -> Any:
    try:
        from torchaudio import pipelines
    except (ImportError, OSError) as error:
        raise NotInstalledError(
            f"{model_id} needs torchaudio for this build of torch ({error})",
            "pip install 'myqasr[torchaudio]' beside a CUDA build",
        ) from error
    bundle = getattr(pipelines, name, None)
    if not isinstance(bundle, pipelines.Wav2Vec2ASRBundle):
        recognisers = (
            each
            for each in dir(pipelines)
            if isinstance(getattr(pipelines, each), pipelines.Wav2Vec2ASRBundle)
        )
        raise ModelError(f"torchaudio has no recogniser {name}; it has: {', '.join(recognisers)}")
    return bundle


def _written(label: str) -> str:
    """A space for `|`, nothing for fairseq's own labels, such as <s>."""
    special = len(label) > 2 and label[0] + label[-1] == "<>"
    return "" if special else label.replace("|", " ")
