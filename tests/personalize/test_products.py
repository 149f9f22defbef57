"""The products that costs are made of are those of the kernels' own outputs, however they are computed."""

import gc
import weakref

import pytest
import torch
from torch import nn

from myqasr.personalize.measuring.products import LastInput, Products
from myqasr.personalize.planning.plan import QuantSpec
from myqasr.personalize.rounding.codes import ActivationRange, LayerCodes
from myqasr.personalize.rounding.kernels import layer_output
from myqasr.personalize.rounding.layers import nearest_palette, round_palettes, round_weight
from myqasr.speech.models.base import TokenEmbedding

DRAWS = 3
INTEGERS = ("int4-g32", "int4-g32-a8d", "int8-a8d", "int4", "int8-a8s")


def candidates(weight: torch.Tensor, labels: tuple[str, ...]) -> list[LayerCodes]:
    found = []
    for label in labels:
        spec = QuantSpec.from_label(label)
        grid = ActivationRange(0.05, 3) if spec.activation == "int8-static" else None
        if spec.scheme == "float":
            found.append(LayerCodes(spec))
        elif spec.scheme == "lut":
            tables = round_palettes(weight, spec.group_size, None)(spec.bits)
            found.append(LayerCodes(spec, nearest_palette(weight, tables), tables))
        else:
            pair = round_weight(weight, spec.stored, "float32")
            found.append(LayerCodes(spec, *pair, grid, grid))
    return found


def products_of(module: nn.Module, x: torch.Tensor, labels: tuple[str, ...]):
    """What `Products` finds, and what the outputs say, [draws, candidates] each."""
    torch.manual_seed(1)
    with torch.no_grad():
        codes = candidates(module.weight, labels)
        y = module(x)
        specs = [each.spec for each in codes]
        found = Products(module, x, y, specs, lambda: codes, LastInput())
        expected = []
        for _ in range(DRAWS):
            gradient = torch.randn_like(y)
            found.add(gradient)
            if found.wants_input:
                found.add_at_input(gradient @ module.weight)
            outputs = [
                layer_output(module, x, each, each.dequantized(module.weight)) for each in codes
            ]
            expected.append([float((gradient * (o - y)).double().sum()) for o in outputs])
    return torch.from_numpy(found.all()), torch.tensor(expected, dtype=torch.float64)


@pytest.mark.parametrize("positions", [7, 500])
def test_a_linear_layers_products_are_those_of_its_outputs(positions):
    torch.manual_seed(0)
    module, x = nn.Linear(96, 700), torch.randn(1, positions, 96)
    labels = (*INTEGERS, "lut4", "lut3-g100")
    found, expected = products_of(module, x, labels)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)


def test_float16_counts_what_it_does_to_inputs_and_weights():
    torch.manual_seed(0)
    module, x = nn.Linear(96, 64), torch.randn(1, 50, 96)
    found, expected = products_of(module, x, ("fp16", "int4"))
    # The rounding of results to float16 isn't in it: next to nothing, and not the layer's own doing.
    assert float((found - expected)[:, 0].abs().max()) < 0.2
    assert float(found[:, 0].abs().max()) < 0.05 * float(expected[:, 1].abs().max())


def test_a_convolutions_products_are_those_of_its_windows():
    torch.manual_seed(0)
    module, x = nn.Conv1d(8, 40, 4, stride=2), torch.randn(1, 8, 300)
    found, expected = products_of(module, x, INTEGERS)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("label", ["int4-g32", "int8", "lut4-g20", "lut4"])
def test_a_table_of_tokens_is_expanded_only_where_it_is_looked_up(label):
    torch.manual_seed(0)
    module = TokenEmbedding(100, 64)
    ids = torch.tensor([[3, 99, 3, 0, 41]])
    found, expected = products_of(module, ids, (label,))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_what_a_layer_holds_is_free_as_soon_as_its_costs_are_known():
    """Not when Python gets round to its cycles: by then several clips' tensors would have piled up."""
    module, x = nn.Linear(96, 64), torch.randn(1, 50, 96)
    codes = candidates(module.weight.detach(), INTEGERS)
    specs = [each.spec for each in codes]
    gc.disable()
    try:
        products = Products(module, x, module(x).detach(), specs, lambda: codes, LastInput())
        products.add(torch.randn(1, 50, 64))
        products.all()
        held = weakref.ref(products)
        del products
        assert held() is None
    finally:
        gc.enable()
