"""The border: each foreign error, and the sentence that it becomes."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from botocore import exceptions as boto

from consumer.errors import (
    ConfigError,
    DataTrimmed,
    IteratorExpired,
    LeaseholdError,
    PositionRefused,
    ShardNotFound,
    StreamAccessDenied,
    StreamCredentials,
    StreamError,
    StreamMissing,
    StreamThrottled,
    StreamUnavailable,
    StreamUnreachable,
)
from consumer.retry import is_transient
from consumer.streams.aws_errors import Call, translate

ARN = "arn:aws:dynamodb:eu-west-1:111122223333:table/orders/stream/2026-11-20T08:00:00.000"
AWS = "https://streams.dynamodb.eu-west-1.amazonaws.com"
LOCAL = "http://127.0.0.1:8000"


def call(operation: str = "GetRecords", service: str = "dynamodbstreams", endpoint: str | None = AWS) -> Call:
    shard_id = "shardId-1" if operation in ("GetRecords", "GetShardIterator") else None
    return Call(service, operation, ARN, endpoint, shard_id)


def refusal(code: str, status: int = 400, message: str = "said AWS") -> boto.ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(response, "AnyOperation")


@pytest.mark.parametrize(
    ("code", "operation", "kind"),
    [
        ("ThrottlingException", "DescribeStream", StreamThrottled),
        ("LimitExceededException", "GetRecords", StreamThrottled),
        ("ProvisionedThroughputExceededException", "GetRecords", StreamThrottled),
        ("KMSThrottlingException", "GetRecords", StreamThrottled),
        ("ExpiredIteratorException", "GetRecords", IteratorExpired),
        ("ValidationException", "GetRecords", IteratorExpired),
        ("InvalidArgumentException", "GetRecords", IteratorExpired),
        ("ValidationException", "GetShardIterator", PositionRefused),
        ("InvalidArgumentException", "GetShardIterator", PositionRefused),
        ("ValidationException", "DescribeStream", StreamError),
        ("TrimmedDataAccessException", "GetRecords", DataTrimmed),
        ("TrimmedDataAccessException", "GetShardIterator", DataTrimmed),
        ("ResourceNotFoundException", "GetRecords", ShardNotFound),
        ("ResourceNotFoundException", "GetShardIterator", ShardNotFound),
        ("ResourceNotFoundException", "DescribeStream", StreamMissing),
        ("ResourceNotFoundException", "ListShards", StreamMissing),
        ("AccessDeniedException", "GetRecords", StreamAccessDenied),
        ("KMSAccessDeniedException", "GetRecords", StreamAccessDenied),
        ("KMSDisabledException", "GetRecords", StreamAccessDenied),
        ("UnrecognizedClientException", "GetRecords", StreamCredentials),
        ("ExpiredTokenException", "GetRecords", StreamCredentials),
        ("InvalidSignatureException", "GetRecords", StreamCredentials),
        ("InternalServerError", "GetRecords", StreamUnavailable),
        ("InternalFailure", "ListShards", StreamUnavailable),
        ("ResourceInUseException", "ListShards", StreamUnavailable),
        ("ExpiredNextTokenException", "ListShards", StreamUnavailable),
        ("NobodyHasHeardOfIt", "GetRecords", StreamUnavailable),
        ("", "GetRecords", StreamUnavailable),
        ("UnknownOperationException", "DescribeStream", StreamError),
    ],
)
def test_every_code_has_its_error(code: str, operation: str, kind: type[StreamError]) -> None:
    error = translate(refusal(code), call(operation))
    assert type(error) is kind
    assert code in str(error) or kind is IteratorExpired


@pytest.mark.parametrize(
    ("status", "kind"),
    [(403, StreamAccessDenied), (429, StreamThrottled), (500, StreamUnavailable), (503, StreamUnavailable)],
)
def test_a_status_counts_where_the_code_says_nothing(status: int, kind: type[StreamError]) -> None:
    assert type(translate(refusal(str(status), status), call())) is kind


def test_a_denial_names_the_action_and_the_resource() -> None:
    said = str(translate(refusal("AccessDeniedException"), call("DescribeStream")))
    assert "dynamodb:DescribeStream" in said
    assert ARN in said
    assert "kinesis:ListShards" in str(translate(refusal("AccessDeniedException"), call("ListShards", "kinesis")))
    words = "User: arn:aws:iam::1:user/a is not authorized to perform: kms:Decrypt on resource: x"
    assert "Allow kms:Decrypt" in str(translate(refusal("AccessDeniedException", message=words), call()))


@pytest.mark.parametrize(
    ("endpoint", "names"),
    [(LOCAL, ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"]), (AWS, ["AWS_PROFILE", "role"])],
)
@pytest.mark.parametrize("error", [boto.NoCredentialsError(), refusal("UnrecognizedClientException")])
def test_missing_credentials_name_what_to_set(error: Exception, endpoint: str, names: list[str]) -> None:
    said = translate(error, call(endpoint=endpoint))
    assert type(said) is StreamCredentials
    assert all(name in str(said) for name in names)


def test_a_bad_signature_points_at_the_clock() -> None:
    assert "clock" in str(translate(refusal("InvalidSignatureException"), call()))
    assert "clock" not in str(translate(refusal("UnrecognizedClientException"), call()))


def test_no_region_names_the_variable() -> None:
    assert "AWS_DEFAULT_REGION" in str(translate(boto.NoRegionError(), call()))


def _connection(inner: Exception) -> boto.EndpointConnectionError:
    return boto.EndpointConnectionError(endpoint_url=AWS, error=inner)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto.ConnectTimeoutError(endpoint_url=AWS), StreamUnreachable),
        (boto.SSLError(endpoint_url=AWS, error="certificate"), StreamUnreachable),
        (_connection(aiohttp.ClientConnectorError(Mock(), OSError(111, "refused"))), StreamUnreachable),
        (_connection(aiohttp.ClientOSError(104, "reset")), StreamUnavailable),
        (boto.ReadTimeoutError(endpoint_url=AWS), StreamUnavailable),
        (boto.ConnectionClosedError(endpoint_url=AWS), StreamUnavailable),
        (TimeoutError(), StreamUnavailable),
        (AttributeError("'str' object has no attribute 'get'"), StreamUnavailable),
        (ValueError("the reply is JSON, but not an object"), StreamUnavailable),
        (boto.ProfileNotFound(profile="x"), ConfigError),
        (boto.ParamValidationError(report="Unknown parameter"), PositionRefused),
    ],
)
def test_errors_without_a_reply(error: Exception, kind: type[LeaseholdError]) -> None:
    assert type(translate(error, call("GetShardIterator"))) is kind


def test_an_unreachable_endpoint_is_named_with_the_variable_that_moves_it() -> None:
    error = translate(boto.ConnectTimeoutError(endpoint_url=LOCAL), call(endpoint=LOCAL))
    assert LOCAL in str(error)
    assert "AWS_ENDPOINT_URL_DYNAMODB_STREAMS" in str(error)
    assert is_transient(error)


def test_what_botocore_can_not_send_is_a_refusal_but_of_no_position() -> None:
    error = translate(boto.ParamValidationError(report="Unknown parameter: ShardFilter"), call("DescribeStream"))
    assert type(error) is StreamError


def test_an_error_of_ours_stays_itself() -> None:
    mine = StreamThrottled("mine")
    assert translate(mine, call()) is mine
