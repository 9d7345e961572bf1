"""What the workers work on: a table and its stream, or a Kinesis stream, on local servers; how their shards change."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from consumer.clock import Clock
from consumer.demo.children import Child, Children
from consumer.demo.local_aws import clean_environment, local_client
from consumer.demo.script import CueKind, SourceKind
from consumer.testing.ministack import Ministack
from lease_store.errors import LeaseholdError

__all__ = ["DemoFailed", "ShardState", "Stage", "StreamState", "build_stage"]

_NAME: Final = "orders"
_SHARDS: Final = 4
_READY_SECONDS: Final = 20.0


class DemoFailed(LeaseholdError):
    """The demo could not be carried out."""


@dataclass(frozen=True, slots=True)
class ShardState:
    """A shard as the stream server sees it."""

    shard_id: str
    parents: tuple[str, ...]
    is_open: bool


@dataclass(frozen=True, slots=True)
class StreamState:
    """Every shard the stream ever had, and how often it was changed."""

    shards: tuple[ShardState, ...]
    rotations: int
    splits: int
    merges: int


class Changer(Protocol):
    """How the shards of one kind of stream are changed."""

    def change(self, kind: CueKind, open_shards: list[str]) -> str:
        """Carry out ``kind`` on some of the ``open_shards``; what was done, for the reader."""
        ...


class Stage:
    """The servers, once they run."""

    def __init__(
        self, source: SourceKind, ministack: Ministack, stream_server: Child, endpoint_url: str, random: Random
    ) -> None:
        self.source = source
        self.name = f"{source}:{_NAME}"
        self.lease_table = "orders-audit"
        self.server = stream_server
        self._ministack = ministack
        self._endpoint_url = endpoint_url
        self._changer: Changer = (
            _TableStream(endpoint_url, self.name, random)
            if source == "dynamodb"
            else _KinesisStream(local_client("kinesis", endpoint_url), random)
        )

    @property
    def environment(self) -> dict[str, str]:
        """For workers: leases on ministack, streams on the stream server."""
        return clean_environment() | {
            "AWS_ENDPOINT_URL_DYNAMODB": self._ministack.endpoint_url,
            "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": self._endpoint_url,
            "AWS_ENDPOINT_URL_KINESIS": self._endpoint_url,
        }

    def writer_arguments(self, journal: Path, seconds: float, writes: int) -> tuple[str, ...]:
        """For ``python``: the writer on this stage."""
        endpoint_url = self._ministack.endpoint_url if self.source == "dynamodb" else self._endpoint_url
        return "-m", "consumer.demo.writer", self.source, endpoint_url, _NAME, str(journal), str(seconds), str(writes)

    def state(self) -> StreamState:
        """The stream as its server sees it."""
        found = _control(self._endpoint_url, "GET", "state", {})["streams"][self.name][-1]
        shards = tuple(ShardState(each["id"], tuple(each["parents"]), each["open"]) for each in found["shards"])
        return StreamState(shards, found["rotations"], found["splits"], found["merges"])

    def change(self, kind: CueKind) -> str:
        """Rotate, split or merge; what was done, for the reader."""
        return self._changer.change(kind, [shard.shard_id for shard in self.state().shards if shard.is_open])


class _TableStream:
    """AWS itself rotates and splits the shards of a table's stream; here the stream server is told to."""

    def __init__(self, endpoint_url: str, stream: str, random: Random) -> None:
        self._endpoint_url = endpoint_url
        self._stream = stream
        self._random = random

    def change(self, kind: CueKind, open_shards: list[str]) -> str:
        fields = {"stream": self._stream}
        if kind is CueKind.ROTATE_ALL:
            _control(self._endpoint_url, "POST", "rotate", fields)
            return f"all {len(open_shards)} open shards rotate"
        verb = "split" if kind is CueKind.SPLIT else "rotate"
        # The server splits the widest shard of its own accord.
        shard = {} if verb == "split" else {"shard": self._random.choice(open_shards)}
        children = _control(self._endpoint_url, "POST", verb, fields | shard)["children"]
        names = " and ".join(short(child) for child in children)
        return f"a shard splits into {names}" if verb == "split" else f"{short(shard['shard'])} rotates into {names}"


