"""Stores of dead letters on real servers, and all that goes wrong with them: what is raised, what is told at start,
and that the same letter once more is one letter.
"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from consumer.clock import SystemClock
from consumer.dead_letters import aws, taken
from consumer.dead_letters.letter import DeadLetter
from consumer.dead_letters.opening import checked
from consumer.dead_letters.store import Findings
from consumer.errors import (
    ConfigError,
    DeadLetterError,
    DeadLetterStoreAccessDenied,
    DeadLetterStoreCredentials,
    DeadLetterStoreMissing,
    DeadLetterStoreThrottled,
    DeadLetterStoreUnavailable,
    DeadLetterStoreUnreachable,
    DeadLetterTooLarge,
)
from consumer.retry import is_transient, retrying
from consumer.testing.faults import Fault
from consumer.testing.ministack import Ministack
from consumer.testing.proxy import Proxy
from tests.contract.letter_stores import REAL, LetterBench, client, make_bench, make_queue
from tests.dead_letters import change
from tests.house.tree import ROOT

pytestmark = pytest.mark.integration

WRITES = {"s3": "PutObject", "dynamodb": "PutItem", "sqs": "SendMessageBatch", "sqs-fifo": "SendMessageBatch"}
LETTER = change(7)


@pytest.fixture(params=REAL)
def bench(
    request: pytest.FixtureRequest, ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> LetterBench:
    monkeypatch.setattr(taken, "WAIT_SECONDS", 0)
    return make_bench(request.param, tmp_path, ministack.endpoint_url)


@pytest.fixture
async def proxy(ministack: Ministack) -> AsyncIterator[Proxy]:
    async with Proxy(ministack.endpoint_url) as proxy:
        yield proxy


async def put(bench: LetterBench, *letters: DeadLetter, endpoint_url: str | None = None) -> None:
    store = bench.store(endpoint_url=endpoint_url)
    async with store.open():
        await store.put(letters or [LETTER])


async def kept(bench: LetterBench) -> list[DeadLetter]:
    store = bench.store()
    async with store.open():
        found = [each async for each in store.letters()]
    assert all(isinstance(each, DeadLetter) for each in found)
    return found  # type: ignore[return-value]


FAULTS = [
    (Fault.error("ThrottlingException", status=400, times=None), DeadLetterStoreThrottled),
    (Fault.error("SlowDown", status=503, times=None), DeadLetterStoreThrottled),
    (Fault.error("InternalError", status=500, times=None), DeadLetterStoreUnavailable),
    (Fault.drop(applied=False, times=None), DeadLetterStoreUnavailable),
    (Fault.drop(applied=True, times=None), DeadLetterStoreUnavailable),
    (Fault.error("AccessDenied", status=403, times=None), DeadLetterStoreAccessDenied),
    (Fault.error("ExpiredToken", status=400, times=None), DeadLetterStoreCredentials),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
async def test_what_goes_wrong_is_named_and_the_same_letter_again_is_one(
    bench: LetterBench, proxy: Proxy, fault: Fault, kind: type[DeadLetterError]
) -> None:
    store = bench.store(endpoint_url=proxy.endpoint_url)
    async with store.open():
        assert not (await store.check()).problems
        proxy.faults.arm(fault)  # more than once: aiohttp repeats a PUT whose connection was cut
        with pytest.raises(kind) as raised:
            await store.put([LETTER])
        assert is_transient(raised.value) is (kind in (DeadLetterStoreThrottled, DeadLetterStoreUnavailable))
        assert bench.address in str(raised.value)
        proxy.faults.clear()
        await store.put([LETTER])
    assert await kept(bench) == [LETTER]


async def test_a_right_that_is_missing_is_named_at_start_and_when_it_is_missed(
    bench: LetterBench, proxy: Proxy
) -> None:
    proxy.faults.arm(Fault.error("AccessDenied", WRITES[bench.kind], status=403, times=None))
    store = bench.store(endpoint_url=proxy.endpoint_url)
    async with store.open():
        action = {"s3": "s3:PutObject", "dynamodb": "dynamodb:PutItem"}.get(bench.kind, "sqs:SendMessage")
        assert [problem for problem in (await store.check()).problems if f"Allow {action} in" in problem]
        with pytest.raises(DeadLetterStoreAccessDenied, match=f"may not {action} on"):
            await store.put([LETTER])


async def soon(call: Callable[[], Awaitable[Findings]]) -> Findings:
    """As a worker's start asks."""
    return await retrying(call, clock=SystemClock(), random=Random(1), attempts=5, first_seconds=0.01)


