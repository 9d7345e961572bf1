"""What a change changed: names, paths and values, told from the images as they came."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import ViewTypeMismatch
from consumer.streams.changes import MISSING, Change
from consumer.streams.dynamodb_record import DynamoDBRecord

SECRET = "do-not-log-me"
BOTH = "NEW_AND_OLD_IMAGES"
IMAGES = {"INSERT": {"NewImage"}, "REMOVE": {"OldImage"}, "MODIFY": {"NewImage", "OldImage"}}
CARRIED = {"KEYS_ONLY": set(), "NEW_IMAGE": {"NewImage"}, "OLD_IMAGE": {"OldImage"}, BOTH: {"NewImage", "OldImage"}}

_texts = st.sampled_from(["", "a", "b", "1", "ключ"])
_numbers = st.sampled_from(["0", "1", "1.0", "1E+1", "10", "-0.50"])
_leaves: st.SearchStrategy[dict[str, Any]] = st.one_of(
    _texts.map(lambda value: {"S": value}),
    _numbers.map(lambda value: {"N": value}),
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    st.binary(max_size=2).map(lambda value: {"B": value}),
    st.lists(_texts, min_size=1, max_size=3).map(lambda values: {"SS": values}),
    st.lists(_numbers, min_size=1, max_size=3).map(lambda values: {"NS": values}),
    st.lists(st.binary(max_size=1), min_size=1, max_size=2).map(lambda values: {"BS": values}),
)
_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda values: {"L": values}),
        st.dictionaries(_texts, inner, max_size=3).map(lambda values: {"M": values}),
    ),
    max_leaves=8,
)
items = st.dictionaries(_texts, _values, max_size=4)


def changed(
    old: dict[str, Any] | None, new: dict[str, Any] | None, *, event: str | None = None, view: str | None = BOTH
) -> DynamoDBRecord:
    name = event or ("INSERT" if old is None else "REMOVE" if new is None else "MODIFY")
    change = {"SequenceNumber": "1", "OldImage": old, "NewImage": new, "StreamViewType": view}
    return DynamoDBRecord.from_entry({"eventName": name, "dynamodb": change})


def typed(value: Any) -> Any:
    """A value under which True is not 1."""
    if isinstance(value, dict):
        return {name: typed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [typed(each) for each in value]
    return (type(value), value)


def applied(diff: tuple[Change, ...], item: Any) -> Any:
    """What ``item`` is after ``diff``; what a list loses goes last element first."""
    item = copy.deepcopy(item)
    for change in (*(each for each in diff if each.kind != "removed"), *reversed(diff)):
        *way, last = change.path
        place = item
        for step in way:
            place = place[step]
        if change.kind == "removed":
            del place[last]
        elif isinstance(place, list) and last == len(place):
            place.append(change.new)
        else:
            place[last] = change.new
    return item


@given(items, items)
def test_what_was_with_the_diff_is_what_is(old: dict[str, Any], new: dict[str, Any]) -> None:
    record = changed(old, new)
    diff = record.diff()
    assert typed(applied(diff, record.old_image)) == typed(record.new_image)
    assert record.changed_attributes() == {change.path[0] for change in diff}
    assert [change.path for change in diff] == sorted(change.path for change in diff)
    mirrored = {"added": "removed", "removed": "added", "changed": "changed"}
    back = [(change.path, mirrored[change.kind], change.new, change.old) for change in diff]
    assert [(each.path, each.kind, each.old, each.new) for each in changed(new, old).diff()] == back


@given(items)
def test_all_of_an_item_comes_and_goes_and_nothing_differs_from_itself(item: dict[str, Any]) -> None:
    came, went, stayed = changed(None, item), changed(item, None), changed(item, dict(reversed(item.items())))
    assert [(each.path, each.kind) for each in came.diff()] == [((name,), "added") for name in sorted(item)]
    assert [(each.path, each.kind) for each in went.diff()] == [((name,), "removed") for name in sorted(item)]
    assert {each.path[0]: each.new for each in came.diff()} == came.new_image
    assert came.changed_attributes() == went.changed_attributes() == set(item)
    assert (stayed.diff(), stayed.changed_attributes()) == ((), frozenset())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"N": "1"}, {"N": "1.0"}),
        ({"N": "100"}, {"N": "1E+2"}),
        ({"NS": ["1", "2"]}, {"NS": ["2.0", "1"]}),
        ({"SS": ["a", "b"]}, {"SS": ["b", "a"]}),
        ({"BS": [b"a", b"b"]}, {"BS": [b"b", b"a"]}),
        ({"M": {"a": {"N": "1"}, "b": {"S": "x"}}}, {"M": {"b": {"S": "x"}, "a": {"N": "1.0"}}}),
        ({"L": [{"N": "0"}]}, {"L": [{"N": "-0"}]}),
    ],
)
def test_what_is_only_written_otherwise_is_no_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    for record in (changed({"x": old}, {"x": new}), changed({"x": {"M": {"y": old}}}, {"x": {"M": {"y": new}}})):
        assert (record.diff(), record.changed_attributes()) == ((), frozenset())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"N": "1"}, {"BOOL": True}),
        ({"N": "0"}, {"BOOL": False}),
        ({"L": [{"N": "1"}]}, {"L": [{"BOOL": True}]}),
        ({"S": ""}, {"NULL": True}),
        ({"S": ""}, {"B": b""}),
        ({"S": "1"}, {"N": "1"}),
        ({"L": []}, {"M": {}}),
        ({"L": [{"S": "a"}]}, {"SS": ["a"]}),
        ({"N": "1"}, {"N": "1." + "0" * 36 + "1"}),
    ],
)
def test_another_type_is_another_value(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert changed({"x": old}, {"x": new}).changed_attributes() == {"x"}
    assert len(changed({"x": old}, {"x": new}).diff()) == 1


def test_a_null_is_not_an_absence() -> None:
    record = changed({"came": {"S": "a"}, "went": {"NULL": True}}, {"came": {"NULL": True}, "new": {"NULL": True}})
    assert record.diff() == (
        Change(("came",), "a", None),
        Change(("new",), MISSING, None),
        Change(("went",), None, MISSING),
    )
    assert [change.kind for change in record.diff()] == ["changed", "added", "removed"]


def test_paths_lead_into_maps_and_lists() -> None:
    old = {"a": {"M": {"list": {"L": [{"S": "x"}, {"M": {"deep": {"N": "1"}}}, {"S": "z"}]}, "same": {"BOOL": True}}}}
    new = {"a": {"M": {"list": {"L": [{"S": "x"}, {"M": {"deep": {"N": "2"}}}]}, "same": {"BOOL": True}}}}
    assert changed(old, new).diff() == (
        Change(("a", "list", 1, "deep"), Decimal(1), Decimal(2)),
        Change(("a", "list", 2), "z", MISSING),
    )


def test_what_user_code_did_to_an_image_is_no_change() -> None:
    record = changed({"x": {"S": "a"}}, {"x": {"S": "b"}})
    assert record.new_image is not None
    record.new_image.update(x="a", y="mine")
    assert record.diff() == (Change(("x",), "a", "b"),)


@pytest.mark.parametrize("event", sorted(IMAGES))
@pytest.mark.parametrize("view", sorted(CARRIED))
def test_without_both_images_there_is_an_error_and_no_answer(event: str, view: str) -> None:
    sent = {name: {"x": {"S": "a"}} for name in CARRIED[view] & IMAGES[event]}
    record = changed(sent.get("OldImage"), sent.get("NewImage"), event=event, view=view)
    untold = changed(sent.get("OldImage"), sent.get("NewImage"), event=event, view=None)
    for ask in (record.diff, record.changed_attributes, untold.diff, untold.changed_attributes):
        if sent.keys() == IMAGES[event] and (view == BOTH or ask.__self__ is untold):
            assert len(ask()) == (event != "MODIFY")
        else:
            with pytest.raises(
                ViewTypeMismatch, match=rf"^{ask.__name__}\(\) compares both images.*NEW_AND_OLD_IMAGES"
            ):
                ask()


def test_without_the_kind_of_event_both_images_must_be_there() -> None:
    change = {"SequenceNumber": "1", "NewImage": {"x": {"S": "a"}}}
    with pytest.raises(ViewTypeMismatch):
        DynamoDBRecord.from_entry({"dynamodb": change}).diff()
    assert DynamoDBRecord.from_entry({"dynamodb": change | {"OldImage": {"x": {"S": "b"}}}}).diff()


def test_an_attribute_that_can_not_be_decoded_counts_only_where_it_changed() -> None:
    odd = {"odd": {"X": SECRET}, "x": {"S": "a"}}
    assert changed(odd, odd | {"x": {"S": "b"}}).changed_attributes() == {"x"}
    with pytest.raises(ValueError, match=r"type X .*record\.raw") as caught:
        changed(odd, {"odd": {"X": "other"}}).diff()
    assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match=r"record\.raw"):
        changed({"x": [SECRET]}, {"x": None}).diff()  # type: ignore[dict-item]
    for image in ([SECRET], SECRET, {"x": SECRET}):
        with pytest.raises(ValueError, match=r"record\.raw") as caught:
            changed(image, {}).diff()  # type: ignore[arg-type]
        assert SECRET not in str(caught.value)


def test_a_change_shows_neither_values_nor_keys_of_maps() -> None:
    (change,) = changed({"m": {"M": {SECRET: {"S": "a"}}}}, {"m": {"M": {SECRET: {"S": SECRET}}}}).diff()
    assert repr(change) == "<changed m, below>"
    assert repr(Change(("x",), new=SECRET)) == "<added x>"
    assert (repr(MISSING), str(MISSING)) == ("MISSING", "MISSING")
