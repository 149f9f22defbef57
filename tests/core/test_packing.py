"""Bits of several values in a byte: the layouts that file formats prescribe, and nothing lost."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from myqasr.core import packing


def unsigned(bits):
    return st.lists(st.integers(0, 2**bits - 1), max_size=70)


@given(st.integers(1, 8).flatmap(lambda bits: st.tuples(st.just(bits), unsigned(bits))))
def test_the_first_value_lies_in_the_lowest_bits_as_tflite_xnnpack_and_core_ml_read_it(
    given_values,
):
    bits, values = given_values
    data = packing.pack(np.array(values, np.uint8), bits)
    as_one_number = sum(value << (bits * place) for place, value in enumerate(values))
    assert data.tobytes() == as_one_number.to_bytes(-(-len(values) * bits // 8), "little")
    assert packing.unpack(data, bits, len(values)).tolist() == values


@given(st.sampled_from([1, 2, 4, 8]).flatmap(lambda bits: st.tuples(st.just(bits), unsigned(bits))))
def test_the_first_value_lies_in_the_highest_bits_as_executorchs_embeddings_read_it(given_values):
    bits, values = given_values
    data = packing.pack(np.array(values, np.uint8), bits, first="high")
    size = -(-len(values) * bits // 8)
    as_one_number = sum(
        value << (8 * size - bits * (place + 1)) for place, value in enumerate(values)
    )
    assert data.tobytes() == as_one_number.to_bytes(size, "big")
    assert packing.unpack(data, bits, len(values), first="high").tolist() == values


@given(st.integers(1, 8).flatmap(lambda bits: st.tuples(st.just(bits), unsigned(bits))))
def test_signed_codes_come_back_from_both_ways_of_storing_them(given_values):
    bits, values = given_values
    codes = np.array([value - 2 ** (bits - 1) for value in values], np.int8)
    with_half_added = packing.to_offset(codes, bits)
    assert with_half_added.tolist() == values
    assert packing.from_offset(with_half_added, bits).tolist() == codes.tolist()
    complements = packing.to_twos_complement(codes, bits)
    assert complements.tolist() == [int(code) % 2**bits for code in codes]
    assert packing.from_twos_complement(complements, bits).tolist() == codes.tolist()


def test_data_of_another_length_and_orders_that_no_format_has_are_refused():
    with pytest.raises(ValueError, match="5 values of 4 bits don't take 2 bytes"):
        packing.unpack(np.zeros(2, np.uint8), 4, 5)
    with pytest.raises(ValueError, match="straddle"):
        packing.pack(np.zeros(2, np.uint8), 3, first="high")
