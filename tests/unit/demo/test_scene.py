"""From journals to what is shown, and how it is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from consumer.demo.journal import Appender, Delivery, Write
from consumer.demo.live_view import LiveView, picture
from consumer.demo.plain_view import PlainView
from consumer.demo.scene import Scene, WorkerState
from consumer.demo.stage import ShardState, StreamState


class Run:
    """A scene over files that the test appends to."""

    def __init__(self, folder: Path) -> None:
        self.files = {name: folder / name for name in ("ada", "ben")}
        self.writes = folder / "writes"
        self.scene = Scene("dynamodb:orders", self.writes, self.files, began=100.0, seconds=45.0)
        self.scene.states = {"ada": (4001, WorkerState.RUNNING), "ben": (4002, WorkerState.RUNNING)}
        shards = (ShardState("shardId-00-aaaaaaaa", (), True), ShardState("shardId-00-bbbbbbbb", (), False))
        self.scene.stream = StreamState(shards, rotations=3, splits=1, merges=0)

    def wrote(self, key: str, version: int, at: float) -> None:
        with Appender(self.writes) as file:
            file.append([Write(key, version, "put", at)])

    def got(self, worker: str, key: str, version: int, at: float, shard: str = "shardId-00-aaaaaaaa") -> None:
        with Appender(self.files[worker]) as file:
            file.append([Delivery(shard, key, str(version), version, worker, 1, at)])


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_lag_is_the_age_of_the_oldest_write_that_nobody_was_given(run: Run):
    run.wrote("k", 1, 101.0)
    run.got("ada", "k", 1, 101.2)
    run.wrote("k", 2, 102.0)
    run.wrote("k", 3, 103.0)
    run.scene.read()
    row = run.scene.snapshot(105.0).shards[0]
    assert (row.owner, row.waiting, row.lag_seconds, row.records) == ("ada", 2, 3.0, 1)
    assert run.scene.undelivered == 2


def test_a_delivery_that_is_seen_before_its_journal_line_does_not_wait_for_ever(run: Run):
    run.got("ada", "k", 1, 101.2)
    run.scene.read()
    run.wrote("k", 1, 101.3)
    run.scene.read()
    assert run.scene.undelivered == 0


def test_a_new_owner_is_an_event_with_the_pause_and_its_cause(run: Run):
    run.got("ada", "k", 1, 101.0)
    run.scene.read()
    run.got("ben", "k", 2, 101.5)
    run.scene.read()
    run.scene.states["ben"] = (4002, WorkerState.KILLED)
    run.got("ada", "k", 3, 112.0)
    run.scene.read()
    assert [event.text for event in run.scene.snapshot(113.0).events] == [
        "…aaaaaaaa from ada to ben, handed over in 0.50 s",
        "…aaaaaaaa from ben to ada, taken over after 10.50 s",
    ]


def test_only_open_shards_count_as_owned(run: Run):
    run.got("ada", "k", 1, 101.0)
    run.got("ada", "l", 1, 101.0, shard="shardId-00-bbbbbbbb")
    run.scene.read()
    assert run.scene.owned("ada") == ["shardId-00-aaaaaaaa"]
    assert run.scene.owned("ben") == []


def test_the_plain_view_tells_each_event_once_and_progress_now_and_then(run: Run):
    out = io.StringIO()
    view = PlainView(out)
    for second in range(12):
        for number in range(30):  # more than are kept
            run.scene.note(100.0 + second, f"event {second}.{number}")
        view.show(run.scene.snapshot(100.0 + second))
    lines = out.getvalue().splitlines()
    assert len([line for line in lines if "event" in line]) == 12 * 30
    assert [line.split(" s")[0].strip() for line in lines if "on their way" in line] == ["0.0", "5.0", "10.0"]


@pytest.mark.parametrize(("width", "height"), [(60, 24), (80, 24), (200, 60), (60, 12)])
def test_the_live_view_fits_its_terminal_and_shows_who_owns_what(run: Run, width: int, height: int):
    run.scene.stream = StreamState(
        tuple(ShardState(f"shardId-00-{number:08d}", (), True) for number in range(40)), 12, 4, 0
    )
    for number in range(40):
        run.wrote(f"k{number}", 1, 101.0)
        run.got("ada", f"k{number}", 1, 102.0, shard=f"shardId-00-{number:08d}")
        run.wrote(f"k{number}", 2, 103.0)
        run.scene.note(103.0, f"a long event about a shard that was taken over from somebody by somebody {number}")
    run.scene.read()
    run.scene.states["ben"] = (4002, WorkerState.KILLED)
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    with console.capture() as capture:
        console.print(picture(run.scene.snapshot(130.0), min(width, 100), height))
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height - 1, 20)
    text = "\n".join(lines)
    assert "…00000000" in text
    assert "killed with -9" in text
    assert "27.0 s" in text
    assert ("more shards" in text) == (height < 60)


def test_the_live_view_leaves_the_last_picture_standing(run: Run):
    out = io.StringIO()
    with LiveView(Console(file=out, force_terminal=True, width=80, height=30)) as view:
        view.say("before")
        run.scene.note(101.0, "something happened")
        view.show(run.scene.snapshot(102.0))
    assert "before" in out.getvalue()
    assert "something happened" in out.getvalue()
    assert out.getvalue().endswith("\x1b[?25h")  # the cursor is back
