"""What the direct path sends, whom it signs as, what it makes of refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import botocore
import pytest
from aiobotocore.credentials import AioRefreshableCredentials

from consumer.clock import SystemClock
from consumer.errors import StreamCredentials, StreamError, StreamThrottled, StreamUnavailable, StreamUnreachable
from consumer.streams.aws_clients import AwsClients
from tests.integration.direct_stage import JSON, PAGE, WrongClock, bare_session, clients_of, page, read, session_of
from tests.integration.raw_server import Asked, RawServer, reply_of


def refusal(code: str, *headers: str, status: str = "400 Bad Request") -> bytes:
    return reply_of(json.dumps({"__type": f"x#{code}", "message": "no"}).encode(), JSON, *headers, status=status)


@pytest.fixture
def clock() -> WrongClock:
    return WrongClock()


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RawServer]:
    async with RawServer(page) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
async def clients(server: RawServer, clock: WrongClock) -> AsyncIterator[AwsClients]:
    """Clients that have learned."""
    made = clients_of(session_of("token"), clock)
    async with made.open():
        await read(made)
        assert made.data_path == "direct"
        yield made


async def test_a_direct_call_says_what_botocores_does(server: RawServer, clients: AwsClients) -> None:
    assert (await read(clients)).next_iterator == "next"
    theirs, ours = server.asked
    assert (ours.start, json.loads(ours.body)) == (theirs.start, json.loads(theirs.body))
    of_each_call = {"x-amz-date", "authorization", "content-length"}
    unsigned = {"amz-sdk-invocation-id", "amz-sdk-request", "accept"}
    assert set(theirs.headers) - set(ours.headers) == unsigned
    assert set(ours.headers) - set(theirs.headers) == set()
    for name in set(ours.headers) - of_each_call:
        assert ours.headers[name] == theirs.headers[name]
    assert (
        ours.headers["authorization"].partition("Signature=")[0]
        == (theirs.headers["authorization"].partition("Signature=")[0])
    )


async def test_calls_for_another_stream_go_botocores_way(server: RawServer, clients: AwsClients) -> None:
    await read(clients, StreamARN="arn:aws:kinesis:eu-west-1:123456789012:stream/other")
    assert "amz-sdk-request" in server.asked[-1].headers
    await read(clients)
    assert "amz-sdk-request" not in server.asked[-1].headers


@pytest.mark.parametrize("code", ["InvalidSignatureException", "RequestExpired", "RequestTimeTooSkewed"])
async def test_the_services_clock_is_believed_once_it_refuses_ours(
    server: RawServer, clients: AwsClients, clock: WrongClock, code: str
) -> None:
    async def strict(asked: Asked, writer: asyncio.StreamWriter) -> None:
        sent = datetime.strptime(asked.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        right = abs(sent - SystemClock().wall()) < 100
        writer.write(reply_of(PAGE, JSON) if right else refusal(code, f"Date: {formatdate(usegmt=True)}"))

    server.answer = strict
    clock.ahead = 3600.0
    assert (await read(clients)).next_iterator == "next"
    assert len(server.asked) == 3, "one call in vain, one that learned"
    await read(clients)
    assert len(server.asked) == 4, "what was learned is kept"
    clock.ahead = -7200.0
    pages = await asyncio.gather(*(read(clients) for _ in range(5)))
    assert [page.next_iterator for page in pages] == ["next"] * 5, "each of those that were refused together is helped"
    asked = len(server.asked)
    await read(clients)
    assert len(server.asked) == asked + 1


async def test_a_refused_signature_is_not_blamed_on_a_clock_that_is_right(
    server: RawServer, clients: AwsClients
) -> None:
    async def refuse(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(refusal("InvalidSignatureException", f"Date: {formatdate(usegmt=True)}"))

    server.answer = refuse
    with pytest.raises(StreamCredentials):
        await read(clients)
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (reply_of(b"{}", status="300 Multiple Choices"), StreamUnavailable),
        (reply_of(b"", status="429 Too Many Requests"), StreamThrottled),
        (reply_of(b"<html>", status="413 Too Large"), StreamUnavailable),
        (reply_of(b"<html><body>busy</body></html>", status="503 Service Unavailable"), StreamUnavailable),
        (reply_of(b"", status="500 Oops"), StreamUnavailable),
        (
            reply_of(b"{}", "x-amzn-query-error: ThrottlingException;Sender", status="400 Bad Request"),
            StreamThrottled,
        ),
        (reply_of(b"", status="204 No Content"), StreamUnavailable),
        (reply_of(b"", status="200 OK"), StreamUnavailable),
        (reply_of(b"\x1f\x8b\x08\x00", "Content-Encoding: gzip", status="200 OK"), StreamUnavailable),
        (reply_of(PAGE, status="201 Created"), None),
    ],
)
async def test_odd_replies_mean_the_same_on_both_ways(
    server: RawServer, clients: AwsClients, reply: bytes, expected: type[StreamError] | None
) -> None:
    async def odd(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)

    plain = clients_of(session_of())
    async with plain.open("plain"):
        server.answer = odd
        outcomes = []
        for each in (clients, plain):
            try:
                outcomes.append((None, (await read(each)).next_iterator))
            except StreamError as error:
                outcomes.append((type(error), None))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] is expected


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_refused_and_nobody_follows_it(server: RawServer, clients: AwsClients, status: str) -> None:
    async def elsewhere(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(b"", f"Location: {server.url}elsewhere", status=status))

    server.answer = elsewhere
    with pytest.raises(StreamUnavailable, match=f"HTTP {status[:3]}"):
        await read(clients)
    assert len(server.asked) == 2


class Rolling:
    """Credentials that botocore refreshes; the number of each is in its key and its token."""

    def __init__(self) -> None:
        self.made = 0
        self.session = bare_session()

    async def begin(self) -> None:
        made = AioRefreshableCredentials.create_from_metadata(
            metadata=await self.refresh(), refresh_using=self.refresh, method="test"
        )
        self.session._credentials = made

    async def refresh(self) -> dict[str, str]:
        self.made += 1
        expiry = str(datetime.now(UTC) + timedelta(hours=1))
        return {
            "access_key": f"key-{self.made}",
            "secret_key": "s",
            "token": f"token-{self.made}",
            "expiry_time": expiry,
        }

    def expire(self) -> None:
        self.session._credentials._expiry_time = datetime.now(UTC)


def signers(server: RawServer) -> list[str]:
    """Whose credentials each request carried; key and token must be of one."""
    for asked in server.asked:
        number = asked.headers["x-amz-security-token"].removeprefix("token-")
        assert f"Credential=key-{number}/" in asked.headers["authorization"]
    return [asked.headers["x-amz-security-token"] for asked in server.asked]


async def test_credentials_that_expire_are_refreshed_by_botocore(server: RawServer) -> None:
    rolling = Rolling()
    await rolling.begin()
    clients = clients_of(rolling.session)
    async with clients.open():
        await read(clients)
        assert clients.data_path == "direct"
        for _ in range(2):
            await read(clients)
            rolling.expire()
            await read(clients)
    assert signers(server) == ["token-1", "token-1", "token-2", "token-2", "token-3"]


async def test_credentials_that_change_while_it_learns_are_no_reason_to_give_up(server: RawServer) -> None:
    rolling = Rolling()
    await rolling.begin()

    async def expiring(asked: Asked, writer: asyncio.StreamWriter) -> None:
        rolling.expire()
        await page(asked, writer)

    clients = clients_of(rolling.session)
    async with clients.open():
        server.answer = expiring
        await read(clients)
        assert clients.data_path == "plain"
        server.answer = page
        await read(clients)
        assert clients.data_path == "direct"


async def test_credentials_that_can_not_be_refreshed_are_said(server: RawServer) -> None:
    async def refresh() -> dict[str, str]:
        raise botocore.exceptions.CredentialRetrievalError(provider="test", error_msg="gone")

    session = bare_session()
    soon = {"access_key": "k", "secret_key": "s", "token": "t", "expiry_time": str(datetime.now(UTC) + timedelta(1))}
    session._credentials = AioRefreshableCredentials.create_from_metadata(
        metadata=soon, refresh_using=refresh, method="test"
    )
    clients = clients_of(session)
    async with clients.open():
        await read(clients)
        assert clients.data_path == "direct"
        session._credentials._expiry_time = datetime.now(UTC)
        with pytest.raises(StreamCredentials, match="gone"):
            await read(clients)


async def test_replies_that_only_botocore_reads_are_left_to_it_after_a_few(
    server: RawServer, clients: AwsClients, caplog: pytest.LogCaptureFixture
) -> None:
    async def loose(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(PAGE, JSON).replace(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nX-Note: a\r\n b\r\n"))

    async def cut(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(reply_of(PAGE)[:-1])
        writer.close()

    for answer in (loose, loose, page, cut, cut, cut, loose, loose):
        server.answer = answer
        if answer is page:
            await read(clients)
        else:
            with pytest.raises(StreamUnavailable):
                await read(clients)
        assert clients.data_path == "direct", "a reply in between, or a cut, is no sign"
    server.answer = loose
    with pytest.raises(StreamUnavailable):
        await read(clients)
    assert clients.data_path == "plain"
    assert "through botocore from now on, since a reply's status line or headers are malformed" in caplog.text
    server.answer = page
    assert (await read(clients)).next_iterator == "next"
    assert clients.data_path == "plain"


async def test_an_endpoint_that_goes_away_is_said_to_be_out_of_reach(server: RawServer, clients: AwsClients) -> None:
    await server.__aexit__()
    with pytest.raises(StreamUnreachable, match="AWS_ENDPOINT_URL_KINESIS"):
        await read(clients)
