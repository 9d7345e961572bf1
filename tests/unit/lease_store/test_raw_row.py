"""Rows in the replies to batches, read from their bytes: each stands for itself, whatever is wrong with another."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from lease_store import verbs
from lease_store.item import from_item, to_item
from lease_store.lease import Lease, PendingCheckpoint
from lease_store.raw_row import RawRow
from lease_store.store import Applied, Unknown
from tests.unit.lease_store.scripted_server import Bench, ok, raw

LEASES = [Lease(key=f"shard-{number}", counter=7, owner="w1") for number in range(3)]
WRITES = [verbs.take(lease, "w1") for lease in LEASES]
TAKEN = [replace(lease, counter=8) for lease in LEASES]


async def write(bench: Bench) -> list[Any]:
    results: list[Any] = await bench.store.write_many(WRITES, timeout_seconds=5.0)
    return results


@pytest.mark.parametrize(
    "item",
    [
        {"leaseKey": {"S": "shard-1"}, "leaseCounter": {"S": "8"}, "checkpoint": {"S": "LATEST"}},  # InvalidRow
        {"leaseKey": {"S": "shard-1"}, "leaseCounter": {"N": 8}, "checkpoint": {"S": "LATEST"}},  # not of the model
        {"leaseKey": {"S": "shard-1"}, "leaseCounter": 8},
        ["leaseKey"],
        "shard-1",
    ],
)
async def test_a_row_that_can_not_be_read_leaves_its_own_write_unknown_and_no_other(bench: Bench, item: Any) -> None:
    items = [to_item(TAKEN[0]), item, to_item(TAKEN[2])]
    bench.server.will("BatchExecuteStatement", ok(Responses=[{"Item": each} for each in items]))
    first, second, third = await write(bench)
    assert (first, third) == (Applied(TAKEN[0]), Applied(TAKEN[2]))
    assert isinstance(second, Unknown)
    assert "was applied" in second.reason


async def test_a_reply_that_is_not_quite_json_is_read_all_the_same(bench: Bench) -> None:
    """Half a surrogate pair in an attribute of somebody's own: Python reads it, and it costs no row."""
    bodies = [json.dumps(to_item(lease)) for lease in TAKEN]
    bodies[1] = bodies[1][:-1] + ', "note": {"S": "\\ud83d"}}'
    reply = '{"Responses": [' + ", ".join(f'{{"Item": {body}, "Error": null}}' for body in bodies) + "]}"
    bench.server.will("BatchExecuteStatement", raw(200, reply.encode()))
    first, second, third = await write(bench)
    assert (first, third) == (Applied(TAKEN[0]), Applied(TAKEN[2]))
    assert isinstance(second, Applied)
    assert second.lease is not None
    assert second.lease.extra == {"note": {"S": "\ud83d"}}


async def test_bytes_that_are_no_text_cost_their_own_row_only(bench: Bench) -> None:
    bodies = [json.dumps(to_item(lease)).encode() for lease in TAKEN]
    bodies[1] = bodies[1].replace(b'"w1"', b'"w\xff"')
    reply = b'{"Responses": [' + b", ".join(b'{"Item": ' + body + b"}" for body in bodies) + b"]}"
    bench.server.will("BatchExecuteStatement", raw(200, reply))
    first, second, third = await write(bench)
    assert (first, third) == (Applied(TAKEN[0]), Applied(TAKEN[2]))
    assert isinstance(second, Unknown)


@pytest.mark.parametrize(
    "reply", [b'{"Responses": {}}', b'{"Responses": [1, 2, 3]}', b'{"Responses": ["a", null]}', b"[]"]
)
async def test_a_reply_of_another_shape_leaves_all_unknown(bench: Bench, reply: bytes) -> None:
    bench.server.will("BatchExecuteStatement", raw(200, reply))
    results = await write(bench)
    assert [type(each) for each in results] == [Unknown] * 3


def test_a_row_is_the_same_lease_as_by_the_codec() -> None:
    """An ordinary one without the codec; one with a prepared checkpoint, which is none, with it."""
    ordinary, prepared = LEASES[0], replace(LEASES[0], pending_checkpoint=PendingCheckpoint(LEASES[0].checkpoint, None))
    asked: list[bytes] = []

    def read(body: bytes) -> Any:
        asked.append(body)
        return json.loads(body)

    for lease in (ordinary, prepared):
        item = to_item(lease)
        assert RawRow(json.dumps(item).encode(), read).lease() == from_item(item) == lease
    assert len(asked) == 1
