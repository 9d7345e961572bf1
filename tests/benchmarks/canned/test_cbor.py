"""CBOR against the examples of RFC 8949, appendix A, and there and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.benchmarks.canned.bodies import KINESIS_CBOR, payload
from tests.benchmarks.canned.cbor import decode, encode

# Both ways: the shortest form.
EXAMPLES: list[tuple[Any, str]] = [
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-1, "20"),
    (-1000, "3903e7"),
    (1.1, "fb3ff199999999999a"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("IETF", "6449455446"),
    ("水", "63e6b0b4"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
]


@pytest.mark.parametrize(("value", "hexadecimal"), EXAMPLES, ids=[each[1] for each in EXAMPLES])
def test_the_examples_of_the_rfc_both_ways(value: Any, hexadecimal: str):
    assert encode(value).hex() == hexadecimal
    found = decode(bytes.fromhex(hexadecimal))
    assert (found, type(found)) == (value, type(value))


def test_maps_and_lists_without_a_length_as_java_sends_them():
    assert decode(bytes.fromhex("bf61610161629f0203ffff")) == {"a": 1, "b": [2, 3]}


def test_a_timestamp_is_tag_one_around_milliseconds():
    moment = datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
    assert encode(moment) == b"\xc1\x1b" + round(moment.timestamp() * 1000).to_bytes(8, "big")
    assert decode(encode(moment)) == moment


@pytest.mark.parametrize("broken", ["", "18", "4401", "a161", "9f01", "c20000", "0000", "f8ff", "1c"])
def test_what_is_no_value_is_refused(broken: str):
    with pytest.raises(ValueError, match=r"CBOR|Tag"):
        decode(bytes.fromhex(broken))


def test_a_prepared_page_is_one_value():
    page = decode(KINESIS_CBOR.body(7, 3, "next"))
    assert page["NextShardIterator"] == "next"
    assert [record["SequenceNumber"][-12:] for record in page["Records"]] == [f"{n:012d}" for n in (7, 8, 9)]
    assert page["Records"][0]["Data"] == payload(7)
    assert page["Records"][0]["ApproximateArrivalTimestamp"] == datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=UTC)
