"""What people are told to install is what the tests of `tests/clients` run."""

from __future__ import annotations

import json
from uuid import UUID

from kilo_gateway import kilo_cli
from organizations.pages import api_keys
from routing.management.commands import demo
from routing.pages.connect import clients
from tests.support.environment import ROOT


def test_it_is_the_tested_one() -> None:
    packages = json.loads((ROOT / "tests" / "clients" / "package.json").read_text())["dependencies"]
    assert set(packages.values()) == {kilo_cli.VERSION}


def test_everybody_is_told_the_same() -> None:
    """A newest version may lack the package of its platform."""
    texts = [snippet.text for snippet in clients("http://localhost", UUID(int=0), "some/model")[0].snippets]
    assert f"npm install -g {kilo_cli.PACKAGE}\n" in texts[0]
    assert f"    npm install {kilo_cli.PACKAGE}\n" in (ROOT / "README.md").read_text()
    assert "npm install {kilo_cli}\n" in demo.GUIDE
    assert any(use.text.endswith("npx {kilo_cli}") for use in api_keys.USES)
