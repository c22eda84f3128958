"""`manage.py sync_catalog`: a sentence and an exit code."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from routing.models import Installation
from tests.routing.catalog.upstream import FakeUpstream, models

pytestmark = pytest.mark.usefixtures("installation")


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("sync_catalog", *arguments, stdout=out)
    return out.getvalue()


def test_it_works(upstream: FakeUpstream) -> None:
    upstream.lists(models(200))
    assert run() == (
        f"A new snapshot is in force: 200 models, the serving providers of 0 known.\nRead from {upstream.base_url}.\n"
    )
    assert run().startswith("Nothing has changed: 200 models")


def test_a_fault_ends_it_with_a_sentence(upstream: FakeUpstream) -> None:
    with pytest.raises(CommandError) as raised:
        run()
    assert raised.value.returncode == 1
    reason, what_stays = str(raised.value).splitlines()
    assert "404" in reason
    assert what_stays.startswith("The current catalog stays in force: ")
    assert "models from genai-prices" in what_stays


def test_a_small_catalog_needs_force(upstream: FakeUpstream) -> None:
    upstream.lists(models(3))
    with pytest.raises(CommandError, match="fewer than half"):
        run()
    assert "3 models" in run("--force")


def test_without_an_installation_it_says_what_to_do(upstream: FakeUpstream) -> None:
    Installation.objects.all().delete()
    with pytest.raises(CommandError, match="run migrate first"):
        run()
