"""Own writes: what is marked is known again, and nobody else's change is ever taken for one's own."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from consumer.errors import ViewTypeMismatch
from consumer.own_writes import OwnWrites, check_own_writes
from consumer.record import ViewType
from consumer.streams.dynamodb_record import DynamoDBRecord
from consumer.streams.kinesis_record import KinesisRecord
from consumer.streams.source import StreamIdentity

BOTH = "NEW_AND_OLD_IMAGES"
ITEM = {"pk": "a", "n": 1}
MARKER = "leaseholdWriter"


def typed(item: dict[str, Any] | None) -> Any:
    return None if item is None else {name: TypeSerializer().serialize(value) for name, value in item.items()}


class Still:
    """A clock that stands."""

    def __init__(self, now: float) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now


class World:
    """One writer, its clock, and the records that changes come to."""

    def __init__(self, writer: str = "app", now: float = 1_795_000_000.25) -> None:
        self.clock: Any = Still(now)
        self.mine = OwnWrites(writer, clock=self.clock, random=Random(7))
        self.others = OwnWrites("another", clock=self.clock, random=Random(8))

    def record(
        self, old: Any, new: Any, *, view: str | None = BOTH, later: float = 0.0, **entry: Any
    ) -> DynamoDBRecord:
        change = {
            "SequenceNumber": "1",
            "OldImage": typed(old),
            "NewImage": typed(new),
            "StreamViewType": view,
            "ApproximateCreationDateTime": float(int(self.clock.wall() + later)),
        }
        name = "INSERT" if old is None else "REMOVE" if new is None else "MODIFY"
        return DynamoDBRecord.from_entry({"eventName": name, "dynamodb": change} | entry)

    def owns(self, old: Any, new: Any, **changes: Any) -> bool:
        return self.mine.is_own_write(self.record(old, new, **changes))


@pytest.mark.parametrize("writer", ["app", "an#app#with", "ключ"])
def test_what_one_writes_is_one_s_own_whatever_was_there_before(writer: str) -> None:
    world = World(writer)
    mine, again = world.mine.item(ITEM), world.mine.item(ITEM)
    assert world.owns(None, mine)
    assert world.owns(ITEM, mine)
    assert world.owns(mine, again)
    assert world.owns(world.others.item(ITEM), mine)


def test_what_another_changes_is_not_though_the_marker_is_still_there() -> None:
    world = World()
    mine = world.mine.item(ITEM)
    assert not world.owns(mine, mine | {"n": 2}), "an update leaves the marker where it was"
    assert not world.owns(mine, ITEM), "a put takes it away"
    assert not world.owns(mine, world.others.item(ITEM))
    assert not world.owns(None, ITEM)
    assert not world.owns(ITEM, ITEM | {"n": 2})


def test_a_delete_can_not_be_told() -> None:
    world = World()
    assert not world.owns(world.mine.item(ITEM), None)


@pytest.mark.parametrize("old", [None, ITEM])
def test_a_marker_that_was_copied_is_too_old(old: Any) -> None:
    world = World()
    copied = world.mine.item(ITEM)
    for later, own in ((0, True), (299, True), (-299, True), (302, False), (-302, False), (86_400, False)):
        assert world.owns(old, copied, later=later) is own, later


@pytest.mark.parametrize(
    "marker",
    [
        "",
        "app",
        "app#1",
        "app##",
        "app#x#1",
        "app#²#1",
        "#1#1",
        "app2#1#1",
        "app#-1#1",
        7,
        None,
        ["app#1#1"],
        {"app": 1},
    ],
)
def test_what_is_no_marker_is_nobody_s(marker: Any) -> None:
    world = World(now=0)
    assert world.owns(ITEM, ITEM | {MARKER: "app#1#1"})
    assert not world.owns(ITEM, ITEM | {MARKER: marker})


def test_an_image_that_can_not_be_read_is_somebody_else_s() -> None:
    world = World()
    mine = typed(world.mine.item(ITEM))
    for new in (mine | {MARKER: {"S": mine[MARKER]["S"], "X": "1"}}, mine | {MARKER: "text"}, ["no map"]):
        change = {"SequenceNumber": "1", "NewImage": new, "ApproximateCreationDateTime": world.clock.wall()}
        assert not world.mine.is_own_write(DynamoDBRecord.from_entry({"eventName": "INSERT", "dynamodb": change}))


def test_without_a_time_or_an_old_image_that_should_be_there_it_is_somebody_else_s() -> None:
    world = World()
    mine = world.mine.item(ITEM)
    timeless = DynamoDBRecord.from_entry(
        {"eventName": "INSERT", "dynamodb": {"SequenceNumber": "1", "NewImage": typed(mine)}}
    )
    assert not world.mine.is_own_write(timeless)
    assert not world.owns(None, mine, view=None, eventName="MODIFY")
    assert not world.owns(None, mine, view=None, eventName=None)


@pytest.mark.parametrize("view", ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE", "A_NEW_ONE"])
def test_where_the_view_type_can_not_tell_there_is_an_error_and_no_answer(view: str) -> None:
    world = World()
    with pytest.raises(ViewTypeMismatch, match=rf"view type {view}.*NEW_AND_OLD_IMAGES"):
        world.owns(None, world.mine.item(ITEM), view=view)


@pytest.mark.parametrize("view", [*ViewType, None])
def test_a_stream_that_can_not_tell_is_refused_at_start(view: ViewType | None) -> None:
    stream = StreamIdentity("arn:stream", "arn:stream", "arn", view)
    if view is ViewType.NEW_AND_OLD_IMAGES:
        check_own_writes(stream)
        return
    has = f"has view type {view}" if view else "has no images of items"
    with pytest.raises(ViewTypeMismatch, match=rf"stream arn:stream {has}.*skip_own_writes"):
        check_own_writes(stream)


def test_records_of_kinesis_have_no_writer() -> None:
    assert not World().mine.is_own_write(KinesisRecord.from_entry({"SequenceNumber": "1", "Data": b""}))


def test_each_mark_is_another_and_what_is_given_stays_as_it_is() -> None:
    world = World()
    item = dict(ITEM)
    assert len({world.mine.item(item)[MARKER] for _ in range(100)} | {world.mine.mark()}) == 101
    assert item == ITEM
    assert world.mine.item(typed(ITEM), typed=True)[MARKER].keys() == {"S"}


@pytest.mark.parametrize(
    ("given", "marked"),
    [
        (None, "SET #w = :w"),
        ("", "SET #w = :w"),
        ("SET a = :a", "SET #w = :w, a = :a"),
        ("set a = :a, b = :b", "SET #w = :w, a = :a, b = :b"),
        ("Set\n a = :a", "SET #w = :w,\n a = :a"),
        ("SET#a=:a", "SET #w = :w,#a=:a"),
        ("REMOVE a", "SET #w = :w REMOVE a"),
        ("REMOVE a SET b = :b ADD c :c", "REMOVE a SET #w = :w, b = :b ADD c :c"),
        ("REMOVE #set, a.set, settings, asset", "SET #w = :w REMOVE #set, a.set, settings, asset"),
        ("REMOVE #set SET a = :set", "REMOVE #set SET #w = :w, a = :set"),
    ],
)
def test_an_update_sets_the_marker_beside_what_it_does(given: str | None, marked: str) -> None:
    world = World()
    request = {"Key": {"pk": "a"}, "ExpressionAttributeNames": {"#a": "a"}, "ExpressionAttributeValues": {":a": 1}}
    update = world.mine.update(**request, **({} if given is None else {"UpdateExpression": given}))
    assert update.pop("UpdateExpression") == marked.replace("#w", "#leaseholdWriter").replace(":w", ":leaseholdWriter")
    mark = update["ExpressionAttributeValues"].pop(":leaseholdWriter")
    assert world.owns(ITEM, ITEM | {MARKER: mark})
    assert update == request | {"ExpressionAttributeNames": {"#a": "a", "#leaseholdWriter": MARKER}}
    assert request["ExpressionAttributeValues"] == {":a": 1}
    assert world.mine.update(typed=True)["ExpressionAttributeValues"][":leaseholdWriter"].keys() == {"S"}


def test_an_update_that_can_not_be_marked_is_refused() -> None:
    mine = World().mine
    with pytest.raises(ValueError, match="marked once"):
        mine.update(**mine.update())
    with pytest.raises(ValueError, match="UpdateExpression"):
        mine.update(AttributeUpdates={})


@pytest.mark.parametrize("bad", ['a"b', "a\\b", "a\nb"])
def test_a_name_that_json_escapes_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="quotes, backslashes"):
        OwnWrites("app", attribute=bad)


@pytest.mark.parametrize(
    "bad", [{"writer": ""}, {"attribute": ""}, {"trusted_seconds": 0.5}, {"trusted_seconds": float("nan")}]
)
def test_what_makes_no_sense_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has|lies"):
        OwnWrites(**({"writer": "app"} | bad))


def test_the_marker_s_name_is_free_and_so_is_the_width_of_trust() -> None:
    world = World()
    mine = OwnWrites("app", attribute="написал", trusted_seconds=5, clock=world.clock)
    assert mine.item(ITEM).keys() == {*ITEM, "написал"}
    assert mine.is_own_write(world.record(None, mine.item(ITEM), later=4))
    assert not mine.is_own_write(world.record(None, mine.item(ITEM), later=7))
    assert repr(mine) == "<OwnWrites of app, marked by написал>"