async def test_a_worker_that_holds_keys_asks_whether_it_may_see_them(bench: LetterBench, proxy: Proxy) -> None:
    reads = {"s3": ("ListObjectsV2", "GetObject"), "dynamodb": ("Query", "GetItem")}
    if bench.kind not in reads:
        async with checked(bench.store(), soon, holds_keys=False):
            return  # the settings refuse it: a queue can't be asked
    for operation in reads[bench.kind]:
        proxy.faults.arm(Fault.error("AccessDenied", operation, status=403, times=None))
        async with checked(bench.store(endpoint_url=proxy.endpoint_url), soon, holds_keys=False):
            await put(bench)
        action = operation.replace("ListObjectsV2", "ListBucket")
        with pytest.raises(ConfigError, match=rf"Allow (s3|dynamodb):{action} in their IAM policy"):
            async with checked(bench.store(endpoint_url=proxy.endpoint_url), soon, holds_keys=True):
                raise AssertionError("it began")
        proxy.faults.clear()


@pytest.mark.parametrize("fault", [Fault.error("InternalError", status=500, times=3), Fault.drop(times=3)])
async def test_a_store_that_fails_for_a_moment_is_no_wrong_setting(
    bench: LetterBench, proxy: Proxy, fault: Fault
) -> None:
    proxy.faults.arm(fault)
    async with checked(bench.store(endpoint_url=proxy.endpoint_url), soon, holds_keys=False):
        await put(bench)
    proxy.faults.arm(Fault.error("InternalError", status=500, times=None))
    with pytest.raises(DeadLetterStoreUnavailable):
        async with checked(bench.store(endpoint_url=proxy.endpoint_url), soon, holds_keys=False):
            raise AssertionError("it began")


async def test_a_server_that_does_not_answer_is_not_waited_for_for_ever(
    bench: LetterBench, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bench.store(endpoint_url=proxy.endpoint_url)
    async with store.open():
        assert not (await store.check()).problems
        monkeypatch.setattr(aws, "_CALL_TIMEOUT_SECONDS", 0.2)
        proxy.faults.arm(Fault.delay(2.0, times=1))
        with pytest.raises(DeadLetterStoreUnavailable, match="TimeoutError"):
            await store.put([LETTER])
        monkeypatch.setattr(aws, "_CALL_TIMEOUT_SECONDS", 10)
        await store.put([LETTER])
    assert await kept(bench) == [LETTER]


async def test_a_server_that_is_not_there_is_unreachable(bench: LetterBench) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DeadLetterStoreUnreachable, match="can't be reached") as raised:
        await put(bench, endpoint_url=nowhere)
    assert is_transient(raised.value)


async def test_a_store_that_does_not_exist_is_told_at_start(bench: LetterBench) -> None:
    head, _, name = bench.address.rpartition("letters-")
    gone = LetterBench(bench.kind, f"{head}letters-z{name[1:]}", bench.endpoint_url, bucket=None)
    store = gone.store()
    async with store.open():
        findings = await store.check()
        assert [problem for problem in findings.problems if "does not exist" in problem and gone.address in problem]
        with pytest.raises(DeadLetterStoreMissing):
            await store.put([LETTER])


async def test_all_that_is_wrong_with_a_store_and_its_bucket_is_told_together(
    ministack: Ministack, tmp_path: Path
) -> None:
    name = uuid4().hex[:12]
    store = LetterBench("dynamodb", f"dynamodb:no-{name}", ministack.endpoint_url, bucket=f"none-{name}").store()
    async with store.open():
        problems = (await store.check()).problems
    assert len(problems) == 2
    assert f"s3://none-{name} does not exist" in problems[0]
    assert f"dynamodb:no-{name} does not exist" in problems[1]


async def test_a_letter_that_does_not_fit_waits_and_says_for_what(bench: LetterBench) -> None:
    letter = change(1, bytes_of_body=1_200_000)
    store = bench.store(bucket=None)
    async with store.open():
        findings = await store.check()
        assert not findings.problems
        if bench.kind == "s3":
            assert not findings.warnings
            await store.put([letter])
            return
        assert "--dead-letter-bucket" in findings.warnings[0]
        with pytest.raises(DeadLetterTooLarge, match="--dead-letter-bucket") as raised:
            await store.put([letter])
        assert not is_transient(raised.value)
        assert "x" * 100 not in str(raised.value)


async def test_a_lease_table_is_no_place_for_letters(ministack: Ministack, table: str) -> None:
    store = LetterBench("dynamodb", f"dynamodb:{table}", ministack.endpoint_url).store()
    async with store.open():
        (problem,) = (await store.check()).problems
    assert "its key is leaseKey (HASH, S)" in problem
    assert "aws dynamodb create-table" in problem


async def test_a_queue_that_forgets_soon_or_moves_letters_elsewhere_is_told(ministack: Ministack) -> None:
    name = f"letters-{uuid4().hex[:12]}"
    other = make_queue(f"{name}-other", ministack.endpoint_url)
    arn = f"arn:aws:sqs:us-east-1:000000000000:{other}"
    policy = f'{{"deadLetterTargetArn": "{arn}", "maxReceiveCount": "3"}}'
    make_queue(name, ministack.endpoint_url, MessageRetentionPeriod="86400", RedrivePolicy=policy)
    store = LetterBench("sqs", f"sqs:{name}", ministack.endpoint_url, bucket=None).store()
    async with store.open():
        findings = await store.check()
    assert not findings.problems
    assert any("deletes letters after 1.0 days" in warning for warning in findings.warnings)
    assert any("RedrivePolicy" in warning for warning in findings.warnings)


