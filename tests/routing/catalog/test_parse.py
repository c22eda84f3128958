"""What a snapshot keeps of what an upstream sends, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.catalog.fetch import CatalogFault
from routing.catalog.parse import (
    LONGEST_ID,
    MOST_ENDPOINTS,
    MOST_MODELS,
    parse_endpoints,
    parse_models,
    parse_providers,
    provider_slug,
)
from tests.routing.catalog.upstream import endpoint, model, models


def parsed(*entries: Any) -> list[dict[str, Any]]:
    """The entries that are kept, in a list that is long enough for one of them to be wrong."""
    kept = parse_models({"data": [*entries, *models(8)]}).entries
    return list(kept[: len(kept) - 8])


# ------------------------------------------------------------------ models


def test_the_known_fields_are_kept_and_the_others_dropped() -> None:
    (entry,) = parsed(model("anthropic/claude-sonnet-5", name="Anthropic: Claude Sonnet 5"))
    assert entry == {
        "id": "anthropic/claude-sonnet-5",
        "name": "Anthropic: Claude Sonnet 5",
        "created": 1_700_000_000,
        "description": "A model.",
        "context_length": 200_000,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "tokenizer": "Claude",
            "instruct_type": None,
        },
        "pricing": {"prompt": "0.000003", "completion": "0.000015", "input_cache_read": "0.0000003"},
        "top_provider": {"context_length": 200_000, "max_completion_tokens": 64_000, "is_moderated": True},
        "supported_parameters": ["tools", "max_tokens"],
        "expiration_date": None,
    }


def test_an_id_alone_is_a_model() -> None:
    (entry,) = parsed({"id": "a/b"})
    assert entry["name"] == "a/b"
    assert entry["context_length"] is None
    assert entry["pricing"] == {}
    assert "supported_parameters" not in entry
    assert entry["architecture"]["input_modalities"] == ["text"]


def test_an_unknown_context_is_that_of_the_top_provider() -> None:
    (entry,) = parsed(model("a/b", context_length=None, top_provider={"context_length": 64_000}))
    assert entry["context_length"] == 64_000


def test_ids_are_in_lower_case_and_the_upstreams_spelling_is_for_asking_it() -> None:
    listed = parse_models({"data": [model("Qwen/Qwen3-Coder:FREE")]})
    assert listed.entries[0]["id"] == "qwen/qwen3-coder:free"
    assert listed.paths == ("Qwen/Qwen3-Coder:FREE",)


def test_of_two_with_one_id_the_first_counts() -> None:
    listed = parse_models({"data": [model("a/b", name="first"), model("A/B", name="second"), *models(8)]})
    assert listed.entries[0]["name"] == "first"
    assert listed.skipped == 1


@pytest.mark.parametrize("model_id", ["~openai/gpt-latest", "openrouter/auto", "a/b/c", "a/b:free", "x-ai/grok-4.20"])
def test_an_id_of_openrouter_is_good(model_id: str) -> None:
    assert parsed(model(model_id))[0]["id"] == model_id


@pytest.mark.parametrize(
    "model_id",
    [
        "gpt-5", "", "/", "a/", "/b", "a//b", "a b/c", "a/../b", "./b", "a/b?x=1", "a/b#c", "a/b%2e", "a/b\n", "ä/b",
        "kilo-auto/org", "KILO-AUTO/frontier", "kilo-internal/x", "a/" + "b" * LONGEST_ID, "a/b\0", None, 7, ["a/b"],
    ],
)  # fmt: skip
def test_an_entry_whose_id_is_none_of_a_model_is_skipped(model_id: Any) -> None:
    # A line break at the end is trimmed like every other space around an id.
    assert parsed(model(model_id)) == ([] if model_id != "a/b\n" else parsed(model("a/b")))


@pytest.mark.parametrize("entry", [None, 7, "a/b", [], [["a/b"]], {}, {"name": "nameless"}])
def test_an_entry_that_is_no_object_with_an_id_is_skipped(entry: Any) -> None:
    assert parsed(entry) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 7}, {"name": ["n"]}, {"pricing": "free"}, {"pricing": []}, {"architecture": "transformer"},
        {"context_length": "200k"}, {"context_length": -1}, {"context_length": True}, {"context_length": 1e30},
    ],
)  # fmt: skip
def test_an_entry_of_the_wrong_shape_is_skipped_and_counted(wrong: dict[str, Any]) -> None:
    listed = parse_models({"data": [model("a/b", **wrong), *models(8)]})
    assert "a/b" not in [entry["id"] for entry in listed.entries]
    assert listed.skipped == 1


def test_wrong_details_are_left_out() -> None:
    (entry,) = parsed(
        model(
            "a/b",
            created="yesterday",
            description={"en": "text"},
            architecture=None,
            top_provider=[],
            supported_parameters=["tools", 7, "", None],
            expiration_date=20261231,
        )
    )
    assert entry["created"] == 0
    assert entry["description"] == ""
    assert entry["top_provider"] == {"context_length": None, "max_completion_tokens": None, "is_moderated": False}
    assert entry["supported_parameters"] == ["tools"]
    assert entry["expiration_date"] is None


@pytest.mark.parametrize("price", ["-1", "NaN", "1e999", -1, None, "free", [], {"usd": 1}, True])
def test_an_absurd_price_is_unknown(price: Any) -> None:
    (entry,) = parsed(model("openrouter/auto", pricing={"prompt": price, "completion": "0.1", "new_kind": "1"}))
    assert entry["pricing"] == {"completion": "0.1"}


def test_texts_lose_what_cannot_be_stored() -> None:
    (entry,) = parsed(model("a/b", name="N\0A\ud800ME", description="\udfff", supported_parameters=["to\0ols"]))
    text = json.dumps(entry, ensure_ascii=False)
    text.encode()
    assert "\0" not in text
    assert "\\u0000" not in text
    assert entry["name"] == "N\ufffdA\ufffdME"


@pytest.mark.parametrize("value", [None, [], "data", {}, {"data": None}, {"data": {}}, {"data": "x"}, {"models": []}])
def test_another_shape_is_a_fault(value: Any) -> None:
    with pytest.raises(CatalogFault, match="another shape"):
        parse_models(value)


def test_an_empty_list_is_a_fault() -> None:
    with pytest.raises(CatalogFault, match="empty"):
        parse_models({"data": []})


def test_a_list_with_too_many_wrong_entries_is_a_fault() -> None:
    assert parse_models({"data": [*models(3), "wrong"]}).skipped == 1
    with pytest.raises(CatalogFault, match=r"Of the 4 entries .* 2 are not models"):
        parse_models({"data": [*models(2), "wrong", "wrong"]})


def test_a_list_without_end_is_a_fault() -> None:
    with pytest.raises(CatalogFault):
        parse_models({"data": [{"id": f"a/{number}"} for number in range(MOST_MODELS * 2)]})


# ------------------------------------------------------------------ providers


def test_endpoints_keep_what_is_stable_ordered_by_tag() -> None:
    first, second = parse_endpoints({"data": {"endpoints": [endpoint("deepinfra/fp8"), endpoint("anthropic")]}})
    assert (first["tag"], second["tag"]) == ("anthropic", "deepinfra/fp8")
    assert second["pricing"] == {"prompt": "0.000003", "completion": "0.000015"}
    assert second["context_length"] == 200_000
    assert not {"status", "uptime_last_30m"} & set(second)


def test_the_order_and_the_uptime_of_endpoints_change_nothing() -> None:
    one = [endpoint("a", uptime_last_30m=1), endpoint("b", status=-2), endpoint("b", context_length=1)]
    other = [endpoint("b", context_length=1), endpoint("a"), endpoint("b")]
    assert parse_endpoints({"data": {"endpoints": one}}) == parse_endpoints({"data": {"endpoints": other}})


def test_an_endpoint_without_a_tag_is_known_by_the_name_of_its_provider() -> None:
    nameless = endpoint("x") | {"tag": None, "provider_name": "Amazon Bedrock"}
    (found,) = parse_endpoints({"data": {"endpoints": [nameless, {}, 7]}})
    assert found["tag"] == "amazon-bedrock"


def test_a_data_policy_is_kept_as_far_as_it_is_plain() -> None:
    policy = {"training": False, "retention_days": 30, "terms": "https://x", "nested": {"a": 1}, "share": 0.5}
    (found,) = parse_endpoints({"data": {"endpoints": [endpoint("a", data_policy=policy)]}})
    assert found["data_policy"] == {"retention_days": 30, "terms": "https://x", "training": False}


def test_endpoints_have_a_bound() -> None:
    many = [endpoint(f"p{number}") for number in range(MOST_ENDPOINTS * 2)]
    assert len(parse_endpoints({"data": {"endpoints": many}})) == MOST_ENDPOINTS


@pytest.mark.parametrize("value", [None, [], {"data": []}, {"data": {}}, {"data": {"endpoints": {}}}])
def test_endpoints_of_another_shape_are_a_fault(value: Any) -> None:
    with pytest.raises(CatalogFault, match="another shape"):
        parse_endpoints(value)


def test_providers_are_ordered_by_slug_and_link_only_to_web_pages() -> None:
    found = parse_providers(
        {
            "data": [
                {
                    "slug": "OpenAI",
                    "name": "OpenAI",
                    "privacy_policy_url": "https://openai.com/p",
                    "datacenters": ["US"],
                },
                {"slug": "anthropic", "name": None, "status_page_url": "javascript:alert(1)"},
                {"name": "no slug"},
                "wrong",
            ]
        }
    )
    assert [(provider["slug"], provider["name"]) for provider in found] == [
        ("anthropic", "anthropic"),
        ("openai", "OpenAI"),
    ]
    assert found[1]["privacy_policy_url"] == "https://openai.com/p"
    assert found[0]["status_page_url"] is None


@pytest.mark.parametrize(
    ("tag", "slug"),
    [
        ("anthropic", "anthropic"), ("deepinfra/fp4", "deepinfra"), ("google-vertex/us-east5", "google-vertex"),
        ("DeepInfra", "deepinfra"), ("Amazon Bedrock", "amazon-bedrock"), ("", ""), ("/x", ""), (None, ""), (7, ""),
        ("<script>", ""),
    ],
)  # fmt: skip
def test_a_tag_names_a_provider(tag: Any, slug: str) -> None:
    assert provider_slug(tag) == slug


# ------------------------------------------------------------------ anything at all

TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["id", "name", "created", "description", "context_length", "architecture", "pricing", "top_provider",
          "supported_parameters", "expiration_date"]  # fmt: skip
MODEL = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON))
ENDPOINT = st.fixed_dictionaries(
    {"tag": TEXT | st.just("a")}, optional={"pricing": JSON, "data_policy": JSON, "name": TEXT}
)


@settings(max_examples=200, deadline=None)
@given(JSON | st.fixed_dictionaries({"data": st.lists(MODEL | JSON, max_size=3)}))
def test_any_list_of_models_is_storable_or_a_fault(value: Any) -> None:
    try:
        kept = parse_models(value).entries
    except CatalogFault:
        return
    assert_storable(list(kept))
    for entry in kept:
        assert_readable_by_clients(entry)


@settings(max_examples=200, deadline=None)
@given(
    st.fixed_dictionaries({"data": st.fixed_dictionaries({"endpoints": st.lists(ENDPOINT | JSON, max_size=3)})})
    | st.fixed_dictionaries({"data": st.lists(st.fixed_dictionaries({"slug": TEXT, "name": JSON}) | JSON, max_size=3)})
)
def test_any_providers_are_storable_or_a_fault(value: Any) -> None:
    for parse in (parse_endpoints, parse_providers):
        try:
            kept = parse(value)
        except CatalogFault:
            continue
        assert_storable(kept)


def assert_readable_by_clients(entry: dict[str, Any]) -> None:
    """Clients drop the whole list for one entry that breaks one of these; the listing sees to an unknown context."""
    assert all(isinstance(entry[key], str) for key in ("id", "name", "description"))
    assert all(isinstance(entry[key], dict) for key in ("pricing", "architecture", "top_provider"))
    assert isinstance(entry["context_length"], int | None)
    assert all(isinstance(price, str) for price in entry["pricing"].values())
    assert isinstance(entry.get("supported_parameters", []), list)


def assert_storable(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    assert "\\u0000" not in text
    assert json.loads(text) == value
