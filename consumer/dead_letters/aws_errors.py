"""The border of the dead letters' stores: what botocore and aiohttp raise becomes an error of ``consumer.errors`` here.

A code decides, never a message's words. What has no rule of its own is DeadLetterStoreUnavailable, worth another try: a
letter is written over itself, and a shard that waits for its store is seen to wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from botocore import exceptions as boto

from consumer.errors import (
    ConfigError,
    DeadLetterError,
    DeadLetterStoreAccessDenied,
    DeadLetterStoreCredentials,
    DeadLetterStoreMissing,
    DeadLetterStoreRefused,
    DeadLetterStoreThrottled,
    DeadLetterStoreUnavailable,
    DeadLetterStoreUnreachable,
    LeaseholdError,
)
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

__all__ = ["Call", "code_of", "translate"]

_THROTTLES: Final = THROTTLES | {
    "KMS.ThrottlingException",
    "KmsThrottled",
    "LimitExceededException",
    "OverLimit",
    "RequestThrottled",
    "SlowDown",
    "Throttled",
}
_DENIALS: Final = DENIALS | {
    "AllAccessDisabled",
    "AuthorizationError",
    "AuthorizationErrorException",
    "KMS.AccessDeniedException",
    "KmsAccessDenied",
}
_BAD_CREDENTIALS: Final = BAD_CREDENTIALS | {"InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed"}
_MISSING: Final = frozenset(
    {
        "404",  # of a HEAD, which has no body to name anything
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "NoSuchKey",
        "NotFound",
        "NotFoundException",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)
# Settings of botocore's own, wrong before anything is sent.
_BAD_SETTINGS: Final = (
    boto.BaseEndpointResolverError,
    boto.ConfigNotFound,
    boto.ConfigParseError,
    boto.EndpointProviderError,
    boto.InvalidConfigError,
    boto.InvalidRegionError,
    boto.ProfileNotFound,
)
_WAITS: Final = "Shards whose letters go there wait, and nothing is lost meanwhile, up to the stream's retention."


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked of whom, for messages: botocore's service, the operation, what a user calls the store.

    ``action`` is what IAM calls the right to do it.
    """

    service: str
    operation: str
    store: str
    action: str
    endpoint: str | None = None

    def __str__(self) -> str:
        return f"{self.operation} on {self.store}"


def code_of(error: BaseException | None) -> str:
    """The service's own name for a refusal; empty for any other error."""
    return str(error.response.get("Error", {}).get("Code") or "") if isinstance(error, boto.ClientError) else ""


def translate(error: BaseException, call: Call) -> LeaseholdError:
    """The error of ours that says what ``error`` means for the dead letters, and what to do about it."""
    if isinstance(error, LeaseholdError):
        return error
    if isinstance(error, boto.ClientError):
        return _refusal(error, call)
    where = f"{call.service.upper()} at {call.endpoint}" if call.endpoint else call.service.upper()
    if isinstance(error, boto.NoRegionError):
        return DeadLetterStoreCredentials(
            f"No AWS region for {call.store}: set AWS_DEFAULT_REGION (any region's name does for a local endpoint)."
        )
    if isinstance(error, NO_CREDENTIALS):
        return DeadLetterStoreCredentials(
            f"No AWS credentials for {call.store} ({error}). {way_to_sign(call.endpoint)}"
        )
    if isinstance(error, _BAD_SETTINGS):
        return ConfigError(f"The AWS settings for {call.store} can't be used: {error}")
    if isinstance(error, NOT_CONNECTED) or never_connected(error):
        return DeadLetterStoreUnreachable(
            f"{where} can't be reached for {call}: {cause(error)}. {_WAITS} Check the network, the region, "
            f"AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_{call.service.upper()}."
        )
    if isinstance(error, boto.ParamValidationError):
        # Botocore checked the request against its own model and never sent it. Its words quote what it was given.
        return DeadLetterStoreRefused(
            f"{call} can't be asked: botocore finds the request invalid. Check the store's name."
        )
    return DeadLetterStoreUnavailable(f"{where} gave no usable reply to {call}: {cause(error)}. It is tried again.")


def _refusal(error: boto.ClientError, call: Call) -> DeadLetterError:
    code = code_of(error)
    message = error.response.get("Error", {}).get("Message") or "no reason given"
    said = f"{code}: {message}"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _THROTTLES or status == 429:
        return DeadLetterStoreThrottled(f"{call} was refused for its rate ({said}). It is tried again, slower.")
    if code in _BAD_CREDENTIALS:
        clock = "Check this machine's clock, too. " if "ignature" in code or "Time" in code else ""
        return DeadLetterStoreCredentials(
            f"{call.service.upper()} does not accept the AWS credentials for {call.store} ({said}). "
            f"{clock}{way_to_sign(call.endpoint)}"
        )
    if code in _DENIALS or status == 403:
        action = denied_action(message) or call.action
        return DeadLetterStoreAccessDenied(
            f"These credentials may not {action} on {call.store} ({said}). Allow {action} in their IAM policy; for a "
            f"store with a key of its own, kms:GenerateDataKey and kms:Decrypt as well. {_WAITS}"
        )
    if code in _MISSING:
        return DeadLetterStoreMissing(
            f"{call.store} does not exist, not in this account and region or not at {call.endpoint} ({said}). Create "
            f"it, or name another with --dead-letters. {_WAITS}"
        )
    if status in (301, 307):
        return DeadLetterError(f"{call.store} lies in another region ({said}). Set AWS_DEFAULT_REGION to it.")
    if status >= 500 or status == 408 or code == "RequestTimeout":
        return DeadLetterStoreUnavailable(f"{call} failed (HTTP {status}, {said}). It is tried again.")
    return DeadLetterStoreRefused(f"{call.service.upper()} does not accept {call} (HTTP {status}, {said}).")
