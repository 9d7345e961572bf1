"""What the first and the second signal do, and the deadline; the end of the process is a queue here."""

from __future__ import annotations

import logging
import os
import queue
import signal
import socket
import sys
import threading

import pytest

from consumer.cli import signals, stops
from consumer.cli.signals import StopSignals

WAIT_SECONDS = 10.0


class Ended:
    """Stands for the worker and for the process: what was asked of them, in the order in which it came."""

    def __init__(self, drain_timeout_seconds: float, shards: tuple[str, ...] = ("shard-1", "shard-2")) -> None:
        self.asked: queue.Queue[str | int] = queue.Queue(maxsize=10)
        self.signals = StopSignals(
            lambda: self.asked.put("stop"),
            drain_timeout_seconds=drain_timeout_seconds,
            failover_seconds=10.0,
            unfinished=lambda: shards,
            end=self.asked.put,
        )

    def next(self) -> str | int:
        return self.asked.get(timeout=WAIT_SECONDS)


@pytest.fixture(autouse=True)
def _log_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "leasehold")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_asks_the_worker_to_stop(number: signal.Signals, caplog: pytest.LogCaptureFixture):
    ended = Ended(3_600.0)
    with ended.signals:
        os.kill(os.getpid(), number)
        assert ended.next() == "stop"
    assert ended.asked.empty()
    assert f"{number.name}: draining for up to 3600 s" in caplog.text


def test_a_second_signal_ends_the_process_with_4_and_names_what_is_left(caplog: pytest.LogCaptureFixture):
    ended = Ended(3_600.0)
    with ended.signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.next() == "stop"
        os.kill(os.getpid(), signal.SIGINT)
        assert ended.next() == 4
    assert "SIGINT again: stopping at once; the leases of shard-1, shard-2 expire in at most 10 s" in caplog.text


def test_the_same_signal_delivered_twice_at_once_is_one_and_only_the_next_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    # As `timeout` does it: to the process, then to its group.
    monkeypatch.setattr(stops, "ECHO_SECONDS", 3_600.0)
    ended = Ended(7_200.0)
    with ended.signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.next() == "stop"
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert ended.next() == 4
    assert "SIGINT again" in caplog.text


def test_the_same_signal_later_ends_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stops, "ECHO_SECONDS", 0.0)
    ended = Ended(3_600.0)
    with ended.signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.next() == "stop"
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.next() == 4


def test_a_signal_that_the_kernel_gives_to_another_thread_is_heard_while_the_main_thread_is_blocked():
    # The second of two signals in a row is given to another thread, since the first is still due in the main one.
    ended = Ended(3_600.0)
    over = threading.Event()
    waiting = threading.Thread(target=over.wait)
    waiting.start()
    assert waiting.ident is not None
    interval_seconds = sys.getswitchinterval()
    # No other thread runs before this one blocks, as user code does, in a call of C that lets no handler run.
    sys.setswitchinterval(3_600.0)
    try:
        with ended.signals:
            for number, asked in ((signal.SIGTERM, "stop"), (signal.SIGINT, 4)):
                blocked = threading.Lock()
                blocked.acquire()
                thread = threading.Thread(target=_kill, args=(waiting.ident, number, blocked))
                thread.start()
                blocked.release()
                assert ended.next() == asked
                thread.join()
    finally:
        sys.setswitchinterval(interval_seconds)
        over.set()
        waiting.join()


def _kill(thread: int, number: signal.Signals, when: threading.Lock) -> None:
    with when:
        signal.pthread_kill(thread, number)


def test_signals_are_heard_though_user_code_took_the_wakeup_descriptor():
    ended = Ended(3_600.0)
    theirs, end = socket.socketpair()
    theirs.setblocking(False)
    before = signal.set_wakeup_fd(-1)
    with theirs, end:
        with ended.signals:
            signal.set_wakeup_fd(theirs.fileno())
            os.kill(os.getpid(), signal.SIGTERM)
            assert ended.next() == "stop"
            os.kill(os.getpid(), signal.SIGINT)
            assert ended.next() == 4
        assert signal.set_wakeup_fd(before) == theirs.fileno()


def test_a_forked_child_of_user_code_ends_at_its_own_signal_and_the_worker_goes_on():
    # As Process.terminate() of multiprocessing does it: a child has its parent's handlers and its descriptors.
    ended = Ended(3_600.0)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with ended.signals:
            child = os.fork()
            if child == 0:
                signal.alarm(int(WAIT_SECONDS))
                signal.pause()
            os.kill(child, signal.SIGTERM)
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ended.asked.empty()


def test_another_signal_of_user_code_is_none_of_ours():
    ended = Ended(3_600.0)
    heard = threading.Event()
    before = signal.signal(signal.SIGUSR1, lambda number, frame: heard.set())
    try:
        with ended.signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert heard.wait(WAIT_SECONDS)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ended.asked.empty()


def test_the_deadline_ends_the_process_though_nobody_comes_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.0)
    ended = Ended(0.01, shards=())
    with ended.signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert [ended.next(), ended.next()] == ["stop", 4]
    assert "The drain did not end in 0.01 s" in caplog.text
    assert "no lease is held any more" in caplog.text


def test_the_process_ends_even_where_user_code_holds_the_locks_of_logging(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(signals, "_LAST_WORDS_SECONDS", 0.01)
    blocked = threading.Event()
    ended = Ended(0.01)
    ended.signals._unfinished = lambda: (blocked.wait(WAIT_SECONDS), ())[1]
    with ended.signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert [ended.next(), ended.next()] == ["stop", 4]
        assert not blocked.is_set()
        blocked.set()


def test_a_supervisor_drains_and_ends_a_worker_without_a_signal(caplog: pytest.LogCaptureFixture):
    ended = Ended(3_600.0)
    with ended.signals:
        ended.signals.ask("drain")
        assert ended.next() == "stop"
        # systemd signals every process of a unit, and Ctrl-C a whole group: that is the same wish.
        os.kill(os.getpid(), signal.SIGTERM)
        ended.signals.ask("leave")
        assert ended.next() == 4
    assert ended.asked.empty()
    assert "The supervisor: draining for up to 3600 s" in caplog.text
    assert "The supervisor waits no longer: stopping at once; the leases of shard-1" in caplog.text


def test_a_second_signal_ends_a_worker_that_drains_for_its_supervisor():
    ended = Ended(3_600.0)
    with ended.signals:
        ended.signals.ask("drain")
        assert ended.next() == "stop"
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert ended.next() == 4


def test_a_worker_that_has_ended_but_for_user_code_ends_the_process_with_its_own_code(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(signals, "_TIDY_SECONDS", 0.01)
    ended = Ended(3_600.0)
    with ended.signals:
        ended.signals.end_soon(5)
        assert ended.next() == 5
    assert ended.asked.empty()
    assert "User code is still running; the leases of shard-1, shard-2 expire in at most 10 s" in caplog.text
    assert "Exit code 5." in caplog.text


def test_a_worker_that_ends_by_itself_in_time_is_not_ended():
    ended = Ended(3_600.0)
    with ended.signals:
        ended.signals.end_soon(5)
    assert ended.asked.empty()


def test_without_a_signal_nothing_happens_and_the_old_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    ended = Ended(3_600.0)
    with ended.signals:
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert ended.asked.empty()
    assert not [thread for thread in threading.enumerate() if thread.name == "leasehold-signals"]
