"""Every fault of the server as an unmodified boto3 client meets it, and the control endpoint that arms them."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from consumer.testing.faults import Fault, Mangling
from consumer.testing.server_thread import StreamServerThread

CODES = [
    ("ThrottlingException", 400),
    ("LimitExceededException", 400),
    ("ResourceNotFoundException", 400),
    ("ExpiredIteratorException", 400),
    ("TrimmedDataAccessException", 400),
    ("AccessDeniedException", 400),
    ("ValidationException", 400),
    ("InternalServerError", 500),
]


@pytest.fixture
def server() -> Iterator[StreamServerThread]:
    with StreamServerThread() as running:
        running.create_table("orders")
        running.put_item("orders", new_image={"pk": "a"})
        running.create_stream("clicks")
        yield running


def client(server: StreamServerThread, service: str = "dynamodbstreams", **settings: Any) -> Any:
    return boto3.client(
        service,
        endpoint_url=server.endpoint_url,
        region_name="eu-west-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(**{"retries": {"total_max_attempts": 1}, **settings}),
    )


def iterator(server: StreamServerThread, streams: Any, kind: str = "TRIM_HORIZON", **where: Any) -> str:
    arn = server.call(lambda: server.server.log.stream("orders").arn)
    (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
    reply = streams.get_shard_iterator(StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType=kind, **where)
    return str(reply["ShardIterator"])


@pytest.mark.parametrize(("code", "status"), CODES)
def test_any_error_once(server: StreamServerThread, code: str, status: int) -> None:
    streams = client(server)
    token = iterator(server, streams)
    server.arm(Fault.error(code, "GetRecords"))
    with pytest.raises(ClientError) as caught:
        streams.get_records(ShardIterator=token)
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert len(streams.get_records(ShardIterator=token)["Records"]) == 1


def test_kinesis_errors_are_its_own(server: StreamServerThread) -> None:
    kinesis = client(server, "kinesis")
    server.arm(Fault.error("ProvisionedThroughputExceededException", "GetRecords", shard_id="shardId-000000000000"))
    place = {"StreamName": "clicks", "ShardId": "shardId-000000000000", "ShardIteratorType": "LATEST"}
    token = kinesis.get_shard_iterator(**place)["ShardIterator"]
    with pytest.raises(kinesis.exceptions.ProvisionedThroughputExceededException):
        kinesis.get_records(ShardIterator=token)
    kinesis.get_records(ShardIterator=token)


def test_a_client_that_retries_gets_through(server: StreamServerThread) -> None:
    server.arm(Fault.error("InternalServerError", times=1), Fault.drop(times=1))
    patient = client(server, retries={"mode": "standard", "total_max_attempts": 4})
    assert len(patient.list_streams()["Streams"]) == 1
    assert server.call(lambda: dict(server.server.faults.calls)) == {"ListStreams": 3}


def test_a_slow_reply_is_slow(server: StreamServerThread) -> None:
    server.arm(Fault.delay(0.5, "ListStreams", times=2))
    begun = time.monotonic()
    client(server).list_streams()
    assert 0.5 <= time.monotonic() - begun < 5
    with pytest.raises(ReadTimeoutError):
        client(server, read_timeout=0.2).list_streams()


def test_a_dropped_connection_has_no_reply_and_may_or_may_not_have_acted(server: StreamServerThread) -> None:
    kinesis = client(server, "kinesis")
    held = lambda: len(server.server.log.stream("clicks").records())  # noqa: E731
    for applied, count in ((False, 0), (True, 1)):
        server.arm(Fault.drop("PutRecord", applied=applied))
        with pytest.raises(ConnectionClosedError):
            kinesis.put_record(StreamName="clicks", PartitionKey="a", Data=b"x")
        assert server.call(held) == count


def test_half_a_body_breaks_off(server: StreamServerThread) -> None:
    streams = client(server)
    server.arm(Fault.half_body("ListStreams"))
    # botocore checks no lengths and takes unreadable JSON for a reply without fields.
    cut = streams.list_streams()
    assert "Streams" not in cut
    assert int(cut["ResponseMetadata"]["HTTPHeaders"]["content-length"]) > 2
    assert len(streams.list_streams()["Streams"]) == 1


def test_malformed_replies_reach_the_client(server: StreamServerThread) -> None:
    streams = client(server)
    token = iterator(server, streams)
    read = lambda: streams.get_records(ShardIterator=token)  # noqa: E731
    server.arm(Fault.malformed(Mangling.MISSING, "GetRecords", path="Records"))
    assert "Records" not in read()
    server.arm(Fault.malformed(Mangling.NULL, "GetRecords", path="Records.*.dynamodb"))
    assert "dynamodb" not in read()["Records"][0]
    server.arm(Fault.malformed(Mangling.EMPTY_PAGE, "GetRecords"))
    empty = read()
    assert (empty["Records"], empty["NextShardIterator"]) == ([], token)
    server.arm(Fault.malformed(Mangling.UNKNOWN_FIELDS, "GetRecords"))
    assert read()["Records"][0]["eventName"] == "INSERT"
    server.arm(Fault.malformed(Mangling.NOT_JSON, "GetRecords"))
    assert "Records" not in read()
    server.arm(Fault.malformed(Mangling.NOT_RECORDS, "GetRecords"))
    assert sum((each or {}).get("eventName") == "INSERT" for each in read()["Records"]) == 1
    server.arm(Fault.malformed(Mangling.NOT_STRUCTURES, "GetRecords"))
    with pytest.raises(AttributeError):
        read()  # botocore's own parser fails at an entry that is no structure.
    assert len(read()["Records"]) == 1


def test_at_timestamp_can_be_refused_for_good(server: StreamServerThread) -> None:
    streams = client(server)
    server.arm(Fault.refuse_at_timestamp())
    for _ in range(2):
        with pytest.raises(ClientError, match="ValidationException"):
            iterator(server, streams, "AT_TIMESTAMP", Timestamp=1_700_000_000)
    iterator(server, streams, "TRIM_HORIZON")
    server.call(server.server.faults.clear)
    iterator(server, streams, "AT_TIMESTAMP", Timestamp=1_700_000_000)


def test_calls_are_counted_by_operation_and_second(server: StreamServerThread) -> None:
    streams = client(server)
    for _ in range(3):
        streams.list_streams()
    faults = server.server.faults
    assert server.call(lambda: faults.calls["ListStreams"]) == 3
    assert server.call(lambda: faults.busiest(["ListStreams"], 60.0)) == 3


# -- control


def control(server: StreamServerThread, name: str, fields: dict[str, Any] | None = None) -> Any:
    body = None if fields is None else json.dumps(fields).encode()
    with urllib.request.urlopen(f"{server.endpoint_url}/_stream/{name}", body, timeout=5) as reply:
        return json.load(reply)


def test_shards_are_changed_through_control(server: StreamServerThread) -> None:
    (child,) = control(server, "rotate", {"stream": "dynamodb:orders"})["children"]
    assert len(control(server, "split", {"stream": "orders", "shard": child})["children"]) == 2
    pair = control(server, "split", {"stream": "kinesis:clicks"})["children"]
    (merged,) = control(server, "merge", {"stream": "clicks", "shards": pair})["children"]
    assert len(control(server, "reshard", {"stream": "clicks", "count": 3})["children"]) == 3
    state = control(server, "state")
    (orders,) = state["streams"]["dynamodb:orders"]
    assert (orders["rotations"], orders["splits"]) == (1, 1)
    assert [shard["open"] for shard in orders["shards"]] == [False, False, True, True]
    (clicks,) = state["streams"]["kinesis:clicks"]
    assert merged in [shard["id"] for shard in clicks["shards"]]
    assert (clicks["merges"], state["feeds"]) == (1, [])


def test_tables_streams_and_items_are_made_through_control(server: StreamServerThread) -> None:
    made = control(
        server, "tables", {"name": "made", "key_schema": {"id": "N"}, "options": {"rotate_every_seconds": 60}}
    )
    control(server, "items", {"table": "made", "new_image": {"id": {"N": "1"}}})
    control(server, "items", {"table": "made", "old_image": {"id": {"N": "1"}}, "ttl": True})
    control(server, "disable", {"table": "made"})
    again = control(server, "enable", {"table": "made", "view_type": "KEYS_ONLY"})
    assert made["stream_arn"] != again["stream_arn"]
    assert control(server, "streams", {"name": "hits", "shard_count": 2})["stream_arn"].endswith(":stream/hits")
    first, second = control(server, "state")["streams"]["dynamodb:made"]
    assert [first["shards"][0]["records"], first["enabled"], second["enabled"]] == [2, False, True]


def test_faults_are_armed_through_control(server: StreamServerThread) -> None:
    streams = client(server)
    armed = {
        "faults": [{"kind": "error", "code": "ThrottlingException", "times": None}],
        "staleness": {"child_late_calls": 2},
    }
    assert control(server, "faults", armed) == {"armed": 1}
    with pytest.raises(ClientError, match="ThrottlingException"):
        streams.list_streams()
    calls = control(server, "calls")
    assert (calls["calls"], calls["fired"]) == ({"ListStreams": 1}, {"error": 1})
    assert calls["staleness"]["child_late_calls"] == 2
    assert control(server, "faults", {"clear": True}) == {"armed": 0}
    streams.list_streams()


@pytest.mark.parametrize(
    ("name", "fields", "status", "said"),
    [
        ("rotate", {}, 400, "stream"),
        ("rotate", {"stream": "nobody"}, 400, "nobody"),
        ("faults", {"faults": [{"kind": "explode"}]}, 400, "explode"),
        ("tables", {"name": "x", "options": {"rotate": 1}}, 400, "rotate"),
        ("items", {"table": "orders"}, 400, "image"),
        ("explode", {}, 404, "POST rotate"),
    ],
)
def test_control_says_what_is_wrong(
    server: StreamServerThread, name: str, fields: dict[str, Any], status: int, said: str
) -> None:
    with pytest.raises(HTTPError) as caught:
        control(server, name, fields)
    with caught.value as reply:
        assert reply.code == status
        assert said in json.load(reply)["error"]


# -- the server itself


def test_a_taken_port_is_an_error_where_the_server_is_entered(server: StreamServerThread) -> None:
    port = int(server.endpoint_url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), StreamServerThread(port=port):
        pytest.fail("two servers on one port")


def test_a_stopped_server_says_so(server: StreamServerThread) -> None:
    with StreamServerThread() as other:
        pass
    with pytest.raises(RuntimeError, match="not running"):
        other.put_item("orders", new_image={"pk": "a"})


def test_a_request_of_any_length_is_bounded(server: StreamServerThread) -> None:
    request = urllib.request.Request(server.endpoint_url, b"x" * (17 * 1024 * 1024), method="POST")
    with pytest.raises((HTTPError, urllib.error.URLError)) as caught:
        urllib.request.urlopen(request, timeout=10)
    if isinstance(caught.value, HTTPError):
        with caught.value as reply:
            assert reply.code == 413
    assert len(client(server).list_streams()["Streams"]) == 1
