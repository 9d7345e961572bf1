"""ministack as a child process: a local DynamoDB (and more) on a free loopback port, gone when its owner is gone.

Between the two stands a small supervisor, this very file run as a script. It holds a pipe to the owner and ends the
server when the pipe closes: after ``stop()``, and also when the owner was killed with -9, in whichever thread it had
started the server. The kernel ends the server should the supervisor itself be killed (Linux).
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Final

__all__ = ["Ministack", "MinistackMissing", "MinistackNotReady"]

_HOST: Final = "127.0.0.1"
# SERVICES must name dynamodbstreams for a table's stream to be served.
_SERVICES: Final = "dynamodb,dynamodbstreams,kinesis,sqs,sns,s3,events,cloudwatch,monitoring,sts"
_POLL_SECONDS: Final = 0.05
_GRACE_SECONDS: Final = 3.0
_STARTS: Final = 3


class MinistackMissing(Exception):
    """There is no ministack; `make` puts one into .venv-ministack, LEASEHOLD_MINISTACK names another."""


class MinistackNotReady(Exception):
    """ministack did not become ready."""


class Ministack:
    """A running server. ``with Ministack.start() as server:`` stops it surely; ``stop`` may be called twice."""

    def __init__(self, port: int, supervisor: subprocess.Popen[bytes], output: IO[bytes]) -> None:
        self._port = port
        self._supervisor = supervisor
        self._output = output

    @classmethod
    def start(cls, *, ready_within_seconds: float = 30.0) -> Ministack:
        """A fresh, empty server that answers. Raises MinistackMissing or MinistackNotReady (with what it printed)."""
        executable = find_ministack()
        said = ""
        # A free port may be taken by somebody else before the server binds it: then it exits, and another is tried.
        for _ in range(_STARTS):
            server = cls._launch(executable)
            if server._wait_until_ready(ready_within_seconds):
                return server
            gone = server._supervisor.poll() is not None
            server.stop()
            said = server._last_words()
            server._output.close()
            if not gone:
                break
        raise MinistackNotReady(
            f"{executable} did not answer within {ready_within_seconds:g} s. It said:\n{said or '(nothing)'}"
        )

    @property
    def port(self) -> int:
        """The loopback port it listens on."""
        return self._port

    @property
    def endpoint_url(self) -> str:
        """For every AWS client: ``http://127.0.0.1:<port>``."""
        return f"http://{_HOST}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that point an AWS client in another process at this server, credentials and region included."""
        return {
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    def stop(self) -> None:
        """End the server and its supervisor: asked first, killed after some seconds; everything it held is gone."""
        pipe = self._supervisor.stdin
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._supervisor.wait(timeout=2 * _GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()

    def __enter__(self) -> Ministack:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._output.close()

    @classmethod
    def _launch(cls, executable: Path) -> Ministack:
        port = _free_port()
        # The caller's AWS settings would send the server's own calls elsewhere, its Python path another botocore.
        kept = {
            n: v for n, v in os.environ.items() if not n.startswith("AWS_") and n not in ("PYTHONPATH", "PYTHONHOME")
        }
        settings = {"GATEWAY_PORT": str(port), "BIND_HOST": _HOST, "LOG_LEVEL": "WARNING", "SERVICES": _SERVICES}
        # A file without a name: it can't fill a pipe's buffer and block the server, and nothing of it stays behind.
        output = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        supervisor = subprocess.Popen(
            # -I -S: nothing but the standard library, whatever the owner's environment has on its path.
            [sys.executable, "-I", "-S", __file__, str(executable)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=kept | settings,
            # Ctrl-C in a terminal goes to the owner alone, which then stops the server in its own order.
            start_new_session=True,
        )
        return cls(port, supervisor, output)

    def _wait_until_ready(self, seconds: float) -> bool:
        for _ in range(max(1, round(seconds / _POLL_SECONDS))):
            if _answers(self._port):
                return True
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._supervisor.wait(timeout=_POLL_SECONDS)
                return False
        return False

    def _last_words(self) -> str:
        self._output.seek(0)
        return self._output.read()[-2000:].decode(errors="replace")


def find_ministack() -> Path:
    """LEASEHOLD_MINISTACK, else the one in .venv-ministack of the working directory or the project, else on PATH."""
    named = os.environ.get("LEASEHOLD_MINISTACK")
    if named:
        if os.access(named, os.X_OK):
            return Path(named).absolute()
        raise MinistackMissing(
            f"LEASEHOLD_MINISTACK={named} is not an executable file. Name ministack's executable there, or leave the "
            "variable out: in Leasehold's checkout `make demo` and `make test` install and find it."
        )
    for folder in (Path.cwd(), Path(__file__).parents[2]):
        candidate = folder / ".venv-ministack" / "bin" / "ministack"
        if os.access(candidate, os.X_OK):
            return candidate
    on_path = shutil.which("ministack")
    if on_path:
        return Path(on_path).absolute()
    raise MinistackMissing(
        "ministack, the local DynamoDB, was not found. In Leasehold's checkout `make demo` or `make test` installs it; "
        "elsewhere, install ministack 1.5.33 into a virtual environment of its own (it pins an old botocore) and name "
        "its executable in LEASEHOLD_MINISTACK."
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=2.0)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _supervise(command: Sequence[str]) -> int:
    """Run ``command`` in a process group of its own until it ends, or the pipe on standard input closes."""
    # As tether.command() has it; this file, run as a script, imports nothing of ours.
    tethered = [sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")), str(os.getpid()), *command]
    server = subprocess.Popen(tethered, stdin=subprocess.DEVNULL, start_new_session=True)
    ended, note_end = os.pipe()
    os.set_blocking(note_end, False)
    signal.set_wakeup_fd(note_end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if server.poll() is None:
        select.select([sys.stdin.fileno(), ended], [], [])
    _end_group(server)
    return server.returncode


def _end_group(server: subprocess.Popen[bytes]) -> None:
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(timeout=_GRACE_SECONDS)
            # Children of the server may outlive its own orderly end.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            return


if __name__ == "__main__":
    sys.exit(_supervise(sys.argv[1:]))
