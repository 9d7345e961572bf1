"""The model's writes are the recorded ones of the Java KCL, condition and change, or its worlds would prove nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lease_store.attributes import canonical
from lease_store.writes import Absent, Is
from tests.simulation.kcl import requests
from tests.simulation.kcl.requests import Request
from tests.simulation.kcl.rows import JavaLease
from tests.simulation.kcl.shuffle import leader_of, shuffled

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "kcl-3.5.1-requests.json").read_text())
# The simulated shards have no hash ranges, which the KCL writes along with each checkpoint.
NOT_MODELLED = ("startingHashKey", "endingHashKey")

MOVED = JavaLease("shardId-000000000001", 28, 0, "1", owner="w1")
PENDING = JavaLease("shardId-000000000001", 30, 0, "1", owner="w2", checkpoint_owner="w1")
FIRST = JavaLease("shardId-000000000000", 1, 0, "TRIM_HORIZON", owner="w1")
CHILD = JavaLease("shardId-000000000004", 0, 0, "TRIM_HORIZON", parents=("shardId-000000000000",))
MERGED = JavaLease(
    "shardId-000000000006", 0, 0, "TRIM_HORIZON", parents=tuple(f"shardId-00000000000{n}" for n in (2, 1))
)
CHECKPOINT = "49680403256948804399580198224514377484616758836661846018"

SAME = {
    "create": requests.create(JavaLease("shardId-000000000000", 0, 0, "TRIM_HORIZON")),
    "create_child": requests.create(CHILD),
    "create_merge_child": requests.create(MERGED),
    "renew": requests.renew(FIRST, looks_for_hand_off=True),
    "set_checkpoint": requests.checkpoint(JavaLease("shardId-000000000000", 4, 0, "TRIM_HORIZON", "w1"), CHECKPOINT),
    "start_hand_off": requests.start_hand_off(MOVED, "w2"),
    "finish_hand_off": requests.assign(PENDING, "w2"),
}


def recorded(name: str) -> dict[str, Any]:
    """A golden write in the terms of the model's."""
    request = GOLDEN[name]["request"]
    updates = request.get("AttributeUpdates", {})
    puts = {key: each["Value"] for key, each in updates.items() if each["Action"] == "PUT"}
    whole = request.get("Item", {})
    return {
        "expects": {
            key: canonical(each["Value"]) if "Value" in each else None for key, each in request["Expected"].items()
        },
        "sets": {key: canonical(each) for key, each in (puts or whole).items() if key not in NOT_MODELLED},
        "removes": {key for key, each in updates.items() if each["Action"] == "DELETE"},
        "adds": {key: int(each["Value"]["N"]) for key, each in updates.items() if each["Action"] == "ADD"},
        "key": (request.get("Key") or whole)["leaseKey"]["S"],
    }


def modelled(request: Request) -> dict[str, Any]:
    expects = {}
    for expect in request.expects:
        assert isinstance(expect, Is | Absent)
        expects[expect.attribute] = canonical(expect.value) if isinstance(expect, Is) else None
    return {
        "expects": expects,
        "sets": {key: canonical(each) for key, each in request.sets.items()},
        "removes": set(request.removes),
        "adds": dict(request.adds),
        "key": request.key,
    }


@pytest.mark.parametrize("name", SAME)
def test_a_write_of_the_model_is_the_one_that_was_recorded(name: str) -> None:
    assert modelled(SAME[name]) == recorded(name)


def test_an_addition_is_made_where_the_request_arrives() -> None:
    """The KCL's assignment has not read the counter: it adds to whatever it meets."""
    write = requests.assign(PENDING, "w2").at({"leaseKey": {"S": PENDING.key}, "leaseCounter": {"N": "35"}})
    assert write.sets is not None
    assert write.sets["leaseCounter"] == {"N": "36"}


@pytest.mark.parametrize(
    ("workers", "order"),
    [(1, [0]), (2, [0, 1]), (3, [2, 0, 1]), (5, [4, 0, 2, 1, 3]), (8, [2, 3, 0, 6, 4, 7, 1, 5])],
)
def test_the_shuffle_of_a_2x_fleet_is_javas(workers: int, order: list[int]) -> None:
    names = [f"w{n:02d}" for n in range(workers)]
    assert shuffled(names) == [names[n] for n in order]
    assert leader_of(names) == names[order[0]]


def test_the_shuffle_of_twenty_begins_as_javas_and_of_nobody_leads_nobody() -> None:
    assert shuffled([f"w{n:02d}" for n in range(20)])[:5] == ["w14", "w00", "w11", "w10", "w04"]
    assert leader_of(()) is None
