"""kinesis-local (kinesis-mock from npm) as a child process on loopback ports: a Kinesis that is none of our own.

It can't outlive the process that started it: the kernel ends it then (Linux).
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from consumer.testing import tether

__all__ = ["KinesisLocal", "KinesisLocalMissing"]

_HERE: Final = Path(__file__).parent / "kinesis_local"
_PROGRAM: Final = _HERE / "node_modules" / "kinesis-local"
_POLL_SECONDS: Final = 0.05
_READY_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 5.0
_STARTS: Final = 3
_QUICK: Final = dict.fromkeys(
    (
        "CREATE_STREAM_DURATION",
        "DELETE_STREAM_DURATION",
        "SPLIT_SHARD_DURATION",
        "MERGE_SHARDS_DURATION",
        "UPDATE_SHARD_COUNT_DURATION",
    ),
    "10ms",
)


class KinesisLocalMissing(Exception):
    """There is no node, or no kinesis-local; on Debian `apt install npm`, then `make kinesis-local`."""


class KinesisLocal:
    """A running server. ``with KinesisLocal.start() as server`` stops it surely."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: IO[bytes]) -> None:
        self.port = port
        self._process = process
        self._output = output

    @property
    def endpoint_url(self) -> str:
        """For AWS_ENDPOINT_URL_KINESIS."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @classmethod
    def start(cls) -> KinesisLocal:
        """A fresh, empty server that answers. Raises KinesisLocalMissing; RuntimeError with what it printed."""
        node = shutil.which("node")
        if node is None or not (_PROGRAM / "main.js").exists():
            raise KinesisLocalMissing(
                f"{'node' if node is None else 'kinesis-local'} is missing; on Debian `apt install npm`, then "
                "`make kinesis-local`."
            )
        said = ""
        # A free port may be taken by somebody else before the server binds it: then it ends, and others are tried.
        for _ in range(_STARTS):
            server = cls._launch(node)
            if server._wait_until_ready():
                return server
            said = server.stop()
        raise RuntimeError(f"kinesis-local did not answer within {_READY_SECONDS:g} s. It said:\n{said}")

    @classmethod
    def _launch(cls, node: str) -> KinesisLocal:
        plain, encrypted = _free_ports(2)
        # The caller's AWS settings are none of its business.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "NODE_"))}
        settings = {
            "KINESIS_MOCK_PLAIN_PORT": str(plain),
            "KINESIS_MOCK_TLS_PORT": str(encrypted),
            "LOG_LEVEL": "ERROR",
            "SHARD_LIMIT": "100",
            **_QUICK,
        }
        # A file without a name: it can't fill a pipe's buffer and block the server, and nothing of it stays behind.
        with ExitStack() as stack:
            output = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen(
                tether.command(node, "--require", str(_HERE / "loopback.js"), "main.js"),
                cwd=_PROGRAM,  # it reads its settings and its certificate there
                env=kept | settings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.pop_all()
        return cls(process, plain, output)

    def _wait_until_ready(self) -> bool:
        for _ in range(round(_READY_SECONDS / _POLL_SECONDS)):
            if self._answers():
                return True
            try:
                self._process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
            return False
        return False

    def _answers(self) -> bool:
        """Whether it lists its streams; any reply over HTTP will do, since it has no check of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "Kinesis_20131202.ListStreams",
            "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/kinesis/aws4_request, "
            "SignedHeaders=host, Signature=none",
            "X-Amz-Date": "20260101T000000Z",
        }
        try:
            connection.request("POST", "/", b"{}", headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def stop(self) -> str:
        """End it: asked first, killed after some seconds. Returns what it printed; twice is fine."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._output.closed:
            return ""
        self._output.seek(0)
        said = self._output.read()[-2000:].decode(errors="replace")
        self._output.close()
        return said

    def __enter__(self) -> KinesisLocal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
