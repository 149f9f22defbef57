"""A Whisper whose weights are the same function, bit for bit, and lose less when they are rounded.

An int8 kernel has one range for all channels of an input row, and 4-bit weights have one scale for a group
of them: where a norm makes a few channels loud, the others get few codes. What the norm is divided by,
channel by channel, the layers that read it can take back: x / s times s * W (SmoothQuant: Xiao et al., ICML
2023). Here s is a power of two, so that no product changes, and is found from the weights alone: a norm's own
gain and bias say how loud its channels are. How far activations count against weights is chosen for each norm
by the errors to expect at 8 and at 4 bits.

The head's matrix is the table of tokens, too: its rows are multiplied by 1 / s again after they are read. A
runtime that has no place for that needs the table as it was published; all else can stay even.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from myqasr.speech.models.base import PUBLISHED, Source, SpeechModel
from myqasr.speech.models.whisper.network import Whisper

STRENGTHS = (0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0)
"""Of activations; the rest is for weights. The first is no scaling at all."""
MOST_ROWS = 1024
"""Of weights, evenly chosen: a channel's size shows in few of them."""
DRAWN = 256
GROUP = 32
FAINTEST = 2.0**-10
"""Of the loudest channel; what is fainter isn't raised further."""


@torch.no_grad()
def even(module: Whisper, with_table: bool = True) -> None:
    """Divide the norms' channels, and multiply the weights of what reads them.

    with_table: False leaves out the head where it is the table of tokens, too.
    """
    shared = bool(module.decoder.embed_tokens.matrix_of)
    for norm, readers in _seams(module):
        if shared and not with_table and module.proj_out in readers:
            continue
        scales = scales_of(norm, [reader.weight for reader in readers])
        if bool((scales == 1).all()):
            continue
        for one in (norm.weight, norm.bias):
            _set(one, one / scales)
        for reader in readers:
            _set(reader.weight, reader.weight * scales)
        table = module.decoder.embed_tokens
        if module.proj_out in readers and table.matrix_of:
            _set(table.weight, table.weight * scales)
            module.token_factors = 1 / scales


@torch.no_grad()
def with_published_table(model: SpeechModel) -> SpeechModel:
    """The same function with the table of tokens as it was published; the model itself is not changed.

    What `NAME?table=published` loads, to the bit, and named so. Other models are returned as they are.
    """
    if not isinstance(model.module, Whisper) or model.module.token_factors is None:
        return model
    module = copy.deepcopy(model.module)
    factors = model.module.token_factors
    norm = module.decoder.layer_norm
    for one in (norm.weight, norm.bias):
        _set(one, one / factors)
    for one in (module.proj_out.weight, module.decoder.embed_tokens.weight):
        _set(one, one * factors)
    module.token_factors = None
    named = str(replace(Source.parse(model.model_id), table=PUBLISHED))
    return replace(model, model_id=named, module=module)


def _set(parameter: Tensor, values: Tensor) -> None:
    """Other memory, too: what was loaded may lie in a file."""
    parameter.data = values


def _seams(module: Whisper) -> Iterator[tuple[nn.LayerNorm, list[nn.Linear]]]:
    """Norms, and all that reads what each gives."""
    encoder, decoder = module.encoder, module.decoder
    for layer in (*encoder.layers, *decoder.layers):
        mine = layer.self_attn
        yield layer.self_attn_layer_norm, [mine.q_proj, mine.k_proj, mine.v_proj]
        yield layer.final_layer_norm, [layer.fc1]
    for layer in decoder.layers:
        yield layer.encoder_attn_layer_norm, [layer.encoder_attn.q_proj]
    theirs = [layer.encoder_attn for layer in decoder.layers]
    yield encoder.layer_norm, [each for at in theirs for each in (at.k_proj, at.v_proj)]
    yield decoder.layer_norm, [module.proj_out]


def scales_of(norm: nn.LayerNorm, weights: Sequence[Tensor]) -> Tensor:
    """Powers of two [channels] to divide a norm's output by. weights: of what reads it, [out, channels]."""
    drawn = torch.randn(DRAWN, len(norm.weight), generator=torch.Generator().manual_seed(0))
    rows = drawn.to(norm.weight) * norm.weight + norm.bias
    read = torch.cat([weight[:: -(-len(weight) // MOST_ROWS)] for weight in weights])
    loud, heavy = _sizes(rows), _sizes(read)
    best, least = torch.ones_like(loud), float("inf")
    for strength in STRENGTHS:
        exponents = strength * loud - (1 - strength) * heavy if strength else torch.zeros_like(loud)
        scales = torch.exp2((exponents - exponents.mean()).round())
        at_8_bits, at_4_bits = _errors(rows / scales, read * scales)
        expected = at_8_bits * at_4_bits
        if expected < least:
            best, least = scales, expected
    return best


def _sizes(values: Tensor) -> Tensor:
    """Logarithm to base 2 of the largest magnitude of each column."""
    largest = values.abs().amax(dim=0)
    return largest.clamp_min(max(float(largest.max()) * FAINTEST, 1e-30)).log2()


def _errors(rows: Tensor, weights: Tensor) -> tuple[float, float]:
    """Mean squared errors to expect of a product at 8 and 4 bits, its input at int8, but for a factor.

    rows [n, channels], weights [out, channels]; one group where 32 doesn't divide the channels.
    """
    span = rows.amax(dim=1).clamp_min(0) - rows.amin(dim=1).clamp_max(0)
    of_rows = (span / 255).square().mean() * weights.square().sum() / len(weights)
    power = rows.square().mean(dim=0)
    steps = weights.abs().amax(dim=1) / 127
    of_bytes = steps.square().mean() * power.sum()
    size = GROUP if len(power) % GROUP == 0 else len(power)
    grouped = weights.abs().unflatten(1, (-1, size)).amax(dim=2) / 7.5
    of_nibbles = (grouped.square().mean(dim=0) * power.unflatten(0, (-1, size)).sum(dim=1)).sum()
    return float(of_rows + of_bytes), float(of_rows + of_nibbles)
