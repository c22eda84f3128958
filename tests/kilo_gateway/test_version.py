"""One release has one version, wherever it is told."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from django.conf import settings

from kilo_gateway.version import USER_AGENT, VERSION
from tests.support.live import ROOT


def test_everything_tells_the_same_one() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == VERSION
    assert settings.SPECTACULAR_SETTINGS["VERSION"] == VERSION
    images = [
        tag
        for file in (ROOT / "deploy" / "kubernetes").glob("*.yaml")
        for tag in re.findall(r"image: \S+/kilo-gateway:(\S+)", file.read_text(encoding="utf-8"))
    ]
    assert set(images) == {VERSION}
    assert VERSION.startswith(f"{USER_AGENT.removeprefix('kilo-gateway/')}.")


def test_no_other_place_has_one_of_its_own() -> None:
    own = [
        str(file.relative_to(ROOT))
        for package in ("kilo_gateway", "organizations", "byok", "routing")
        for file in (ROOT / package).rglob("*.py")
        if re.search(r"kilo-gateway/\d", file.read_text(encoding="utf-8"))
    ]
    assert own == []
