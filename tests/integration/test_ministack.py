"""ministack as a child process: found, answering, and surely gone afterwards, whatever becomes of its owner."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from http.client import HTTPConnection
from pathlib import Path

import pytest

from consumer.testing import ministack as module
from consumer.testing.ministack import Ministack, MinistackMissing, MinistackNotReady

OWNER = """
import os, sys, threading
from consumer.testing.ministack import Ministack
servers = []
thread = threading.Thread(target=lambda: servers.append(Ministack.start()))
thread.start(); thread.join()
print(servers[0].port, flush=True)
sys.stdin.read()
"""


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture
def no_ministack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LEASEHOLD_MINISTACK", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "__file__", str(tmp_path / "a" / "b" / "c.py"))


@pytest.mark.usefixtures("no_ministack")
def test_where_there_is_none_the_error_names_make() -> None:
    with pytest.raises(MinistackMissing, match=r"`make demo`.* name its executable in LEASEHOLD_MINISTACK"):
        Ministack.start()


@pytest.mark.usefixtures("no_ministack")
def test_a_named_executable_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEASEHOLD_MINISTACK", "/nonexistent/ministack")
    with pytest.raises(MinistackMissing, match="LEASEHOLD_MINISTACK=/nonexistent/ministack"):
        Ministack.start()


@pytest.mark.usefixtures("no_ministack")
@pytest.mark.parametrize("folder", [".venv-ministack/bin", "on_path"])
def test_where_it_is_looked_for(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executable = tmp_path / folder / "ministack"
    executable.parent.mkdir(parents=True)
    executable.write_text("#!/bin/sh\n")
    executable.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "on_path"))
    assert module.find_ministack() == executable


def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    executable = tmp_path / "ministack"
    executable.write_text(f"#!/bin/sh\n{body}\n")
    executable.chmod(0o755)
    monkeypatch.setenv("LEASEHOLD_MINISTACK", str(executable))


def test_a_server_that_ends_at_once_is_quoted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script(tmp_path, monkeypatch, "echo no botocore here >&2; exit 3")
    with pytest.raises(MinistackNotReady, match="no botocore here"):
        Ministack.start()


def test_a_server_that_never_answers_and_ignores_the_signal_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script(tmp_path, monkeypatch, f"echo $$ > {tmp_path}/pid; trap '' TERM; while :; do sleep 1; done")
    with pytest.raises(MinistackNotReady, match=r"within 1.5 s"):
        Ministack.start(ready_within_seconds=1.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.integration
@pytest.mark.usefixtures("ministack")
def test_it_answers_on_loopback_and_is_gone_after_stop() -> None:
    with Ministack.start() as server:
        assert answers(server.port)
        assert server.environment["AWS_ENDPOINT_URL"] == server.endpoint_url == f"http://127.0.0.1:{server.port}"
        server.stop()
        assert not answers(server.port)
        server.stop()
    assert not answers(server.port)


@pytest.mark.integration
@pytest.mark.usefixtures("ministack")
def test_it_dies_with_an_owner_that_is_killed_and_outlives_the_thread_that_started_it() -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner:
        port = int(owner.stdout.readline())
        assert answers(port)
        connection = HTTPConnection("127.0.0.1", port, timeout=5.0)
        connection.connect()
        owner.send_signal(signal.SIGKILL)
        # The server's end of the connection closes when the server does: a signal, not a guess.
        assert select.select([connection.sock], [], [], 20.0)[0]
        connection.close()
        assert not answers(port)


@pytest.mark.integration
@pytest.mark.usefixtures("ministack")
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_it_dies_with_its_supervisor() -> None:
    with Ministack.start() as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=5.0)
        connection.connect()
        server._supervisor.kill()
        assert select.select([connection.sock], [], [], 20.0)[0]
        connection.close()
        assert not answers(server.port)
