"""A stream server as a process of its own, ``python -m consumer.testing.stream_server``, and how to start one.

It prints one line of JSON when it is ready, ``{"endpoint_url": ..., "pid": ..., "streams": {...}}``, serves until
SIGTERM or SIGINT, and ends when the process that started it is gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from botocore.exceptions import BotoCoreError, ClientError

from consumer.clock import Clock, SystemClock
from consumer.testing.stream_rules import StreamOptions
from consumer.testing.stream_server import StreamServer

__all__ = ["StreamServerProcess", "main"]

_PARENT_CHECK_SECONDS: Final = 0.25
_STOP_SECONDS: Final = 5.0


class StreamServerProcess:
    """A running child process. ``with StreamServerProcess.start("--table", "orders") as server`` stops it surely.

    ``streams`` has the ARNs of what the command line asked for, by source name.
    """

    def __init__(self, process: subprocess.Popen[str], endpoint_url: str, streams: dict[str, str]) -> None:
        self._process = process
        self.endpoint_url = endpoint_url
        self.streams = streams

    @classmethod
    def start(cls, *arguments: str) -> StreamServerProcess:
        """Start it with command line ``arguments`` and wait until it answers; RuntimeError if it ends instead."""
        command = [sys.executable, "-m", "consumer.testing.stream_server", "--parent-pid", str(os.getpid()), *arguments]
        # Its own process group: a Ctrl-C on the terminal is its parent's to pass on.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        if process.stdout is None:
            raise RuntimeError("The stream server was started without a pipe.")
        line = process.stdout.readline()
        if not line:
            process.stdout.close()
            raise RuntimeError(f"The stream server ended with exit code {process.wait()} before it was ready.")
        ready = json.loads(line)
        return cls(process, ready["endpoint_url"], ready["streams"])

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def stop(self) -> int:
        """SIGTERM, after 5 s SIGKILL; returns the exit code. Twice is fine."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return code

    def __enter__(self) -> StreamServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and serve."""
    options = _parser().parse_args(arguments)
    try:
        code = asyncio.run(_serve(options, SystemClock()))
    except (BotoCoreError, ClientError, LookupError, OSError, ValueError) as error:
        print(f"The stream server can't start: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m consumer.testing.stream_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="loopback address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 (default): a free one")
    parser.add_argument(
        "--table", action="append", default=[], help="NAME[:PARTITION_KEY[:SORT_KEY]], default key pk; may repeat"
    )
    parser.add_argument("--stream", action="append", default=[], help="a Kinesis stream, NAME[:SHARDS]; may repeat")
    parser.add_argument("--feed-from", help="endpoint of the server that has the tables: read their real streams there")
    parser.add_argument("--region", default=_region(), help="of the tables that are fed (default %(default)s)")
    parser.add_argument("--view-type", default="NEW_AND_OLD_IMAGES", help="of tables fed directly")
    parser.add_argument("--shards", type=int, default=1, help="open shards of a table's stream at the start")
    parser.add_argument(
        "--rotate-every-seconds", type=float, help="age at which shards rotate (default: only when told)"
    )
    parser.add_argument("--retention-seconds", type=float, default=24 * 3600.0)
    parser.add_argument("--reads-per-second", type=int, help="refuse more reads of one shard (Kinesis allows 5)")
    parser.add_argument("--seed", type=int, default=0, help="of shard ids, sequence numbers and faults")
    parser.add_argument("--parent-pid", type=int, default=os.getppid(), help="end when this is no longer the parent")
    return parser


def _region() -> str:
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"


async def _serve(options: argparse.Namespace, clock: Clock) -> int:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    defaults = StreamOptions(
        rotate_every_seconds=options.rotate_every_seconds,
        retention_seconds=options.retention_seconds,
        reads_per_second=options.reads_per_second,
    )
    server = StreamServer(
        clock=clock, host=options.host, port=options.port, seed=options.seed, options=defaults, region=options.region
    )
    async with server:
        ready = {"endpoint_url": server.endpoint_url, "pid": os.getpid(), "streams": await _streams(server, options)}
        print(json.dumps(ready), flush=True)
        watch = asyncio.create_task(_until_orphaned(options.parent_pid, clock, stopped))
        await stopped.wait()
        watch.cancel()
    return 0


async def _streams(server: StreamServer, options: argparse.Namespace) -> dict[str, str]:
    """Create what the command line asks for; the ARNs by source name."""
    found: dict[str, str] = {}
    for text in options.table:
        name, *keys = text.split(":")
        if options.feed_from:
            arn = await server.feed_from(options.feed_from, name, region=options.region, shard_count=options.shards)
        else:
            log = server.log.create_table(name, keys or ["pk"], view_type=options.view_type, shard_count=options.shards)
            arn = log.arn
        found[f"dynamodb:{name}"] = arn
    for text in options.stream:
        name, _, count = text.partition(":")
        found[f"kinesis:{name}"] = server.log.create_stream(name, int(count or 1)).arn
    return found


async def _until_orphaned(parent_pid: int, clock: Clock, stopped: asyncio.Event) -> None:
    """Stop once the parent is gone: the kernel then gives an orphan another parent."""
    while os.getppid() == parent_pid:
        await clock.sleep(_PARENT_CHECK_SECONDS)
    stopped.set()


if __name__ == "__main__":
    main()
