"""The compiled catalog: what it says, what it costs, and that it fails closed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from decimal import Decimal
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from routing.catalog.cache import CatalogUnreadable
from routing.catalog.index import CatalogIndex, CatalogProvider, compile_index, current_index, load_current_index
from routing.catalog.parse import parse_endpoints, parse_models
from routing.domain.types import Pricing
from routing.models import CatalogSnapshot, Installation
from tests.routing.catalog.upstream import endpoint, model


def snapshot(*entries: dict[str, Any], providers: list[dict[str, Any]] | None = None) -> CatalogSnapshot:
    return CatalogSnapshot(
        pk=7,
        origin="synced",
        source="https://upstream.example.com",
        entries=list(entries),
        providers=providers or [],
        model_count=len(entries),
        created_at=timezone.now(),
    )


def entry(model_id: str, *endpoints: dict[str, Any], **fields: Any) -> dict[str, Any]:
    (parsed,) = parse_models({"data": [model(model_id, **fields)]}).entries
    return {**parsed, "endpoints": parse_endpoints({"data": {"endpoints": list(endpoints)}})}


# ------------------------------------------------------------------ compiling


def test_a_model_has_its_prices_and_its_providers() -> None:
    index = compile_index(snapshot(entry("a/b", endpoint("x/fp8"), endpoint("y"), endpoint("x"))))
    found = index.models["a/b"]
    assert found.name == "Name of a/b"
    assert found.pricing == Pricing(Decimal("0.000003"), Decimal("0.000015"), Decimal("0.0000003"), None)
    assert found.serving_providers == ("x", "y")
    assert [served["tag"] for served in index.serving("A/B ")] == ["x", "x/fp8", "y"]
    assert index.serving("no/such") == ()


@pytest.mark.parametrize(
    ("top", "endpoints", "context_length", "max_output_tokens"),
    [
        ((None, None), [], 128_000, None),
        ((200_000, 8000), [], 200_000, 8000),
        ((100_000, 0), [(256_000, 16_000), (None, 4000)], 256_000, 16_000),
    ],
)
def test_a_model_takes_and_writes_what_the_largest_of_its_providers_does(
    top: tuple[int | None, ...], endpoints: list[tuple[int | None, ...]], context_length: int, max_output_tokens: int
) -> None:
    def limits(context: int | None, output: int | None) -> dict[str, int | None]:
        return {"context_length": context, "max_completion_tokens": output}

    found = entry("a/b", *(endpoint("x", **limits(*each)) for each in endpoints))
    found |= {"context_length": 128_000, "top_provider": {**found["top_provider"], **limits(*top)}}
    compiled = compile_index(snapshot(found)).models["a/b"]
    assert (compiled.context_length, compiled.max_output_tokens) == (context_length, max_output_tokens)


def test_the_author_stands_in_for_unknown_providers() -> None:
    index = compile_index(snapshot(entry("a/b")))
    assert index.models["a/b"].providers == ("a",)
    assert index.serving("a/b") == ()
    assert index.providers() == (CatalogProvider("a", "a"),)


def test_entries_keep_their_order_and_show_no_endpoints() -> None:
    index = compile_index(snapshot(entry("z/z", endpoint("x")), entry("a/a")))
    assert [listed["id"] for listed in index.entries] == ["z/z", "a/a"]
    assert all("endpoints" not in listed for listed in index.entries)


def test_providers_have_the_best_name_that_is_known() -> None:
    page = {"privacy_policy_url": None, "terms_of_service_url": None, "status_page_url": "https://status.example.com"}
    listed = [{"slug": "y", "name": "Why", **page}, {"slug": "unused", "name": "Unused", **page}]
    index = compile_index(snapshot(entry("a/b", endpoint("x"), endpoint("y")), entry("c/d"), providers=listed))
    assert [(provider.slug, provider.name) for provider in index.providers()] == [
        ("c", "c"),
        ("unused", "Unused"),
        ("x", "X"),
        ("y", "Why"),
    ]


@pytest.mark.parametrize(
    ("pricing", "is_free"),
    [
        ({"prompt": "0", "completion": "0"}, True),
        ({"prompt": "0", "completion": "0", "request": "0"}, True),
        ({"prompt": "0", "completion": "0", "request": "0.01"}, False),
        ({"prompt": "0", "completion": "0", "image": "0.04"}, False),
        ({"prompt": "0"}, False),
        ({}, False),
        ({"prompt": "-1", "completion": "-1"}, False),
    ],
)
def test_only_what_costs_nothing_is_free(pricing: dict[str, str], is_free: bool) -> None:
    assert compile_index(snapshot(entry("a/b", pricing=pricing))).models["a/b"].pricing.is_free is is_free


def test_it_cannot_be_changed() -> None:
    index = compile_index(snapshot(entry("a/b")))
    with pytest.raises(TypeError):
        index.models["c/d"] = index.models["a/b"]  # type: ignore[index]  # that is what is tested
    with pytest.raises(FrozenInstanceError):
        index.snapshot_id = 8  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize(
    "entries", [None, {}, 7, [7], [{}], [{"id": "a/b"}], [{"id": "a/b", "name": "n", "pricing": 7}]]
)
def test_a_snapshot_of_another_shape_is_unreadable(entries: Any) -> None:
    broken = snapshot()
    broken.entries = entries
    if entries == {}:
        broken.entries = {"a/b": 1}
    with pytest.raises(CatalogUnreadable, match="snapshot 7"):
        compile_index(broken)


# ------------------------------------------------------------------ the process's copy


def test_the_bundled_catalog_is_in_force_at_first(installation: Installation) -> None:
    index = load_current_index()
    assert index.snapshot_id == installation.catalog_snapshot_id
    assert (index.origin, index.source) == ("bundled", "genai-prices")
    assert len(index.models) == len(index.entries) > 300
    assert index.models["anthropic/claude-opus-5"].pricing.prompt == Decimal("0.000005")


def test_it_is_read_once_and_with_one_query(
    installation: Installation, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        index = current_index(installation.catalog_snapshot_id)
    with django_assert_num_queries(0):
        assert current_index(installation.catalog_snapshot_id) is index
    with django_assert_num_queries(1):
        assert load_current_index() is index


def test_a_snapshot_that_does_not_exist_is_unreadable(installation: Installation) -> None:
    with pytest.raises(CatalogUnreadable, match="does not exist"):
        current_index(10**9)


def test_without_an_installation_it_is_unreadable(installation: Installation) -> None:
    Installation.objects.all().delete()
    with pytest.raises(CatalogUnreadable, match="not migrated"):
        load_current_index()


def test_a_database_that_does_not_answer_makes_it_unreadable(installation: Installation) -> None:
    def fail(*_: Any) -> None:
        raise OperationalError("the server closed the connection")

    with connection.execute_wrapper(fail):
        with pytest.raises(CatalogUnreadable):
            current_index(installation.catalog_snapshot_id)
        with pytest.raises(CatalogUnreadable):
            load_current_index()
    assert len(current_index(installation.catalog_snapshot_id).models) > 300


def test_many_threads_share_one_index(committed_installation: Installation) -> None:
    barrier = threading.Barrier(6)

    def read() -> CatalogIndex:
        barrier.wait()
        try:
            return current_index(committed_installation.catalog_snapshot_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        found = [future.result() for future in [pool.submit(read) for _ in range(6)]]
    assert len({id(index) for index in found}) == 1
