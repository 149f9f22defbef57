"""Kilobyte models and simple codes for tests: random weights, real shapes, milliseconds to run."""

import random

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from myqasr.exporters.target import Target
from myqasr.personalize.planning.plan import LayerShape, QuantSpec
from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes
from myqasr.personalize.rounding.layers import nearest_palette, round_palettes, stored_scale
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.speech.decoding import Tokens
from myqasr.speech.models.base import SpeechModel
from myqasr.speech.models.wav2vec2 import from_module

VOCABULARY = ("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz'", "<unk>", "<s>", "</s>")
TOKENS = Tokens(("", " ", *VOCABULARY[2:]), blank=0)


def tiny_ctc(
    seed: int = 0,
    stable_layer_norm: bool = True,
    layers: int = 2,
    hidden: int = 64,
    feed_forward: int = 128,
) -> SpeechModel:
    """`tiny_transformer` as everything downstream sees it."""
    model = tiny_transformer(seed, stable_layer_norm, layers, hidden, feed_forward)
    return from_module(model, TOKENS, normalize=True, model_id=f"tiny-{seed}")


def tiny_transformer(
    seed: int = 0,
    stable_layer_norm: bool = True,
    layers: int = 2,
    hidden: int = 64,
    feed_forward: int = 128,
) -> Wav2Vec2ForCTC:
    """About 0.1 M random weights, 640 samples per frame, shortest input 650 samples."""
    torch.manual_seed(seed)
    config = Wav2Vec2Config(
        vocab_size=len(TOKENS.symbols),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=feed_forward,
        conv_dim=(32, 32, 64),
        conv_kernel=(10, 8, 8),
        conv_stride=(10, 8, 8),
        feat_extract_norm="group",
        do_stable_layer_norm=stable_layer_norm,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        pad_token_id=0,
    )
    config._attn_implementation = "eager"
    model = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def noise(samples: int, seed: int = 0) -> Tensor:
    """Model input [1, samples]: unit white noise, the same for the same seed."""
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))


def layer_shapes(model: SpeechModel) -> dict[str, LayerShape]:
    """Shape of every quantisable layer by name."""
    return {name: layer_shape(name, module) for name, module in model.layers().items()}


def random_specs(model: SpeechModel, target: Target, seed: int = 0) -> dict[str, QuantSpec]:
    """A precision for every layer, drawn from the target's menu."""
    draw = random.Random(seed)
    return {name: draw.choice(target.menu(shape)) for name, shape in layer_shapes(model).items()}


def random_codes(
    model: SpeechModel, target: Target, specs: dict[str, QuantSpec], samples: int = 16_000
) -> dict[str, LayerCodes]:
    """Round-to-nearest codes of the model's weights; static ranges are those of one noise input."""
    ranges = observed_ranges(model, noise(samples, seed=1))
    return {
        name: nearest_codes(module.weight.detach(), specs[name], target, *ranges[name])
        for name, module in model.layers().items()
    }


def nearest_codes(
    weight: Tensor,
    spec: QuantSpec,
    target: Target,
    input_range: ActivationRange,
    output_range: ActivationRange,
) -> LayerCodes:
    """One layer rounded to nearest under max-abs scales, as the target stores them."""
    if spec.scheme == "float":
        return LayerCodes(spec)
    if spec.scheme == "lut":
        tables = round_palettes(weight, spec.group_size, None)(spec.bits)
        return LayerCodes(spec, nearest_palette(weight, tables), tables)
    out_channels = weight.shape[0]
    groups = weight[0].numel() // spec.group_size if spec.group_size is not None else 1
    grouped = weight.reshape(out_channels, groups, -1)
    largest = 2 ** (spec.bits - 1) - 1
    scales = (grouped.abs().amax(2) / largest).clamp_min(1e-8)
    scales = stored_scale(scales, target.scale_dtype(spec))
    codes = (grouped / scales[:, :, None]).round().clamp(-largest - 1, largest)
    static = spec.activation == "int8-static"
    return LayerCodes(
        spec,
        codes.to(torch.int8).reshape(weight.shape),
        scales,
        input_range if static else None,
        output_range if static else None,
    )


def observed_ranges(
    model: SpeechModel, waveform: Tensor
) -> dict[str, tuple[ActivationRange, ActivationRange]]:
    """Input and output grid of every layer on one input [1, samples]."""
    seen: dict[str, tuple[ActivationRange, ActivationRange]] = {}

    def record(name: str):
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            seen[name] = (grid(inputs[0]), grid(output))

        return hook

    hooks = [m.register_forward_hook(record(name)) for name, m in model.layers().items()]
    with torch.inference_mode():
        model.module(*model.inputs(waveform[0].numpy()))
    for hook in hooks:
        hook.remove()
    return seen


def grid(tensor: Tensor) -> ActivationRange:
    """Asymmetric int8 grid that covers a tensor and zero."""
    low, high = min(float(tensor.min()), 0.0), max(float(tensor.max()), 0.0)
    scale = max((high - low) / 255, 1e-8)
    return ActivationRange(scale, max(-128, min(127, round(-128 - low / scale))))
