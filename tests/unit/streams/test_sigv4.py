"""Our signatures, held against botocore's for every endpoint that it knows and for endpoints that nobody foresaw."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.endpoint_provider import EndpointProvider
from botocore.exceptions import EndpointProviderError
from botocore.loaders import Loader

from consumer.streams.sigv4 import Identity, Signer, host_of

SERVICES = {
    "dynamodbstreams": ("dynamodb", "DynamoDBStreams_20120810.GetRecords", "application/x-amz-json-1.0"),
    "kinesis": ("kinesis", "Kinesis_20131202.GetRecords", "application/x-amz-json-1.1"),
}
CUSTOM = [
    "http://localhost:4566",
    "http://127.0.0.1:4566/",
    "http://[::1]:4566/kinesis",
    "https://vpce-0a-1b.kinesis.eu-west-1.vpce.amazonaws.com",
    "https://123456789012.ddb.us-east-1.amazonaws.com",
    "https://Gateway.Example.COM:443/aws//streams/../kinesis/",
    "https://gateway.example.com:8443/a b/%7Eü/./x~y/",
    "http://user:secret@gateway.example.com:80/",
    "https://gateway.example.com/streams?tenant=a&b=&a=2&tenant=%20",
]
IDENTITIES = [
    Identity("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
    Identity("ASIAEXAMPLE", "secret", "FwoGZXIvYXdzE//////////wEaD+/=="),
    Identity("ASIAEXAMPLE", "secret", "another token  with   blanks"),
    Identity("local", "löcal"),
]
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)


def endpoints(service: str) -> Iterator[tuple[str, str]]:
    """Each (URL, region) to which botocore's rules lead: all partitions, FIPS, dual-stack, by account."""
    loader = Loader()
    partitions = loader.load_data("partitions")
    provider = EndpointProvider(loader.load_service_model(service, "endpoint-rule-set-1"), partitions)
    regions = [region for partition in partitions["partitions"] for region in partition["regions"]]
    for region, fips, dual in itertools.product(regions, (False, True), (False, True)):
        options: dict[str, Any] = {"Region": region, "UseFIPS": fips, "UseDualStack": dual}
        arn = f"arn:aws:kinesis:{region}:123456789012:stream/clicks"
        by_account = {"StreamARN": arn, "OperationType": "data"} if service == "kinesis" else {}
        for parameters in ({}, by_account):
            try:
                yield provider.resolve_endpoint(**options, **parameters).url, region
            except EndpointProviderError:
                continue  # this partition has no such variant


def of_botocore(request: AWSRequest, identity: Identity, region: str, service: str) -> Any:
    """The headers of the request once botocore has signed it, by its clock."""
    botocore.auth.SigV4Auth(Credentials(*identity), service, region).add_auth(request)
    return dict(request.headers.items())


def post(url: str, headers: dict[str, str], body: bytes) -> AWSRequest:
    return AWSRequest("POST", url, headers=headers, data=body)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], str]:
    """Sets botocore's clock."""
    now = [MIDNIGHT]
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: now[0])

    def set_to(instant: datetime) -> str:
        now[0] = instant
        return instant.strftime("%Y%m%dT%H%M%SZ")

    return set_to


@pytest.mark.parametrize("service", SERVICES)
def test_every_endpoint_gets_botocores_signature_across_midnight_and_credentials(service: str, at: Any) -> None:
    rng = random.Random(service)
    signing_name, target, content_type = SERVICES[service]
    places = list(endpoints(service)) + [(url, "eu-west-1") for url in CUSTOM]
    assert len(places) > 150, "botocore's data has more than that"
    compared = 0
    for url, region in places:
        headers = {"X-Amz-Target": target, "Content-Type": content_type, "User-Agent": "leasehold", "X-Own": " a  b "}
        signer = Signer("POST", url, headers, region=region, service=signing_name)
        # Backwards over midnight as well: clocks are set back.
        for seconds in (-1, 0, 1, -2, 86_400, rng.randrange(10**9)):
            instant = MIDNIGHT + timedelta(seconds=seconds)
            stamp = at(instant)
            identity = rng.choice(IDENTITIES)
            body = rng.randbytes(rng.randrange(300))
            theirs = of_botocore(post(url, headers, body), identity, region, signing_name)
            assert signer.authorization(identity, stamp, body) == theirs["Authorization"], url
            assert (theirs["X-Amz-Date"], theirs.get("X-Amz-Security-Token")) == (stamp, identity.token)
            compared += 1
    assert compared > 1000


def test_the_key_is_made_anew_for_other_credentials_at_the_same_second(at: Any) -> None:
    stamp = at(MIDNIGHT)
    url, headers = "https://kinesis.eu-west-1.amazonaws.com/", {"X-Amz-Target": "T"}
    signer = Signer("POST", url, headers, region="eu-west-1", service="kinesis")
    for identity in (*IDENTITIES, *IDENTITIES):
        theirs = of_botocore(post(url, headers, b"{}"), identity, "eu-west-1", "kinesis")
        assert signer.authorization(identity, stamp, b"{}") == theirs["Authorization"]


@pytest.mark.parametrize("identity", [Identity("key", "secret", "token\r\nHost: evil"), Identity("key\n", "secret")])
def test_credentials_never_make_another_header(identity: Identity) -> None:
    signer = Signer("POST", "https://h/", {}, region="eu-west-1", service="kinesis")
    with pytest.raises(ValueError, match="line break"):
        signer.authorization(identity, "20261121T180000Z", b"{}")


@pytest.mark.parametrize("url", CUSTOM)
def test_the_host_is_the_one_that_botocore_signs(url: str) -> None:
    assert host_of(url) == botocore.auth._host_from_url(url)  # type: ignore[attr-defined]
