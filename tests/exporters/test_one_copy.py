"""Whisper's head and token embedding are one matrix: it lies in a `.pte` once, and both read it right."""

import numpy as np
import pytest
import torch

from myqasr.exporters.executorch import lowering
from myqasr.exporters.export import check_file, export_options
from myqasr.exporters.target import load_target
from myqasr.personalize.measuring.sensitivity import measure
from myqasr.personalize.planning.exact import exact_plan, size_limits, uniform_plan
from myqasr.personalize.planning.plan import (
    FLOAT16,
    FLOAT32,
    LayerProfile,
    LayerShape,
    PlanRules,
    Profile,
    QuantSpec,
)
from myqasr.personalize.planning.problem import Problem
from myqasr.personalize.profiling import plan_for
from myqasr.personalize.rounding.codes import LayerCodes
from myqasr.personalize.rounding.layers import round_weight
from myqasr.personalize.rounding.observe import layer_shape
from myqasr.runtime_bench.runners.base import System, open_system
from myqasr.speech.models import load_model
from tests.material.model_folders import save_model
from tests.material.tiny_models import noise

HEAD, TABLE = "proj_out", "decoder.embed_tokens"
TARGETS = ["xnnpack", "executorch"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("whisper")
    save_model("whisper", path)
    return path


def menus(target, model):
    modules = model.layers()
    return [target.menu(layer_shape(name, modules[name])) for name in (HEAD, TABLE)]


def codes_with(model, target, stored):
    """All in float32 but head and table, which have one set of codes."""
    head, table = menus(target, model)
    codes = {name: LayerCodes(FLOAT32) for name in model.layers()}
    integers = ()
    if stored.scheme == "int":
        weight = model.layers()[HEAD].weight
        integers = round_weight(weight, stored, target.scale_dtype(stored))
    for name, menu in ((HEAD, head), (TABLE, table)):
        spec = next(each for each in menu if each.stored == stored)
        codes[name] = LayerCodes(spec, *integers)
    return codes


def written(model, target, codes, path):
    options = export_options(model, 2.0)
    order = target.write(model, codes, path, options)
    check_file(path, target, codes, order, model)
    waveform = model.features(0.1 * noise(20_000)[0].numpy())[0].numpy()
    with_file = {}
    for runner in ("executorch", "executorch-cpp"):
        system = System("", runner, str(path), autoregression=model.tokens.autoregression)
        with_file[runner] = open_system(system, 1).logits(waveform)
    return path.stat().st_size, with_file


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "stored",
    [QuantSpec(4, "int", 32), QuantSpec(4), QuantSpec(8), FLOAT16, FLOAT32],
    ids=lambda spec: spec.label,
)
def test_a_matrix_stored_once_is_read_as_it_was_when_stored_twice(
    name, stored, folder, tmp_path, monkeypatch
):
    model, target = load_model(str(folder)), load_target(name)
    codes = codes_with(model, target, stored)
    size, once = written(model, target, codes, tmp_path / "once.pte")
    monkeypatch.setattr(lowering, "one_copy", lambda data: data)
    twice_size, twice = written(model, target, codes, tmp_path / "twice.pte")
    for runner, logits in once.items():
        np.testing.assert_array_equal(logits, twice[runner])
    matrix_bytes = model.layers()[HEAD].weight.numel() * stored.bits // 8
    if name == "xnnpack":
        assert twice_size - size >= matrix_bytes - 4096
    else:  # constants with the same content are one in ExecuTorch's own writer
        assert twice_size == size


def test_what_a_shared_matrix_weighs_is_foretold_at_every_precision(folder, tmp_path):
    model, target = load_model(str(folder)), load_target("xnnpack")
    modules = model.layers()
    rest = []
    for stored in (FLOAT32, FLOAT16, QuantSpec(8), QuantSpec(4), QuantSpec(4, "int", 32)):
        codes = codes_with(model, target, stored)
        path = tmp_path / f"{stored.label}.pte"
        target.write(model, codes, path, export_options(model, 2.0))
        shapes = {name: layer_shape(name, module) for name, module in modules.items()}
        planned = sum(target.layer_bytes(shapes[name], each.spec) for name, each in codes.items())
        rest.append(path.stat().st_size - planned)
    assert max(rest) - min(rest) < 8_000, rest


