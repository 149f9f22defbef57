"""With little speech, costs lean on what is known of speakers in general, and say so."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.core.storage import load_record
from myqasr.exporters.target import load_target
from myqasr.personalize.adapting.weights import copied
from myqasr.personalize.planning.exact import uniform_plan
from myqasr.personalize.planning.plan import LayerProfile, LayerShape, Profile, QuantSpec
from myqasr.personalize.planning.problem import Offer
from myqasr.personalize.planning.shrinkage import expected_cost, shrunk
from myqasr.personalize.prior import POPULATION, load_prior
from myqasr.personalize.run_folder import KeptPrior, RunFolder
from myqasr.speech.models import load_model
from tests.conftest import USERS, invoke

SHAPE = LayerShape("a", "linear", (8, 32), False)


def profile(seconds: float, cost: float, weights: str = "w") -> Profile:
    layer = LayerProfile(SHAPE, "a", {"int4-a8d": cost, "int8-a8d": cost / 10}, {"x": cost})
    return Profile("m", weights, "h", 4, seconds, 100, "fisher", 0, 1024, (layer,))


@given(
    seconds=st.floats(0.1, 600),
    own=st.floats(1e-6, 1),
    general=st.floats(1e-6, 1),
)
def test_mixed_costs_lie_between_and_are_the_speakers_own_from_a_minute_on(seconds, own, general):
    mixed = shrunk(profile(seconds, own), profile(900, general)).layers[0]
    low, high = min(own, general), max(own, general)
    assert low * 0.999999 <= mixed.costs["int4-a8d"] <= high * 1.000001
    if seconds >= 60:
        assert mixed.costs["int4-a8d"] == pytest.approx(own)
    assert mixed.statistics == {"x": own}


def test_half_a_minute_is_half_the_speakers_own():
    mixed = shrunk(profile(30, 0.2), profile(900, 0.4)).layers[0]
    assert mixed.costs["int4-a8d"] == pytest.approx(0.3)


def test_a_prior_of_other_weights_or_without_a_cost_is_refused():
    with pytest.raises(UserError, match="measured on weights other"):
        shrunk(profile(5, 0.1), profile(900, 0.1, weights="other"))
    poor = profile(900, 0.1)
    poor = replace(poor, layers=(replace(poor.layers[0], costs={"int4-a8d": 0.1}),))
    with pytest.raises(UserError, match="no cost of a at int8-a8d"):
        shrunk(profile(5, 0.1), poor)


def test_a_plan_costs_what_its_layers_cost_whoever_it_was_made_for():
    speaker = profile(60, 0.2)
    target = load_target("xnnpack")
    menu = [QuantSpec.from_label(label) for label in ("int4-a8d", "int8-a8d", "fp32")]
    general = profile(900, 0.7)
    plan = uniform_plan(general, "xnnpack", Offer(lambda shape: menu, target.layer_bytes), 0, 8)
    assert plan.layers["a"].label == "int8-a8d"
    assert expected_cost(speaker, plan) == pytest.approx(0.02)


def test_the_embedded_models_population_is_that_of_its_weights_and_of_no_other_model(tiny_model):
    model = load_model("default")
    population = load_prior(None, model)
    assert population is not None
    assert {layer.shape.name for layer in population.profile.layers} == set(model.layers())
    assert population.profile.seconds > 100
    assert len(population.waveforms()) == 32
    assert load_prior(None, load_model(str(tiny_model))) is None
    with pytest.raises(UserError, match=r"not on .*measure many speakers"):
        load_prior(POPULATION, load_model(str(tiny_model)))


def test_a_few_seconds_of_speech_are_said_to_be_little_and_the_generic_plan_is_compared(tmp_path):
    out = tmp_path / "out"
    arguments = ("personalize", "default", USERS / "synth-bea" / "tune", "--clips", 2)
    done = invoke(*arguments, "--budget", "4MB", "--out", out)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "That is little: costs are" in text
    assert "The generic plan of the same size would cost this speaker" in text
    assert "±" in text
    kept = load_record(out / "prior.json", KeptPrior).costs
    assert kept == load_record(POPULATION, Profile)
    # Later commands plan with the same mixed costs.
    plan = RunFolder(out).load_plan("xnnpack")
    done = invoke("curve", out, "--budgets", plan.budget_bytes, "--json")
    assert json.loads(done.stdout)[0]["expected_cost"] == pytest.approx(plan.expected_cost)


def test_a_run_of_many_speakers_serves_as_prior_for_one(tiny_model, tune_clips, tmp_path):
    many, one = tmp_path / "many", tmp_path / "one"
    for arguments in (
        (tune_clips, "--out", many),
        (tune_clips / "000.ogg", "--out", one, "--prior", many),
    ):
        done = invoke("personalize", tiny_model, *arguments, "--budget", "0.5x")
        assert done.exit_code == 0, done.output
    assert "generic plan" in done.output
    assert (one / "prior.json").is_file()
    assert json.loads((one / "profile.json").read_text())["rounding"].startswith("gptq, ")
    done = invoke("personalize", tiny_model, tune_clips, "--budget", "0.5x", "--out", one)
    assert done.exit_code == 0, done.output
    assert not (one / "prior.json").exists()
    assert json.loads((one / "profile.json").read_text())["rounding"] == "gptq"


def test_a_model_that_learned_one_person_leans_on_the_speakers_of_the_published_one():
    published = load_model("default")
    module = copied(published.module)
    next(module.parameters()).data.mul_(1.01)
    learned = replace(published, module=module, adapted_from=published.weights_hash())
    prior, before = load_prior(None, learned), load_prior(None, published)
    assert prior is not None
    assert before is not None
    assert prior.profile.weights_hash == learned.weights_hash() != before.profile.weights_hash
    assert prior.profile.layers == before.profile.layers
    assert load_prior(None, replace(learned, adapted_from=None)) is None
