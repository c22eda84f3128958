from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders

from kilo_gateway.static_files import collect_static_files


@pytest.fixture
def sources(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A folder with one file, which a production server would collect next to itself."""
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "page.css").write_text("body { color: red }")
    settings.DEBUG = False
    settings.STATIC_ROOT = tmp_path / "collected"
    settings.STATICFILES_DIRS = [folder]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    finders.get_finder.cache_clear()
    yield folder
    finders.get_finder.cache_clear()


def names(collected: Path) -> dict[str, str]:
    paths: dict[str, str] = json.loads((collected / "staticfiles.json").read_text())["paths"]
    return paths


class TestCollecting:
    def test_it_works(self, sources: Path, settings: Any) -> None:
        assert collect_static_files()
        hashed = names(settings.STATIC_ROOT)["page.css"]
        assert hashed != "page.css"
        assert (settings.STATIC_ROOT / hashed).read_text() == "body { color: red }"

    def test_nothing_is_done_twice(self, sources: Path, settings: Any) -> None:
        assert collect_static_files()
        assert not collect_static_files()

    def test_a_change_is_collected_and_the_old_file_stays(self, sources: Path, settings: Any) -> None:
        collect_static_files()
        before = names(settings.STATIC_ROOT)["page.css"]
        (sources / "page.css").write_text("body { color: green }")
        assert collect_static_files()
        after = names(settings.STATIC_ROOT)["page.css"]
        assert after != before
        assert (settings.STATIC_ROOT / before).exists()
        assert (settings.STATIC_ROOT / after).read_text() == "body { color: green }"

    def test_a_broken_off_collection_is_done_again(self, sources: Path, settings: Any) -> None:
        collect_static_files()
        (settings.STATIC_ROOT / ".sources").unlink()
        assert collect_static_files()

    def test_development_needs_none(self, sources: Path, settings: Any) -> None:
        settings.DEBUG = True
        assert not collect_static_files()
        assert not settings.STATIC_ROOT.exists()
