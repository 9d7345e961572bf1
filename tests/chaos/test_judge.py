"""The judge is judged: a sound recording, and doctored ones of which each breaks one promise."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lease_store.checkpoint import Checkpoint
from lease_store.lease import Lease
from tests.chaos.__main__ import main
from tests.chaos.figures import figures
from tests.chaos.judge import findings
from tests.chaos.plan import StopKind, TroubleKind
from tests.chaos.recording import Recording, Spoilt, Stopped, kept, load
from tests.integration.ledger import Note
from tests.integration.table_history import Stored


def write(at: float, by: str, counter: int, owner: str | None, place: str = "TRIM_HORIZON", **rest: object) -> Stored:
    """A write of ``by`` to shard s1 that the table took at ``at``."""
    row = {"key": "s1", "owner": owner and f"{owner}-f00", "checkpoint": Checkpoint(place), **rest}
    return Stored(by, Lease(counter=counter, **row), at - 0.01, at)


def told(at: float, worker: str, kind: str, tenure: int, *record: object, shard: str = "s1") -> Note:
    return Note(at, worker, kind, shard, tenure, *record)


def sound() -> Recording:
    """Ada has s1 and is frozen; bob takes it, is told to stop, and hands it to cleo, who ends it with a child."""
    return Recording(
        "dynamodb",
        7,
        2.0,
        writes=[
            write(0.0, "ada", 0, None),
            write(1.0, "ada", 1, "ada"),
            write(2.0, "ada", 2, "ada", "10"),
            write(4.5, "bob", 3, "bob", "10"),
            write(5.5, "bob", 4, "bob", "20"),
            write(5.6, "bob", 4, "cleo", "20", checkpoint_owner="bob-f00"),
            write(5.7, "bob", 5, "cleo", "20"),
            write(5.8, "cleo", 6, "cleo", "20"),
            write(5.9, "cleo", 0, "cleo", key="s2"),
            write(6.5, "cleo", 7, "cleo", "SHARD_END", children=("s2",)),
            write(7.5, "cleo", 1, None, key="s2"),
        ],
        refused=1,
        notes=[
            told(1.1, "ada", "initialize", 1),
            told(1.2, "ada", "batch", 1),
            told(1.3, "ada", "record", 1, 10, "a", 1),
            told(2.4, "ada", "batch", 1),
            told(2.5, "ada", "record", 1, 20, "a", 2),
            told(4.6, "bob", "initialize", 3),
            told(4.7, "bob", "batch", 3),
            told(4.8, "bob", "record", 3, 20, "a", 2),
            told(5.05, "ada", "batch", 1),  # stopped between its look at the clock and the call
            told(5.06, "ada", "record", 1, 30, "a", 3),
            told(5.85, "cleo", "initialize", 6),
            told(5.86, "cleo", "batch", 6),
            told(5.87, "cleo", "record", 6, 30, "a", 3),
            told(6.6, "cleo", "initialize", 0, shard="s2"),
            told(6.7, "cleo", "batch", 0, shard="s2"),
            told(6.8, "cleo", "record", 0, 40, "a", 4, shard="s2"),
        ],
        written=[("a", 1), ("a", 2), ("a", 3), ("a", 4)],
        parents={"s1": [], "s2": ["s1"]},
        stopped=[
            Stopped("ada", StopKind.FREEZE, 2.6, 5.0),
            Stopped("bob", StopKind.TERM, 5.5),
            Stopped("ada", StopKind.KILL, 6.0),
            Stopped("cleo", StopKind.TERM, 7.0),
        ],
        troubles=[Spoilt("bob", TroubleKind.CUT_OFF, "table", 4.9, 5.1)],
        exits={"ada": -9, "bob": 0, "cleo": 0},
    )


def test_a_sound_recording_is_found_sound_and_so_is_what_was_kept_of_it(tmp_path: Path) -> None:
    assert findings(sound()) == []
    kept(sound(), tmp_path)
    assert load(tmp_path) == sound()


def test_what_was_kept_is_judged_by_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kept(sound(), tmp_path)
    monkeypatch.setattr(sys, "argv", ["chaos", "--judge", str(tmp_path)])
    assert main() == 0
    assert json.loads(capsys.readouterr().out)["campaigns"][0]["records"]["delivered"] == 4


@pytest.mark.parametrize("content", [None, "", '{"rounds": 1}', '{"written": [], "stopped": [], "troubles": [1]}'])
def test_a_folder_that_holds_no_recording_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        kept(sound(), tmp_path)
        (tmp_path / "campaign.json").write_text(content)
    monkeypatch.setattr(sys, "argv", ["chaos", "--judge", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{tmp_path} holds no recording that can be judged" in capsys.readouterr().err


def test_a_stop_before_the_interpreter_has_started_is_nobodys_fault() -> None:
    recording = sound()
    recording.stopped.append(Stopped("dan", StopKind.TERM, 6.9))
    recording.exits["dan"] = -15
    assert findings(recording) == ["process: dan ended with -15, after term"]
    recording.unborn = ["dan"]
    assert findings(recording) == []


def test_the_figures_are_those_of_the_recording() -> None:
    told_of = figures(sound(), [])
    assert told_of["records"] == {"written": 4, "delivered": 4, "repeated": 2}
    assert told_of["lease_writes"] == {"accepted": 11, "refused": 1}
    assert told_of["takeovers"] == {
        "count": 1,
        "p50_seconds": 2.0,
        "p99_seconds": 2.0,
        "worst_seconds": 2.0,
        "of_workers_that_were_not_stopped": 0,
    }
    assert told_of["longest_silence_of_a_shard_seconds"] == 2.3
    assert told_of["exit_codes_after_sigterm"] == {"0": 2}


def _written_once_more(recording: Recording) -> None:
    recording.written = [*recording.written, ("a", 5)]


def _a_version_left_out(recording: Recording) -> None:
    recording.notes = [note for note in recording.notes if note.version != 1]


def _twice_in_a_tenure(recording: Recording) -> None:
    recording.notes = [*recording.notes, told(6.9, "cleo", "record", 0, 40, "a", 4, shard="s2")]


def _a_child_before_its_parent(recording: Recording) -> None:
    early = [replace(note, at=4.75 + note.at / 1000) if note.shard_id == "s2" else note for note in recording.notes]
    recording.notes = early
    recording.writes[8] = write(4.7, "cleo", 0, "cleo", key="s2")


def _a_checkpoint_that_went_back(recording: Recording) -> None:
    recording.writes[4] = write(5.5, "bob", 4, "bob", "9")


def _a_zombies_checkpoint(recording: Recording) -> None:
    recording.writes[4] = write(5.5, "ada", 4, "bob", "20")


def _a_checkpoint_of_records_not_given(recording: Recording) -> None:
    recording.writes[4:7] = [
        write(5.5, "bob", 4, "bob", "30"),
        write(5.6, "bob", 4, "cleo", "30", checkpoint_owner="bob-f00"),
        write(5.7, "bob", 5, "cleo", "30"),
    ]
    recording.writes[7] = write(5.8, "cleo", 6, "cleo", "30")


def _a_take_too_early(recording: Recording) -> None:
    recording.stopped[0].at = 2.0
    recording.writes[3] = write(3.9, "bob", 3, "bob", "10")


def _an_end_without_the_childs_row(recording: Recording) -> None:
    recording.writes[8] = write(6.6, "cleo", 0, "cleo", key="s2")


def _a_tenure_never_won(recording: Recording) -> None:
    recording.notes = [replace(note, tenure=2) if note.worker == "bob" else note for note in recording.notes]


def _a_second_call_of_a_woken_worker(recording: Recording) -> None:
    recording.notes = [*recording.notes, told(5.3, "ada", "batch", 1)]


def _a_call_long_after_waking(recording: Recording) -> None:
    recording.stopped[0].woken_at = 4.0


def _a_call_after_the_lease_was_let_go(recording: Recording) -> None:
    recording.notes = [*recording.notes, told(5.75, "bob", "batch", 3)]


def _a_row_that_still_names_a_worker(recording: Recording) -> None:
    del recording.writes[-1]


def _a_stop_that_failed(recording: Recording) -> None:
    recording.exits["bob"] = 4


def _an_end_by_itself(recording: Recording) -> None:
    recording.exits["dan"] = 1


def _a_traceback(recording: Recording) -> None:
    recording.tracebacks = ["dan"]


@pytest.mark.parametrize(
    ("doctor", "wrong"),
    [
        (_written_once_more, "lost: version 5 of a"),
        (_a_version_left_out, "order: a: version 2"),
        (_twice_in_a_tenure, "twice in a tenure: ('cleo', 's2', 0): 40 after 40"),
        (_a_child_before_its_parent, "early: s2 before the end of s1"),
        (_a_checkpoint_that_went_back, "lease table: s1 at counter 4 by bob: checkpoint 9 after 10"),
        (_a_zombies_checkpoint, "lease table: s1 at counter 4 by ada: owned by bob-f00"),
        (_a_checkpoint_of_records_not_given, "lease table: s1 at 30 by bob, which was not given that record before"),
        (_a_take_too_early, "lease table: s1 at counter 3 by bob: taken from ada-f00 after a silence of 1.90 s"),
        (_an_end_without_the_childs_row, "lease table: s1 ended by cleo before the row of s2"),
        (_a_tenure_never_won, "user code: s1 was begun by bob with token 2, which it never won"),
        (_a_second_call_of_a_woken_worker, "user code: s1 was given records by ada while it was bob-f00's"),
        (_a_call_long_after_waking, "user code: s1 was given records by ada while it was bob-f00's"),
        (_a_call_after_the_lease_was_let_go, "user code: s1 was given records by bob while it was cleo-f00's"),
        (_a_row_that_still_names_a_worker, "at rest: s2 still names cleo-f00"),
        (_a_stop_that_failed, "process: bob ended with 4, after term"),
        (_an_end_by_itself, "process: dan ended with 1, after nothing was done to it"),
        (_a_traceback, "process: dan logged a traceback"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_each_broken_promise_is_found(doctor: Callable[[Recording], None], wrong: str) -> None:
    recording = sound()
    doctor(recording)
    assert [found for found in findings(recording) if found.startswith(wrong)], findings(recording)
