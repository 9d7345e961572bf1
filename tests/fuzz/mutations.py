"""Sound JSON documents with a few things wrong in them, and values of every kind and length that a service may send."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.canned import Reply

__all__ = [
    "attribute_values",
    "integers",
    "iterators",
    "json_values",
    "mutated",
    "replies",
    "row_names",
    "sequence_numbers",
]


def _of_digits(length: int) -> st.SearchStrategy[int]:
    return st.integers(10 ** (length - 1), 10**length - 1)


# Where numbers end: 2**53 for floats, 2**63 in other languages, 38 digits in DynamoDB; and beyond by one.
_EDGES = tuple(edge + step for edge in (2**31, 2**53, 2**63, 10**38) for step in (-1, 0, 1))
integers: st.SearchStrategy[int] = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from(_EDGES + tuple(-edge for edge in _EDGES)),
    st.sampled_from((38, 39)).flatmap(_of_digits),
)
# DynamoDB's have 21 to 40 digits by its reference, Kinesis' 56 as seen and 129 by its reference; and beyond by one.
sequence_numbers: st.SearchStrategy[str] = (
    st.sampled_from((1, 20, 21, 38, 39, 40, 41, 55, 56, 57, 128, 129, 130)).flatmap(_of_digits).map(str)
)
# By their references Kinesis' have 512 characters at most and DynamoDB's 2,048; and beyond by one.
iterators: st.SearchStrategy[str] = st.builds(
    lambda letter, length: letter * length,
    st.sampled_from("aA0+/=: é"),
    st.sampled_from((1, 2, 511, 512, 513, 2047, 2048, 2049, 10_000)),
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | integers
    | sequence_numbers
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "0", "-1", "NaN", "9" * 200, "TRIM_HORIZON", "2026-11-20T08:00:00Z", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(document, dict):
        for name in document:
            yield from _places(document[name], (*path, name))
    elif isinstance(document, list):
        for index in range(len(document)):
            yield from _places(document[index], (*path, index))


@st.composite
def mutated(draw: st.DrawFn, sound: dict[str, Any], *, most: int = 3) -> dict[str, Any]:
    """``sound`` with up to ``most`` values replaced, taken out or doubled, at drawn places."""
    document = copy.deepcopy(sound)
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(document))
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        parent = document
        for step in above:
            parent = parent[step]
        what = draw(st.sampled_from(("replace", "replace", "remove", "double")))
        if what == "replace":
            parent[last] = draw(json_values)
        elif what == "remove":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        else:
            parent[draw(st.text(max_size=4))] = copy.deepcopy(parent[last])
    return document


_CODES = (
    "",
    "42",
    "ConditionalCheckFailedException",
    "ExpiredIteratorException",
    "InternalServerError",
    "LimitExceededException",
    "ResourceNotFoundException",
    "ThrottlingException",
    "TrimmedDataAccessException",
    "UnheardOfException",
    "ValidationException",
)


@st.composite
def replies(draw: st.DrawFn, sound: dict[str, Any]) -> tuple[Reply, dict[str, Any] | None]:
    """A reply made from ``sound``, and its document where it is a success with a whole body."""
    kind = draw(st.sampled_from(("mutated", "mutated", "mutated", "cut", "error", "noise")))
    headers = {"date": draw(st.sampled_from(("Fri, 20 Nov 2026 08:00:00 GMT", "yesterday", "")))}
    if kind == "error":
        document = {"__type": f"com.amazonaws#{draw(st.sampled_from(_CODES))}", "message": draw(st.text(max_size=9))}
        document |= draw(st.sampled_from(({}, {"Item": draw(json_values)})))
        body = json.dumps(draw(mutated(document, most=1))).encode()
        return Reply(body, draw(st.sampled_from((400, 400, 403, 408, 413, 429, 500, 503))), **headers), None
    document = draw(mutated(sound))
    body = json.dumps(document).encode()
    if kind == "cut":
        return Reply(body[: draw(st.integers(0, len(body) - 1))], **headers), None
    if kind == "noise":
        return Reply(draw(st.binary(max_size=30)), draw(st.sampled_from((200, 204, 301, 502))), **headers), None
    return Reply(body, **headers), document


# --- attributes of items -----------------------------------------------------------------------------------------

_numbers = st.one_of(
    integers.map(str),
    st.integers(-(10**38) + 1, 10**38 - 1).map(str),
    st.sampled_from(["0", "-0", "1E125", "9.9999999999999999999999999999999999999E+125", "-1E-130", "0.1"]),
    st.decimals(-(10**9), 10**9, places=4).map(str),
)
_leaves = st.one_of(
    st.text(max_size=12).map(lambda value: {"S": value}),
    _numbers.map(lambda value: {"N": value}),
    st.binary(max_size=12).map(lambda value: {"B": value}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    st.lists(st.text(max_size=5), max_size=3, unique=True).map(lambda values: {"SS": values}),
    st.lists(_numbers, max_size=3, unique=True).map(lambda values: {"NS": values}),
    st.lists(st.binary(max_size=5), max_size=3, unique=True).map(lambda values: {"BS": values}),
)
attribute_values: st.SearchStrategy[dict[str, Any]] = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda values: {"L": values}),
        st.dictionaries(st.text(max_size=5), inner, max_size=4).map(lambda values: {"M": values}),
    ),
    max_leaves=12,
)

row_names = st.sampled_from(
    [
        "leaseOwner",
        "checkpointOwner",
        "leaseCounter",
        "checkpoint",
        "checkpointSubSequenceNumber",
        "ownerSwitchesSinceCheckpoint",
        "parentShardId",
        "childShardIds",
        "startingHashKey",
        "endingHashKey",
        "pendingCheckpoint",
        "pendingCheckpointState",
        "pendingCheckpointSubSequenceNumber",
        "throughputKBps",
        "leaseholdStream",
        "leaseholdStartAt",
        "leaseholdCreatedAt",
        "leaseholdTakenBack",
        "leaseholdApp",
        "leaseholdRules",
        "leaseholdNewcomer",
        "ownerName",
        "recordVersionNumber",
        "leaseDuration",
        "isReleased",
        "cv",
        "tm",
        "mb",
        "mts",
        "h",
        "entityType",
        "lut",
        "sts",
        "opr",
        "sup",
        "slu",
        "leaseholdBeat",
        "leaseholdDraining",
        "leaseholdFailover",
        "leaseholdMaxLeases",
        "somethingElse",
    ]
)
