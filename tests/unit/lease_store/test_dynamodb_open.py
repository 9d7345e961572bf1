"""Opening a store: clients of each loop, settings and credentials, and the table that must be there."""

from __future__ import annotations

import asyncio
import socket

import pytest

from lease_store import verbs
from lease_store.dynamodb import DynamoDBLeaseStore
from lease_store.errors import (
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableMissing,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
    NotALeaseTable,
)
from lease_store.lease import Lease
from tests.unit.lease_store.scripted_server import (
    Answer,
    Bench,
    error,
    ok,
    scripted_server,
    store_at,
    table,
)

RENEW = verbs.renew(Lease(key="shard-1", counter=7, owner="w1"), "w1")


async def test_a_store_that_is_not_open_here_says_so(bench: Bench) -> None:
    store = store_at(bench.server.url)
    with pytest.raises(RuntimeError, match="leases is not open on this event loop"):
        await store.read("shard-1")
    async with store.open(), store.open():
        pass
    with pytest.raises(RuntimeError, match="not open"):
        await store.write(RENEW, timeout_seconds=1.0)


async def test_a_store_can_be_opened_again_and_by_many_at_once(bench: Bench) -> None:
    store = store_at(bench.server.url)
    bench.server.will("GetItem", ok())
    before = len(bench.server.asked_for("DescribeTable"))

    async def use() -> None:
        async with store.open():
            assert await store.read("shard-1") is None

    await asyncio.gather(*(use() for _ in range(5)))
    await use()
    assert 2 <= len(bench.server.asked_for("DescribeTable")) - before <= 6


async def test_nobody_listening_is_a_sentence_within_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(LeaseTableUnreachable, match=f"{url}.*leases.*AWS_ENDPOINT_URL_DYNAMODB"):
            async with store_at(url).open():
                raise AssertionError("nothing to open")


async def test_an_endpoint_that_is_no_url_is_a_sentence() -> None:
    with pytest.raises(LeaseStoreError, match="leases has an endpoint that is no URL"):
        async with store_at("not a url").open():
            raise AssertionError("nothing to open")


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")


@pytest.mark.usefixtures("bare_environment")
async def test_no_credentials_says_what_to_set() -> None:
    async with scripted_server() as server:
        local = DynamoDBLeaseStore("leases", region_name="us-east-1", endpoint_url=server.url)
        with pytest.raises(LeaseTableCredentials, match=r"AWS_ACCESS_KEY_ID=local.*AWS_DEFAULT_REGION=us-east-1"):
            async with local.open():
                raise AssertionError("nothing to open")
        assert server.requests == []
    with pytest.raises(LeaseTableCredentials, match="AWS_PROFILE"):
        async with DynamoDBLeaseStore("leases", region_name="us-east-1").open():
            raise AssertionError("nothing to open")


@pytest.mark.usefixtures("bare_environment")
async def test_no_region_says_what_to_set() -> None:
    with pytest.raises(LeaseTableCredentials, match="set AWS_DEFAULT_REGION"):
        async with DynamoDBLeaseStore("leases").open():
            raise AssertionError("nothing to open")


@pytest.mark.usefixtures("bare_environment")
async def test_a_profile_that_does_not_exist_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nowhere")
    with pytest.raises(LeaseTableCredentials, match="nowhere"):
        async with DynamoDBLeaseStore("leases", region_name="us-east-1").open():
            raise AssertionError("nothing to open")


@pytest.mark.usefixtures("bare_environment")
async def test_settings_come_from_botocores_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "local")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        async with DynamoDBLeaseStore("leases").open():
            pass
        assert server.asked_for("DescribeTable") == [{"TableName": "leases"}]


class Pause:
    """A sleep that returns at once and counts."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __call__(self, seconds: float) -> None:
        self.seconds += seconds


GONE = error(400, "ResourceNotFoundException")


async def test_a_missing_table_is_created_and_waited_for() -> None:
    pause = Pause()
    async with scripted_server() as server:
        server.will("DescribeTable", GONE, GONE, table("CREATING"), table("CREATING"), table())
        server.will(
            "CreateTable", ok(TableDescription={"TableStatus": "CREATING"}), error(400, "ResourceInUseException")
        )
        options = {"Tags": [{"Key": "team", "Value": "data"}], "TableName": "other"}
        store = store_at(server.url, sleep=pause, deletion_protection=True, table_options=options)
        async with store.open():
            pass
        assert pause.seconds == 2.0
        assert server.asked_for("CreateTable")[0] == {
            "TableName": "leases",
            "AttributeDefinitions": [{"AttributeName": "leaseKey", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "leaseKey", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
            "DeletionProtectionEnabled": True,
            "Tags": [{"Key": "team", "Value": "data"}],
        }


async def test_waiting_for_a_table_ends(caplog: pytest.LogCaptureFixture) -> None:
    pause = Pause()
    async with scripted_server() as server:
        server.will("DescribeTable", table("CREATING"))
        with (
            caplog.at_level("INFO", "leasehold.lease_store"),
            pytest.raises(LeaseTableUnavailable, match="leases is CREATING after 10 s"),
        ):
            async with store_at(server.url, sleep=pause, table_wait_seconds=10.0).open():
                raise AssertionError("nothing to open")
    assert pause.seconds == 10.0
    assert [record.getMessage() for record in caplog.records] == [
        "Lease table leases is CREATING; waiting for it (at most 10 s)."
    ] * 2


async def test_without_leave_to_create_a_missing_table_is_an_error() -> None:
    async with scripted_server() as server:
        server.will("DescribeTable", GONE)
        with pytest.raises(LeaseTableMissing, match="create_table"):
            async with store_at(server.url, create_table=False).open():
                raise AssertionError("nothing to open")
        assert server.asked_for("CreateTable") == []


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (table(key="id"), r"id \(S, HASH\)"),
        (table(kind="N"), r"leaseKey \(N, HASH\)"),
        (table(sort_key="at"), r"leaseKey \(S, HASH\), at \(N, RANGE\)"),
    ],
)
async def test_a_table_with_another_key_is_refused_with_the_key_it_has(answer: Answer, found: str) -> None:
    async with scripted_server() as server:
        server.will("DescribeTable", answer)
        with pytest.raises(NotALeaseTable, match=f"its key is {found}, a lease table's is leaseKey"):
            async with store_at(server.url).open():
                raise AssertionError("nothing to open")


@pytest.mark.parametrize("operation", ["DescribeTable", "CreateTable"])
async def test_a_missing_permission_at_the_start_names_its_action(operation: str) -> None:
    async with scripted_server() as server:
        server.will("DescribeTable", GONE)
        server.will(operation, error(400, "AccessDeniedException"))
        with pytest.raises(LeaseTableAccessDenied, match=f"dynamodb:{operation} on lease table leases"):
            async with store_at(server.url).open():
                raise AssertionError("nothing to open")
