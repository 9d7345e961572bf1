"""Stream addresses: the five forms, and what is said about everything else."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.errors import ConfigError
from consumer.streams.address import Address, parse_address
from consumer.streams.named import open_source

TABLE_ARN = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders"
STREAM_ARN = f"{TABLE_ARN}/stream/2026-11-20T08:00:00.000"
KINESIS_ARN = "arn:aws-cn:kinesis:cn-north-1:111122223333:stream/clicks"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("dynamodb:orders", Address("dynamodb:orders", "dynamodb", "orders")),
        ("kinesis:clicks", Address("kinesis:clicks", "kinesis", "clicks")),
        (TABLE_ARN, Address(TABLE_ARN, "dynamodb", "orders", TABLE_ARN, False, "eu-west-1")),
        (STREAM_ARN, Address(STREAM_ARN, "dynamodb", "orders", STREAM_ARN, True, "eu-west-1")),
        (KINESIS_ARN, Address(KINESIS_ARN, "kinesis", "clicks", KINESIS_ARN, False, "cn-north-1")),
        (" kinesis:clicks\n", Address("kinesis:clicks", "kinesis", "clicks")),
    ],
)
def test_the_five_forms(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("orders", "which service"),
        ("", "which service"),
        ("sqs:orders", "which service"),
        ("dynamodb", "which service"),
        ("dynamodb:", "3 to 255"),
        ("dynamodb:ab", "3 to 255"),
        ("dynamodb:a b c", "3 to 255"),
        ("kinesis:", "1 to 128"),
        ("kinesis:" + "x" * 129, "1 to 128"),
        ("arn:aws:sqs:eu-west-1:111122223333:orders", "service sqs"),
        ("arn:", "service \\(none\\)"),
        ("arn:aws:dynamodb:eu-west-1:1111:table/orders", "malformed"),
        (TABLE_ARN + "/index/by-date", "malformed"),
        (TABLE_ARN + "/stream/", "malformed"),
        (KINESIS_ARN + "/consumer/c:1", "malformed"),
        (STREAM_ARN + "\nx", "malformed"),
    ],
)
def test_anything_else_is_refused_with_the_reason_and_the_forms(text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_address(text)
    for form in ("dynamodb:TABLE", "kinesis:STREAM", "table/TABLE[/stream/LABEL]", "stream/STREAM"):
        assert form in str(caught.value)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_address(text).text == text.strip()


def test_each_address_opens_its_kind_of_source() -> None:
    from consumer.streams import DynamoDBStreamsSource, KinesisSource, RecordSource

    for text, kind in [("dynamodb:orders", DynamoDBStreamsSource), (STREAM_ARN, DynamoDBStreamsSource)]:
        source = open_source(text)
        assert isinstance(source, kind)
        assert isinstance(source, RecordSource)
        assert (source.name, source.max_reads_per_second) == (text, None)
    source = open_source("kinesis:clicks")
    assert isinstance(source, KinesisSource)
    assert isinstance(source, RecordSource)
    assert (source.name, source.max_reads_per_second) == ("kinesis:clicks", 5.0)


async def test_a_source_that_is_not_open_says_so() -> None:
    source = open_source("kinesis:clicks")
    with pytest.raises(RuntimeError, match="kinesis:clicks is not open"):
        await source.resolve()
