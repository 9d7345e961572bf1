"""The border: what botocore and aiohttp raise becomes Leasehold's errors here, judged *not applied* or *unknown*."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from botocore import exceptions as boto

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
from lease_store.errors import (
    LeaseStoreError,
    LeaseTableAccessDenied,
    LeaseTableCredentials,
    LeaseTableMissing,
    LeaseTableThrottled,
    LeaseTableUnavailable,
    LeaseTableUnreachable,
)

__all__ = ["Call", "error_code", "never_arrived_or_refused", "translate"]

# Another transaction or another Region's write held the item: refused, and worth another try.
_THROTTLES: Final = THROTTLES | {"ReplicatedWriteConflictException", "TransactionConflictException"}
_NO_CREDENTIALS: Final = (*NO_CREDENTIALS, boto.InvalidConfigError, boto.ProfileNotFound)


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of whom, for messages: a DynamoDB operation, a table, and the endpoint's URL where it is known.

    ``is_legacy``: the table is one that a KCL 3.0 to 3.4 keeps beside its lease table.
    """

    operation: str
    table: str
    endpoint: str | None = None
    is_legacy: bool = False


def error_code(error: BaseException) -> str:
    """DynamoDB's name for a refusal, such as ConditionalCheckFailedException; empty for any other error."""
    return str(error.response.get("Error", {}).get("Code") or "") if isinstance(error, boto.ClientError) else ""


def never_arrived_or_refused(error: BaseException) -> bool:
    """True only where a write was surely not applied and never will be: never sent, or refused by the service in words.

    Everything else, what nobody has thought of included, may have been applied.
    """
    if isinstance(error, LeaseStoreError):
        return True
    if isinstance(error, boto.ClientError):
        # A refusal is a 4xx with a name. Without a name it came from something in between; 408 is a server's time-out.
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return 400 <= status < 500 and status != 408 and not error_code(error).isdigit() and bool(error_code(error))
    if isinstance(error, boto.EndpointConnectionError):
        return never_connected(error)
    if isinstance(error, NOT_CONNECTED):
        return True
    # The rest of botocore's errors arise before a request is sent; those of the connection and of parsing do not.
    after_sending = (boto.HTTPClientError, boto.ConnectionError, boto.ChecksumError, boto.IncompleteReadError)
    return isinstance(error, boto.BotoCoreError) and not isinstance(error, after_sending)


def translate(error: BaseException, call: Call) -> LeaseStoreError:
    """The error of ours that says what ``error`` means for the lease table, and what to do about it."""
    if isinstance(error, LeaseStoreError):
        return error
    if isinstance(error, boto.ClientError):
        return _refusal(error, call)
    where = f"DynamoDB at {call.endpoint}" if call.endpoint else "DynamoDB"
    if isinstance(error, boto.NoRegionError):
        return LeaseTableCredentials(
            f"No AWS region for lease table {call.table}: set AWS_DEFAULT_REGION (any name does for a local endpoint)."
        )
    if isinstance(error, _NO_CREDENTIALS):
        return LeaseTableCredentials(
            f"No AWS credentials for lease table {call.table} ({error}). {way_to_sign(call.endpoint)}"
        )
    if isinstance(error, (boto.EndpointConnectionError, *NOT_CONNECTED)) and never_arrived_or_refused(error):
        return LeaseTableUnreachable(
            f"{where} can't be reached for {call.operation} on lease table {call.table}: {cause(error)}. Nothing was "
            "written. Check the network, the region, and AWS_ENDPOINT_URL or AWS_ENDPOINT_URL_DYNAMODB."
        )
    if isinstance(error, (boto.ParamValidationError, boto.BaseEndpointResolverError)):
        return LeaseStoreError(f"{call.operation} on lease table {call.table} can't be asked of {where}: {error}")
    return LeaseTableUnavailable(
        f"{where} gave no usable reply to {call.operation} on lease table {call.table}: {cause(error)}. Try again."
    )


def _refusal(error: boto.ClientError, call: Call) -> LeaseStoreError:
    code = error_code(error)
    metadata = error.response.get("ResponseMetadata", {})
    said = error.response.get("Error", {}).get("Message") or "no reason given"
    status = metadata.get("HTTPStatusCode", 0)
    if code in _THROTTLES or status == 429:
        return LeaseTableThrottled(
            f"Lease table {call.table} refused {call.operation} for its rate ({code}: {said}); nothing was written. "
            "Slow down and try again; an on-demand table grows with its load."
        )
    if code in DENIALS:
        action = denied_action(said) or f"dynamodb:{call.operation}"
        return LeaseTableAccessDenied(
            f"These credentials may not {action} on lease table {call.table}: {said}. "
            f"Allow {action} in their IAM policy."
        )
    if code in BAD_CREDENTIALS:
        hint = "Check this machine's clock, too. " if "ignature" in code else ""
        return LeaseTableCredentials(
            f"DynamoDB does not accept the AWS credentials for lease table {call.table} ({code}: {said}). "
            f"{hint}{way_to_sign(call.endpoint)}"
        )
    if code == "ResourceNotFoundException" and call.is_legacy:
        return LeaseTableMissing(
            f"Table {call.table}, which a KCL 3.0 to 3.4 keeps beside its lease table, does not exist: "
            f"{call.operation} failed; nothing was written."
        )
    if code == "ResourceNotFoundException":
        return LeaseTableMissing(
            f"Lease table {call.table} does not exist (or not in this region or at this endpoint): {call.operation} "
            "failed. Create it, or run with create_table on."
        )
    if status >= 500 or status == 408:
        return LeaseTableUnavailable(
            f"DynamoDB failed at {call.operation} on lease table {call.table} (HTTP {status}, {code}: {said}). "
            "Try again."
        )
    return LeaseStoreError(
        f"DynamoDB refused {call.operation} on lease table {call.table} (HTTP {status}, {code}: {said}); "
        "nothing was written."
    )
