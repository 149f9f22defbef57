"""Specs, plans and sizes survive their JSON form; nonsense is refused with the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from myqasr.core.errors import UserError
from myqasr.core.storage import load_record, save_record
from myqasr.personalize.planning.budget import format_bytes, parse_budget
from myqasr.personalize.planning.plan import FLOAT32, LayerProfile, LayerShape, Plan, QuantSpec

specs = st.one_of(
    st.builds(
        QuantSpec,
        st.integers(1, 8),
        st.sampled_from(["int", "lut"]),
        st.none() | st.integers(1, 512),
        st.sampled_from(["float", "int8-dynamic", "int8-static"]),
    ),
    st.builds(QuantSpec, st.sampled_from([16, 32]), st.just("float")),
)


@given(specs)
def test_precision_labels_round_trip(spec):
    assert QuantSpec.from_label(spec.label) == spec


@pytest.mark.parametrize(
    "label", ["int9", "fp8", "int4-g0", "int4-x", "", "int4-g32-a8d-", "fp32-g4"]
)
def test_unknown_precision_labels_are_refused(label):
    with pytest.raises(UserError):
        QuantSpec.from_label(label)


def plan(**changes) -> Plan:
    values = {
        "profile_hash": "h",
        "target": "xnnpack",
        "method": "exact",
        "budget_bytes": 10,
        "predicted_bytes": 9,
        "overhead_bytes": 1,
        "expected_cost": 0.5,
        "lower_bound": 0.5,
        "layers": {"a": QuantSpec(4, "int", 32, "int8-dynamic"), "b": FLOAT32},
    }
    return Plan(**(values | changes))


def test_plan_file_reads_back_equal(tmp_path):
    save_record(plan(), tmp_path / "plan.json")
    assert load_record(tmp_path / "plan.json", Plan) == plan()


def test_plan_file_with_an_unknown_key_is_refused_by_name(tmp_path):
    save_record(plan(), tmp_path / "plan.json")
    text = (tmp_path / "plan.json").read_text()
    (tmp_path / "plan.json").write_text(text.replace('"target"', '"tarjet": 1, "target"'))
    with pytest.raises(UserError, match=r"plan\.json"):
        load_record(tmp_path / "plan.json", Plan)


def test_plan_over_its_own_budget_cannot_exist():
    with pytest.raises(UserError, match="11 bytes exceeds its budget of 10"):
        plan(predicted_bytes=11)


def test_nan_cost_never_enters_a_profile():
    with pytest.raises(UserError, match="layer a"):
        LayerProfile(LayerShape("a", "linear", (2, 2), False), "a", {"int8-a8d": float("nan")})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4MB", 4_000_000),
        ("3.5 MiB", 3_670_016),
        ("900KB", 900_000),
        ("1kib", 1024),
        ("1,234,567", 1_234_567),
        ("77B", 77),
        ("0.2x", 3_000),
        ("1x", 15_000),
    ],
)
def test_sizes_as_people_write_them(text, expected):
    assert parse_budget(text, 15_000) == expected


@pytest.mark.parametrize("text", ["", "MB", "-4MB", "4XB", "0", "0x", "four", "4 M B"])
def test_unreadable_sizes_say_how_to_write_them(text):
    with pytest.raises(UserError):
        parse_budget(text, 15_000)


@given(st.integers(1, 10**12))
def test_ratio_never_rounds_above_the_exact_share(size):
    assert parse_budget("0.1x", size * 10) == size


def test_sizes_print_with_their_unit():
    assert format_bytes(4_210_000) == "4.21 MB"
    assert format_bytes(999) == "999 B"
    assert format_bytes(188_800_000) == "189 MB"
