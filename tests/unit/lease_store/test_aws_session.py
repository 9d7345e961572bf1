"""Sessions that nobody gave: each its own, the services' models read once for all."""

from __future__ import annotations

from pathlib import Path

import pytest

from lease_store.aws_session import own_session


def test_the_models_of_services_are_in_common_and_nothing_else_is() -> None:
    one, other = own_session(), own_session()
    models = [each.get_component("data_loader").load_service_model("dynamodb", "service-2") for each in (one, other)]
    assert models[0] is models[1]
    one.set_credentials("a", "b")
    assert one.get_component("event_emitter") is not other.get_component("event_emitter")
    assert one.get_component("credential_provider") is not other.get_component("credential_provider")


def test_where_models_are_to_be_read_from_elsewhere_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = own_session().get_component("data_loader")
    monkeypatch.setenv("AWS_DATA_PATH", str(tmp_path))
    paths = own_session().get_component("data_loader").search_paths
    assert str(tmp_path) in paths
    assert str(tmp_path) not in usual.search_paths