def tied_profile(costs_of_head, costs_of_table):
    """A head and a table that are one matrix, and a layer beside them."""
    target = load_target("xnnpack")
    layers = []
    for name, kind, matrix_of, scale in (
        ("fc", "linear", "", 1.0),
        (TABLE, "embedding", HEAD, costs_of_table),
        (HEAD, "linear", "", costs_of_head),
    ):
        shape = LayerShape(name, kind, (4096, 64), False, matrix_of=matrix_of)
        specs = [spec for spec in target.menu(shape) if spec != FLOAT32]
        costs = {spec.label: scale / 4**spec.bits for spec in specs}
        layers.append(LayerProfile(shape, name, costs))
    return Profile("m", "w", "a", 1, 1.0, 25, "fisher", 0, 0, tuple(layers))


@pytest.mark.parametrize("allocation", ["exact", "greedy", "min-max", "sweep"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_no_plan_stores_one_matrix_at_two_precisions(allocation, share):
    target, profile = load_target("xnnpack"), tied_profile(2.0, 3.0)
    smallest, floats = size_limits(profile, target.offer, 1_000)
    budget = smallest + int(share * (floats - smallest))
    if allocation == "sweep":  # knows no groups: its smallest plan is larger
        budget = max(budget, smallest + 20_000)
    plan = plan_for(profile, target, budget, 1_000, PlanRules(allocation=allocation))
    assert plan.layers[HEAD].stored == plan.layers[TABLE].stored
    costs = [layer.cost(plan.layers[layer.shape.name]) for layer in profile.layers]
    assert plan.expected_cost == pytest.approx(sum(costs))
    sizes = [target.layer_bytes(x.shape, plan.layers[x.shape.name]) for x in profile.layers]
    assert plan.predicted_bytes == 1_000 + sum(sizes)


def test_the_table_counts_where_its_matrix_gets_bits():
    target = load_target("xnnpack")

    def bits_of_head(costs_of_table):
        profile = tied_profile(0.01, costs_of_table)
        smallest, _ = size_limits(profile, target.offer, 0)
        problem = Problem(profile, "xnnpack", target.offer, int(1.6 * smallest), 0)
        return exact_plan(problem).layers[HEAD].bits

    assert bits_of_head(0.0) < bits_of_head(100.0)


def test_a_kept_table_keeps_its_head():
    target, profile = load_target("xnnpack"), tied_profile(1.0, 1.0)
    _, floats = size_limits(profile, target.offer, 0)
    rules = PlanRules(precisions=("int4-a8d", "int8-a8d"), keep=(f"{TABLE}=8",))
    plan = plan_for(profile, target, floats, 0, rules)
    assert plan.layers[HEAD].bits >= 8


def test_uniform_bits_are_uniform_for_both_who_read_the_matrix(folder):
    model, target = load_model(str(folder)), load_target("xnnpack")
    modules = model.layers()
    layers = tuple(
        LayerProfile(shape, name, {spec.label: 0.0 for spec in target.menu(shape)})
        for name, shape in ((name, layer_shape(name, modules[name])) for name in modules)
    )
    profile = Profile("m", "w", "a", 1, 1.0, 25, "fisher", 0, 0, layers)
    for bits in (4, 8):
        plan = uniform_plan(profile, "xnnpack", target.offer, 0, bits)
        assert plan.layers[HEAD].stored == plan.layers[TABLE].stored == QuantSpec(bits)


def test_a_layer_that_reads_anothers_matrix_has_its_codes_and_they_are_right_in_every_row(folder):
    model, target = load_model(str(folder)), load_target("xnnpack")
    clips = [0.1 * noise(20_000, seed)[0].numpy() for seed in range(2)]
    measured = measure(model, clips, target.menu, target.scale_dtype, "audio")
    layers = {layer.shape.name: layer for layer in measured.profile.layers}
    assert TABLE not in measured.rounding.layers or not measured.rounding.layers[TABLE]
    for label in ("int4", "int8", "int4-g32"):
        spec = QuantSpec.from_label(label)
        own = measured.rounding.codes(layers[TABLE], spec)
        of_head = measured.rounding.codes(layers[HEAD], QuantSpec.from_label(f"{label}-a8d"))
        assert torch.equal(own.codes, of_head.codes)
        assert torch.equal(own.scales, of_head.scales)
        assert layers[TABLE].costs[label] > 0
        weight = model.layers()[HEAD].weight.detach()
        nearest, _ = round_weight(weight, spec, target.scale_dtype(spec))
        # Made up for what the head hears, and yet no row that is looked up is far off.
        assert not torch.equal(own.codes, nearest)
        errors = (own.dequantized(weight) - weight).square().sum(dim=1)
        least = (LayerCodes(spec, nearest, own.scales).dequantized(weight) - weight).square()
        assert (errors <= 4 * least.sum(dim=1)).all()
