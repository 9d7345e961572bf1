"""The Java loops over the real canned server: CBOR as the SDK speaks it, and a count that tells a lost record."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.benchmarks.canned.places import stream_of
from tests.benchmarks.contenders.counting import Slots
from tests.benchmarks.contenders.java import JAVA
from tests.benchmarks.contenders.registry import COURSES, Course, Places
from tests.benchmarks.processes import Canned, Child
from tests.integration.kcl.java import NotBuilt

pytestmark = pytest.mark.integration

LOOP = next(each for each in JAVA if each.name == "java-sdk")
READ = [replace(course, stream=stream_of("busy-4")) for course in COURSES if course.touch != "untouched"]
RECORDS = 5000


@pytest.fixture
def canned(tmp_path: Path) -> Iterator[Canned]:
    with Canned(tmp_path) as server:
        yield server


def command(course: Course, places: Places) -> list[str]:
    """The loop's; skips where there is no Java."""
    if reason := LOOP.missing():
        pytest.skip(reason)
    try:
        return LOOP.command(course, places)
    except NotBuilt as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


def read(course: Course, canned: Canned, folder: Path, slots: Slots) -> str:
    """Let the loop count until it had enough, or something came wrong; what it said."""
    places = Places(canned.url, "", folder / "counts", 0)
    with Child("loop", command(course, places), LOOP.environment(course, places), folder) as child:
        deadline = time.monotonic() + 60.0
        while slots.total() < RECORDS and not slots.wrong():
            child.check()
            assert time.monotonic() < deadline, child.last_words()
            time.sleep(0.02)
        return child.last_words()


@pytest.mark.parametrize("course", READ, ids=[course.name for course in READ])
def test_every_record_of_every_shard_comes_in_its_place(course: Course, canned: Canned, tmp_path: Path):
    slots = Slots.create(tmp_path / "counts", course.stream.shards)
    read(course, canned, tmp_path, slots)
    assert slots.wrong() == []
    assert canned.counts()["calls"][f"{course.service}.GetRecords"] >= RECORDS // 1000


def test_a_record_out_of_its_place_is_told(canned: Canned, tmp_path: Path):
    """One has been counted already: what comes first is that one again."""
    slots = Slots.create(tmp_path / "counts", READ[-1].stream.shards)
    slots.hand_over(0, [b"000000000000"], int)
    assert "Slot 0: record 0 came as 1." in read(READ[-1], canned, tmp_path, slots)
    assert slots.wrong() == [0]
