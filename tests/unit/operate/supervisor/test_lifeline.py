"""What a worker process does at each thing it hears from its supervisor, and at its supervisor's end."""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Iterator

import pytest

from consumer.operate.supervisor.lifeline import LINE_BYTES, VARIABLE, AtWork, Failed, Lifeline, heard

WAIT_SECONDS = 10.0


class Line:
    """A lifeline and the supervisor's end of it; the end of the process is a queue here."""

    def __init__(self) -> None:
        self.supervisor, end = socket.socketpair()
        self.left: queue.Queue[int] = queue.Queue(maxsize=10)
        self.asked: queue.Queue[str] = queue.Queue(maxsize=10)
        self.process = Lifeline(2, end, leave=self.left.put)
        self._said = self.supervisor.makefile("rb")

    def says(self, words: bytes) -> None:
        self.supervisor.sendall(words)

    def next_line(self) -> bytes:
        return self._said.readline()

    def cut(self) -> None:
        self._said.close()
        self.supervisor.close()

    def close(self) -> None:
        self.cut()
        self.process._thread.join(WAIT_SECONDS)
        self.process._end.close()


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


def test_before_the_work_begins_a_drain_ends_the_process_though_user_code_hangs_in_its_import(line: Line):
    line.says(b"drain\n")
    assert line.left.get(timeout=WAIT_SECONDS) == 0


def test_while_it_works_requests_are_handed_on(line: Line):
    line.process.follow(line.asked.put)
    line.says(b"drain\nsing\nleave\n")
    assert [line.asked.get(timeout=WAIT_SECONDS) for _ in range(2)] == ["drain", "leave"]
    assert line.left.empty()


def test_the_supervisors_end_is_a_request_to_drain(line: Line):
    line.process.follow(line.asked.put)
    line.cut()
    assert line.asked.get(timeout=WAIT_SECONDS) == "drain"
    assert line.left.empty()


def test_the_end_of_a_supervisor_that_had_not_read_everything_is_one_too(line: Line):
    line.process.follow(line.asked.put)
    assert line.process.tell(AtWork("host-2", None))
    line.cut()  # with a line unread: the kernel resets
    assert line.asked.get(timeout=WAIT_SECONDS) == "drain"


def test_when_its_work_is_done_and_nobody_is_left_to_end_it_the_process_ends_itself(line: Line):
    line.process.follow(line.asked.put)
    line.cut()
    assert line.asked.get(timeout=WAIT_SECONDS) == "drain"
    line.process.end_with(4)  # threads of user code, which the interpreter would wait for, go with it
    assert line.left.get(timeout=WAIT_SECONDS) == 4


def test_when_its_work_is_done_the_end_of_the_supervisor_ends_it(line: Line):
    line.process.follow(line.asked.put)
    line.process.end_with(1)
    assert line.left.empty()
    line.cut()
    assert line.left.get(timeout=WAIT_SECONDS) == 1


def test_what_it_tells_arrives_as_it_was(line: Line):
    for told in (AtWork("host-2-0123456789", 41_000), AtWork("host-2", None), Failed(("no module 'örders'.", "and"))):
        assert line.process.tell(told)
        assert heard(line.next_line()) == told


def test_reasons_without_end_are_cut_to_what_a_supervisor_reads(line: Line):
    assert line.process.tell(Failed(tuple("\U0001f600" * 3_000 for _ in range(100))))
    said = line.next_line()
    assert said.endswith(b"\n")
    assert len(said) < LINE_BYTES
    told = heard(said)
    assert isinstance(told, Failed)
    assert told.sentences[0] == "\U0001f600" * 3_000


def test_nobody_hears_when_the_supervisor_is_gone(line: Line):
    line.process.follow(line.asked.put)
    line.cut()
    assert line.asked.get(timeout=WAIT_SECONDS) == "drain"
    assert not line.process.tell(Failed(("too late",)))


@pytest.mark.parametrize("words", [b"\n", b"{}\n", b"[]\n", b'{"told": "a joke"}\n', b'{"told": "failed"}\n'])
def test_what_is_not_known_is_an_error(words: bytes):
    with pytest.raises((ValueError, LookupError, AttributeError, TypeError)):
        heard(words)


def test_processes_that_user_code_starts_do_not_inherit_it():
    ours, theirs = socket.socketpair()
    descriptor = theirs.detach()
    os.set_inheritable(descriptor, True)
    environment = {VARIABLE: f"3:{descriptor}", "OTHER": "1"}
    found = Lifeline.inherited(environment)
    assert found is not None
    assert found.number == 3
    assert environment == {"OTHER": "1"}
    assert not os.get_inheritable(descriptor)
    found.follow(lambda request: None)
    ours.close()
    found._thread.join(WAIT_SECONDS)
    found._end.close()


def test_a_worker_without_a_supervisor_has_none():
    assert Lifeline.inherited({}) is None


def test_a_later_version_may_say_more():
    assert heard(b'{"told": "failed", "sentences": ["a"], "later": 1}\n') == Failed(("a",))
    assert heard(b'{"told": "at work", "worker_id": "w", "port": 7, "later": 1}\n') == AtWork("w", 7)
