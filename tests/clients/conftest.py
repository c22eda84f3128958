"""Real clients, unmodified: the Kilo CLI and the official SDKs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.clients.kilo import KiloCli, install
from tests.support.live import Gateway
from tests.support.npm import NotInstallableError

SignIn = Callable[[str], KiloCli]


@pytest.fixture
def quiet_upstream(gateway: Gateway) -> Iterator[None]:
    """An upstream that was told nothing yet, and forgets afterwards what a test told it."""
    gateway.upstream.clear()
    yield
    gateway.upstream.reset_behaviour()


@pytest.fixture(scope="session")
def kilo_installed() -> None:
    """The pinned Kilo CLI below `node_modules`, or a skip that says how to get it."""
    try:
        install()
    except NotInstallableError as error:
        pytest.skip(str(error))


@pytest.fixture
def stored_login(kilo_installed: None, gateway: Gateway, tmp_path: Path) -> SignIn:
    """A person's CLI with a stored login: `stored_login("alice")`."""
    folders = count()

    def sign_in(name: str) -> KiloCli:
        user = gateway.user(name)
        organization_id = gateway.organization(user["organization"])["id"]
        folder = tmp_path / f"kilo{next(folders)}"
        return KiloCli.with_stored_login(gateway.base_url, folder, key=user["api_key"], organization_id=organization_id)

    return sign_in


@pytest.fixture
def key_login(kilo_installed: None, gateway: Gateway, tmp_path: Path) -> SignIn:
    """A person's CLI with the key and the organization in the environment."""

    def sign_in(name: str) -> KiloCli:
        user = gateway.user(name)
        organization_id = gateway.organization(user["organization"])["id"]
        return KiloCli.with_key(
            gateway.base_url, tmp_path / "kilo", key=user["api_key"], organization_id=organization_id
        )

    return sign_in