class _KinesisStream:
    """SplitShard, MergeShards and UpdateShardCount."""

    def __init__(self, client: Any, random: Random) -> None:
        self._client = client
        self._random = random

    def change(self, kind: CueKind, open_shards: list[str]) -> str:
        if kind is CueKind.RESHARD:
            target = len(open_shards) + 2
            self._client.update_shard_count(StreamName=_NAME, TargetShardCount=target, ScalingType="UNIFORM_SCALING")
            return f"UpdateShardCount from {len(open_shards)} to {target} shards"
        shards = self._open_by_range()
        if kind is CueKind.SPLIT:
            low, high, shard = max(shards, key=lambda each: each[1] - each[0])
            border = str((low + high) // 2 + 1)
            self._client.split_shard(StreamName=_NAME, ShardToSplit=shard, NewStartingHashKey=border)
            return f"{short(shard)} is split"
        index = self._random.randrange(len(shards) - 1)
        (_, _, first), (_, _, second) = shards[index : index + 2]
        self._client.merge_shards(StreamName=_NAME, ShardToMerge=first, AdjacentShardToMerge=second)
        return f"{short(first)} and {short(second)} are merged"

    def _open_by_range(self) -> list[tuple[int, int, str]]:
        listed = self._client.list_shards(StreamName=_NAME, ShardFilter={"Type": "AT_LATEST"})["Shards"]
        return sorted(
            (int(each["HashKeyRange"]["StartingHashKey"]), int(each["HashKeyRange"]["EndingHashKey"]), each["ShardId"])
            for each in listed
        )


def short(shard_id: str) -> str:
    """The part of a shard's id that tells it from others."""
    return f"…{shard_id[-8:]}"


async def build_stage(
    source: SourceKind, ministack: Ministack, children: Children, *, clock: Clock, random: Random
) -> Stage:
    """Create the table and start the stream server in front of it. Raises DemoFailed."""
    arguments = ["-m", "consumer.testing.stream_server"]
    if source == "dynamodb":
        _create_table(local_client("dynamodb", ministack.endpoint_url))
        arguments += ["--table", _NAME, "--feed-from", ministack.endpoint_url, "--shards", str(_SHARDS)]
    else:
        arguments += ["--stream", f"{_NAME}:{_SHARDS}"]
    server = children.start("stream-server", *arguments, environment=clean_environment())
    endpoint_url = await _ready(server, clock)
    return Stage(source, ministack, server, endpoint_url, random)


def _create_table(client: Any) -> None:
    client.create_table(
        TableName=_NAME,
        KeySchema=[{"AttributeName": "order_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "order_id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )


async def _ready(server: Child, clock: Clock) -> str:
    """The endpoint that the server names in its one line of output."""
    deadline = clock.monotonic() + _READY_SECONDS
    while server.exit_code is None and clock.monotonic() < deadline:
        for line in server.said().splitlines():
            if line.startswith("{"):
                return str(json.loads(line)["endpoint_url"])
        await clock.sleep(0.05)
    raise DemoFailed(f"The stream server did not start. It said: {server.said() or '(nothing)'}")


def _control(endpoint_url: str, method: str, name: str, fields: Mapping[str, Any]) -> Any:
    """One request to the stream server's control surface."""
    connection = HTTPConnection(urlsplit(endpoint_url).netloc, timeout=5.0)
    try:
        connection.request(method, f"/_stream/{name}", json.dumps(fields), {"Content-Type": "application/json"})
        response = connection.getresponse()
        reply = json.loads(response.read())
    except (OSError, ValueError) as error:
        raise DemoFailed(f"The stream server did not answer {method} {name}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise DemoFailed(f"The stream server refused {method} {name}: {reply.get('error', response.status)}")
    return reply