async def test_every_message_of_a_letter_goes_with_it(ministack: Ministack, tmp_path: Path) -> None:
    bench = make_bench("sqs", tmp_path, ministack.endpoint_url)
    for _ in range(3):
        await put(bench)
    store = bench.store()
    async with store.open():
        assert [each async for each in store.letters()] == [LETTER]
        await store.remove(LETTER.identity)
    sqs = client("sqs", ministack.endpoint_url)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = sqs.get_queue_url(QueueName=bench.address.removeprefix("sqs:"))["QueueUrl"]
    assert set(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()) == {"0"}


async def test_in_a_fifo_queue_no_key_waits_behind_another(
    ministack: Ministack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taken, "WAIT_SECONDS", 0)
    bench = make_bench("sqs-fifo", tmp_path, ministack.endpoint_url)
    await put(bench, *(change(number, "a") for number in range(15)), change(20, "b"))
    store = bench.store()
    async with store.open():
        found = [each async for each in store.letters()]
    assert change(20, "b") in found
    assert not isinstance(found[-1], DeadLetter), "some of a wait behind its first ones"


async def test_messages_of_somebody_else_are_named_and_left(ministack: Ministack, tmp_path: Path) -> None:
    bench = make_bench("sqs", tmp_path, ministack.endpoint_url)
    sqs = client("sqs", ministack.endpoint_url)
    url = sqs.get_queue_url(QueueName=bench.address.removeprefix("sqs:"))["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody='{"requestContext": {"condition": "RetryAttemptsExhausted"}}')
    await put(bench)
    for _ in range(2):  # what a listing took is there for the next one at once
        store = LetterBench("sqs", f"sqs:{url}", ministack.endpoint_url).store()
        async with store.open():
            found = [each async for each in store.letters()]
        assert [each for each in found if isinstance(each, DeadLetter)] == [LETTER]
        assert "no letter of Leasehold's" in str(found[-1])


RIGHTS = {"SendMessageBatch": "SendMessage", "ChangeMessageVisibilityBatch": "ChangeMessageVisibility"}
SIDS = {
    "s3": (
        "PutDeadLettersIntoABucket",
        ("SeeDeadLettersInABucket", "ReadDeadLettersInABucket"),
        "RedriveDeadLettersInABucket",
    ),
    "dynamodb": ("PutDeadLettersIntoATable", ("SeeDeadLettersInATable",), "RedriveDeadLettersInATable"),
    "sqs": ("SendDeadLettersToAQueue", (), "RedriveDeadLettersInAQueue"),
}


def rights(*sids: str) -> set[str]:
    statements = json.loads((ROOT / "deploy/iam-policy.json").read_text())["Statement"]
    actions = [each["Action"] for each in statements if each["Sid"] in sids]
    assert len(actions) == len(sids)
    return {action for each in actions for action in ([each] if isinstance(each, str) else each)}


def used(proxy: Proxy) -> set[str]:
    calls = {(each.request.service.replace("AmazonSQS", "sqs"), each.request.operation) for each in proxy.exchanges}
    proxy.exchanges.clear()
    return {f"{service}:{RIGHTS.get(name, name).replace('ListObjectsV2', 'ListBucket')}" for service, name in calls}


async def test_a_worker_and_the_command_need_what_the_policy_has_and_no_more(bench: LetterBench, proxy: Proxy) -> None:
    to_write, to_see, to_redrive = SIDS[bench.kind.removesuffix("-fifo")]
    bodies = set() if bench.kind == "s3" else rights("PutDeadLettersIntoABucket")
    store = bench.store(endpoint_url=proxy.endpoint_url)
    async with store.open():
        await store.check()
        await store.put([LETTER, change(8, bytes_of_body=1_200_000)])
    assert used(proxy) == rights(to_write) | bodies
    if to_see:  # what a worker that holds keys asks beside
        async with store.open():
            await store.held_keys(LETTER.stream)
            await store.holds(LETTER.stream, LETTER.identity.digest)
            await store.find(LETTER.identity)
        assert used(proxy) == rights(*to_see)
    store = bench.store(endpoint_url=proxy.endpoint_url)
    async with store.open():
        assert len([each async for each in store.letters()]) == 2
    store = bench.store(endpoint_url=proxy.endpoint_url)
    async with store.open():
        async for letter in store.letters():
            assert isinstance(letter, DeadLetter)
            assert await store.find((await store.whole(letter)).identity) is not None
            await store.remove(letter.identity)
        await store.note("", "")
    in_bucket = rights("ReadDeadLettersInABucket") | {"s3:DeleteObject"} if bodies else set()
    assert used(proxy) == rights(*to_see, to_redrive) | in_bucket
