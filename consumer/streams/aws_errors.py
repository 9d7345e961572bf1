"""The border of the streams: what botocore and aiohttp raise becomes an error of ``consumer.errors`` here.

A code decides, never a message's words. What has no rule of its own is StreamUnavailable, worth another try: reading
changes nothing, and a shard that is tried again is seen to be stuck, whereas one that was given up on is forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
from consumer.streams.direct_pool import NotConnected
from lease_store.aws_refusals import (
    BAD_CREDENTIALS,
    DENIALS,
    NO_CREDENTIALS,
    NOT_CONNECTED,
    THROTTLES,
    cause,
    denied_action,
    never_connected,
    way_to_sign,
)

__all__ = ["Call", "translate"]

_THROTTLES: Final = THROTTLES | {"KMSThrottlingException", "LimitExceededException"}
_DENIALS: Final = DENIALS | {"KMSAccessDeniedException"}
# The stream's key: somebody has to enable it or grant its use.
_KEY_FAILURES: Final = frozenset(
    {"KMSDisabledException", "KMSInvalidStateException", "KMSNotFoundException", "KMSOptInRequired"}
)
_REFUSED_VALUES: Final = frozenset({"InvalidArgumentException", "SerializationException", "ValidationException"})
_NO_SUCH_OPERATION: Final = frozenset({"InvalidAction", "UnknownOperationException"})
_BAD_SETTINGS: Final = (
    boto.BaseEndpointResolverError,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.EndpointProviderError,
    boto.InvalidConfigError,
    boto.InvalidEndpointConfigurationError,
    boto.InvalidRegionError,
    boto.ProfileNotFound,
)
_NOT_CONNECTED: Final = (NotConnected, *NOT_CONNECTED)
_SERVICES: Final = {
    "dynamodb": ("dynamodb", "DynamoDB", "AWS_ENDPOINT_URL_DYNAMODB"),
    "dynamodbstreams": ("dynamodb", "DynamoDB Streams", "AWS_ENDPOINT_URL_DYNAMODB_STREAMS"),
    "kinesis": ("kinesis", "Kinesis", "AWS_ENDPOINT_URL_KINESIS"),
}
# These name a shard (or hold its iterator): "not found" means the shard, which listings go on to show for a while.
_SHARD_CALLS: Final = frozenset({"GetRecords", "GetShardIterator"})


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of whom, for messages. ``service`` as botocore names it; ``resource`` a table, stream or ARN."""

    service: str
    operation: str
    resource: str
    endpoint: str | None = None
    shard_id: str | None = None

    @property
    def action(self) -> str:
        """As IAM policies spell it: DynamoDB Streams' actions are DynamoDB's."""
        return f"{_SERVICES[self.service][0]}:{self.operation}"

    @property
    def service_name(self) -> str:
        """As AWS spells it."""
        return _SERVICES[self.service][1]

    @property
    def endpoint_variable(self) -> str:
        """The variable that points this service elsewhere."""
        return _SERVICES[self.service][2]

    def __str__(self) -> str:
        shard = f" (shard {self.shard_id})" if self.shard_id else ""
        return f"{self.operation} on {self.resource}{shard}"


def translate(error: BaseException, call: Call) -> LeaseholdError:
    """The error of ours that says what ``error`` means for the stream, and what to do about it."""
    if isinstance(error, LeaseholdError):
        return error
    if isinstance(error, boto.ClientError):
        return _refusal(error, call)
    where = f"{call.service_name} at {call.endpoint}" if call.endpoint else call.service_name
    if isinstance(error, boto.NoRegionError):
        return StreamCredentials(
            f"No AWS region for {call.resource}: set AWS_DEFAULT_REGION (any region's name does for a local endpoint)."
        )
    if isinstance(error, NO_CREDENTIALS):
        return StreamCredentials(f"No AWS credentials for {call.resource} ({error}). {way_to_sign(call.endpoint)}")
    if isinstance(error, _BAD_SETTINGS):
        return ConfigError(f"The AWS settings for {call.resource} can't be used: {error}")
    if isinstance(error, _NOT_CONNECTED) or never_connected(error):
        return StreamUnreachable(
            f"{where} can't be reached for {call}: {cause(error)}. Nothing is lost while it lasts, up to the stream's "
            f"retention. Check the network, the region, AWS_ENDPOINT_URL and {call.endpoint_variable}."
        )
    if isinstance(error, boto.ParamValidationError):
        # Botocore checked the request against its own model and never sent it.
        kind = PositionRefused if call.operation == "GetShardIterator" else StreamError
        return kind(f"This version of botocore can't send {call}: {error}")
    return StreamUnavailable(f"{where} gave no usable reply to {call}: {cause(error)}. It is tried again.")


def _refusal(error: boto.ClientError, call: Call) -> StreamError:
    described = error.response.get("Error", {})
    code = str(described.get("Code") or "")
    said = f"{code}: {described.get('Message') or 'no reason given'}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLES or status == 429:
        return StreamThrottled(f"{call.service_name} refused {call} for its rate ({said}). It is tried again, slower.")
    if code in _KEY_FAILURES:
        return StreamAccessDenied(
            f"{call} failed because the stream's encryption key can't be used ({said}). Enable the key, or allow "
            "kms:Decrypt on it; reading goes on from the last checkpoint."
        )
    if code in _DENIALS or (status == 403 and code not in BAD_CREDENTIALS):
        action = denied_action(said) or call.action
        return StreamAccessDenied(
            f"These credentials may not {action} on {call.resource} ({said}). Allow {action} in their IAM policy."
        )
    if code in BAD_CREDENTIALS:
        clock = "Check this machine's clock, too. " if "ignature" in code or code == "RequestExpired" else ""
        return StreamCredentials(
            f"{call.service_name} does not accept the AWS credentials for {call.resource} ({said}). "
            f"{clock}{way_to_sign(call.endpoint)}"
        )
    if code == "ResourceNotFoundException":
        return _not_found(call, said)
    if code == "TrimmedDataAccessException":
        return DataTrimmed(f"{call}: the position lies before the oldest record that is left ({said}).")
    if code == "ExpiredIteratorException":
        return IteratorExpired(
            f"The iterator of shard {call.shard_id} has expired; reading goes on from the last record."
        )
    if code in _REFUSED_VALUES and call.operation == "GetRecords":
        return IteratorExpired(f"{call.service_name} does not accept the iterator of shard {call.shard_id} ({said}).")
    if code in _REFUSED_VALUES and call.operation == "GetShardIterator":
        return PositionRefused(f"{call.service_name} does not accept this position for {call} ({said}).")
    if code in _REFUSED_VALUES:
        return StreamError(f"{call.service_name} does not accept {call} ({said}).")
    if code in _NO_SUCH_OPERATION:
        return StreamError(
            f"What answers at {call.endpoint} does not serve {call.operation} ({said}). "
            f"Check AWS_ENDPOINT_URL and {call.endpoint_variable}."
        )
    return StreamUnavailable(f"{call.service_name} failed at {call} (HTTP {status}, {said}). It is tried again.")


def _not_found(call: Call, said: str) -> StreamError:
    if call.operation in _SHARD_CALLS:
        return ShardNotFound(f"Shard {call.shard_id} of {call.resource} does not exist any more ({said}).")
    thing = "Table" if call.service == "dynamodb" else "Stream"
    return StreamMissing(
        f"{thing} {call.resource} does not exist, not in this account and region or not at {call.endpoint} ({said}). "
        "Check the name, AWS_DEFAULT_REGION and the endpoint."
    )
