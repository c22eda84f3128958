"""The catalog of an installation without a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import date

from routing.catalog.bundled import bundled_models
from routing.catalog.parse import parse_models

MODELS = bundled_models()


def test_it_has_the_models_that_people_use() -> None:
    ids = [model["id"] for model in MODELS]
    assert len(ids) > 300
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    assert {"anthropic/claude-opus-5", "anthropic/claude-sonnet-5", "openai/gpt-5-mini", "moonshotai/kimi-k3"} <= set(
        ids
    )


def test_each_entry_has_the_shape_of_openrouter() -> None:
    for model in MODELS:
        assert re.fullmatch(r"[a-z0-9.-]+/[a-z0-9._:-]+", model["id"])
        assert ":batch" not in model["id"]
        assert isinstance(model["name"], str)
        assert model["context_length"] > 0
        assert model["top_provider"]["context_length"] == model["context_length"]
        assert set(model["pricing"]) <= {"prompt", "completion", "input_cache_read", "input_cache_write"}
        assert all(re.fullmatch(r"[0-9]+(\.[0-9]+)?", price) for price in model["pricing"].values())
        assert {"tools", "tool_choice", "max_tokens"} <= set(model["supported_parameters"])


def test_free_models_cost_nothing_and_unknown_prices_are_absent() -> None:
    free = [model for model in MODELS if model["id"].endswith(":free")]
    assert free
    assert all(model["pricing"] == {"prompt": "0", "completion": "0"} for model in free)
    for model in MODELS:
        if not model["id"].endswith(":free"):
            assert "0" not in model["pricing"].values()


def test_it_passes_the_checks_of_a_sync() -> None:
    parsed = parse_models({"data": json.loads(json.dumps(MODELS))})
    assert parsed.skipped == 0
    assert list(parsed.entries) == MODELS


def test_it_depends_on_the_day_and_on_nothing_else() -> None:
    assert bundled_models(date(2026, 6, 1)) == bundled_models(date(2026, 6, 1))


def test_it_is_imported_without_django() -> None:
    program = (
        "import sys; from routing.catalog.bundled import bundled_models; assert bundled_models();"
        "assert not {'django', 'psycopg', 'requests'} & set(sys.modules), 'too much'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
