"""Every address of the project, with every method, as everybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import connections, transaction
from django.http import HttpResponseBase
from django.shortcuts import resolve_url
from django.test import Client
from pytest_django import DjangoDbBlocker

from organizations.management_api.views import ManagingView
from organizations.models import Scope
from routing.demo import DemoUpstream
from routing.proxy.urls import PROXY_VIEWS
from routing.proxy.usage_writer import writer
from tests.factories import ApiKeyFactory, bearer
from tests.permissions.table import ADMIN_DOORS, ADMIN_SUBTREE, HARDER, METHODS, ROLES, TABLE, WITHOUT_HEAD, Line
from tests.permissions.world import World, admin_routes, make_world, routes
from tests.support.tenants import wipe_committed_rows

BELOW_AN_ORGANIZATION = sorted(route for route in TABLE if "organization_id>" in route and route.startswith("api/"))
PAGES_BELOW = sorted(route for route in TABLE if "organization_id>/" in route and not route.startswith("api/"))
MANAGEMENT = sorted(
    route
    for route, pattern in routes().items()
    if issubclass(getattr(pattern.callback, "cls", None) or object, ManagingView)
)


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    with django_db_blocker.unblock():
        try:
            yield make_world()
        finally:
            writer.flush()
            wipe_committed_rows()
            connections.close_all()


@pytest.fixture(scope="module")
def upstream() -> Iterator[DemoUpstream]:
    with DemoUpstream() as running:
        yield running


@pytest.fixture(autouse=True)
def _hosted(settings: Any, upstream: DemoUpstream) -> None:
    settings.OPENROUTER_API_KEY = "sk-hosted-key-0001"
    settings.OPENROUTER_BASE_URL = f"{upstream.base_url}/api/v1"
    settings.VERCEL_AI_GATEWAY_API_KEY = ""
    settings.PROVIDER_BASE_URLS = dict.fromkeys(("neuralwatt", "edenai"), f"{upstream.base_url}/v1")


def send(world: World, client: Client, method: str, path: str, line: Line | None = None) -> HttpResponseBase:
    """One request that leaves nothing behind; the proxy's changes nothing and must not be in a transaction."""
    if path in PROXY_VIEWS:
        return world.send(client, method, path, line)
    with transaction.atomic():
        response = world.send(client, method, path, line)
        transaction.set_rollback(True)
    return response


def outcome(response: HttpResponseBase) -> str:
    """What it came to, in the words of the table."""
    status = response.status_code
    if status == 403 and _code(response) == "role_required":
        return "role"
    if 200 <= status < 300:
        return "ok"
    return "to" if 300 <= status < 400 else str(status)


def _code(response: HttpResponseBase) -> str:
    try:
        return str(json.loads(response.content)["error"]["code"])  # type: ignore[attr-defined]  # errors do not stream
    except (ValueError, LookupError, AttributeError):
        return ""


class TestTheTable:
    def test_it_has_every_address(self) -> None:
        served = {route for route in routes() if not route.startswith(ADMIN_SUBTREE) or route == ADMIN_SUBTREE}
        assert served - set(TABLE) == set(), "addresses that the table does not know: say who may use them"
        assert set(TABLE) - served == set(), "addresses that there are not"

    def test_it_has_methods_that_there_are(self) -> None:
        assert {method for lines in TABLE.values() for method in lines} <= set(METHODS)
        assert all(TABLE.values())

    def test_a_stranger_is_told_nothing(self) -> None:
        """Whoever adds a line may not make an exception of this one."""
        for route in BELOW_AN_ORGANIZATION + PAGES_BELOW:
            unknown = "401" if route in BELOW_AN_ORGANIZATION else "to"
            for method, line in TABLE[route].items():
                outcomes = dict(zip(ROLES, line.outcomes, strict=True))
                told = (outcomes["anonymous"], outcomes["stranger"], outcomes["staff"])
                assert told == (unknown, "404", "404"), (method, route)


@pytest.mark.parametrize("route", sorted(TABLE))
class TestEveryAddress:
    def test_with_every_method(self, world: World, route: str) -> None:
        """What is not in the table is not allowed, so a method that the table does not know fails here too."""
        path = world.path(route)
        with_session = not route.startswith("api/")
        found, expected = {}, {}
        for role in ROLES:
            client = world.client(role, with_session=with_session)
            for method in METHODS:
                line = TABLE[route].get(method)
                if line is None and role == "anonymous":
                    continue
                expected[method, role] = line.outcomes[ROLES.index(role)] if line else "405"
                found[method, role] = outcome(send(world, client, method, path, line))
        assert found == expected

    def test_anonymously_nothing_is_changed(self, world: World, route: str) -> None:
        for method in set(METHODS) - set(TABLE[route]):
            response = send(world, Client(), method, world.path(route))
            assert outcome(response) in {"401", "405"}, method

    def test_odd_methods(self, world: World, route: str) -> None:
        """HEAD is GET without a body; what else there may be is no way around anything."""
        for role in ROLES:
            client = world.client(role, with_session=not route.startswith("api/"))
            path = world.path(route)
            head = outcome(send(world, client, "HEAD", path, TABLE[route].get("GET")))
            if "GET" in TABLE[route] and route not in WITHOUT_HEAD:
                wanted = TABLE[route]["GET"].outcomes[ROLES.index(role)]
                # Without a body there is no telling why.
                assert head == ("403" if wanted == "role" else wanted), (role, head)
            else:
                assert head in {"401", "405"}
            for method in ("TRACE", "PROPFIND"):
                odd = outcome(send(world, client, method, path))
                assert odd in {"401", "405"} or (route.startswith("admin") and odd == head), (method, role)


class TestHarderOnes:
    @pytest.mark.parametrize(("method", "rest"), sorted(HARDER))
    def test_it(self, world: World, method: str, rest: str) -> None:
        line = HARDER[method, rest]
        found = {}
        for role in ROLES:
            own = str(world.users[role].pk) if role in world.users else world.arguments["user_id"]
            path = f"/api/organizations/{world.organization.pk}/{rest.format(**world.arguments, self=own)}"
            found[role] = outcome(send(world, world.client(role), method, path, line))
        assert found == dict(zip(ROLES, line.outcomes, strict=True))


class TestCredentials:
    """What a person may do is not all that each of his credentials may do."""

    @pytest.mark.parametrize("route", MANAGEMENT)
    def test_a_session_is_as_good_as_a_key(self, world: World, route: str) -> None:
        for method, line in TABLE[route].items():
            found = {
                role: outcome(send(world, world.client(role, with_session=True), method, world.path(route), line))
                for role in ROLES
            }
            assert found == dict(zip(ROLES, line.outcomes, strict=True)), method

    @pytest.mark.parametrize("route", MANAGEMENT)
    def test_a_session_without_the_csrf_token_only_reads(self, world: World, route: str) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(world.users["owner"])
        for method, line in TABLE[route].items():
            response = send(world, client, method, world.path(route), line)
            if method == "GET":
                assert outcome(response) == "ok"
            else:
                assert (response.status_code, _code(response)) == (403, "csrf_failed"), method

    @pytest.mark.parametrize("route", MANAGEMENT)
    def test_a_key_for_model_requests_does_not_manage(self, world: World, route: str) -> None:
        key = ApiKeyFactory.create(user=world.users["owner"], scopes=[Scope.INFERENCE.value])
        opened = set()
        for method, line in TABLE[route].items():
            response = send(world, Client(**bearer(key)), method, world.path(route), line)
            if outcome(response) == "ok":
                opened.add(method)
            else:
                assert (response.status_code, _code(response)) == (403, "scope_required"), method
        # The list of modes is what clients read.
        assert opened == ({"GET"} if route.endswith("/modes") else set())

    @pytest.mark.parametrize("route", BELOW_AN_ORGANIZATION)
    def test_a_key_that_is_bound_elsewhere(self, world: World, route: str) -> None:
        """Its person is an owner of both organizations."""
        key = ApiKeyFactory.create(
            user=world.users["owner"],
            organization_id=world.arguments["other_organization_id"],
            scopes=[Scope.INFERENCE.value, Scope.MANAGEMENT.value],
        )
        for method, line in TABLE[route].items():
            response = send(world, Client(**bearer(key)), method, world.path(route), line)
            assert outcome(response) == "404", method

    @pytest.mark.parametrize("route", [route for route in BELOW_AN_ORGANIZATION if route.count("<") > 1])
    def test_an_object_is_found_through_its_own_organization_only(self, world: World, route: str) -> None:
        """By the owner of another one, who names the object's id below it."""
        path = world.path(route, organization_id=world.arguments["other_organization_id"])
        client = world.client("stranger")
        for method, line in TABLE[route].items():
            found = outcome(send(world, client, method, path, line))
            # Slugs and versions are no ids: his organization has its own.
            assert found == "404" or "<uuid:" not in route.partition("organization_id>")[2], (method, found)


class TestPages:
    @pytest.mark.parametrize("route", PAGES_BELOW)
    def test_whoever_is_not_signed_in_is_led_there_and_back(self, world: World, route: str) -> None:
        path = world.path(route)
        for method, line in TABLE[route].items():
            response = send(world, Client(), method, path, line)
            after = quote(path if method == "GET" else "/")
            assert response["Location"] == f"{resolve_url(settings.LOGIN_URL)}?next={after}", method

    @pytest.mark.parametrize("route", PAGES_BELOW)
    def test_a_post_needs_the_csrf_token(self, world: World, route: str) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(world.users["owner"])
        for method in set(TABLE[route]) - {"GET"}:
            assert outcome(send(world, client, method, world.path(route), TABLE[route][method])) == "403"

    @pytest.mark.parametrize("route", PAGES_BELOW)
    def test_an_api_key_opens_none(self, world: World, route: str) -> None:
        for method, line in TABLE[route].items():
            assert outcome(send(world, world.client("owner"), method, world.path(route), line)) == "to"

    @pytest.mark.parametrize("route", [route for route in PAGES_BELOW if route.count("<") > 1])
    def test_an_object_is_found_through_its_own_organization_only(self, world: World, route: str) -> None:
        path = world.path(route, organization_id=world.arguments["other_organization_id"])
        client = world.client("stranger", with_session=True)
        for method, line in TABLE[route].items():
            found = outcome(send(world, client, method, path, line))
            assert found == "404" or "<uuid:" not in route.partition("organization_id>")[2], (method, found)


class TestDjangoAdmin:
    @pytest.mark.parametrize("route", admin_routes())
    def test_it_is_for_staff(self, world: World, route: str) -> None:
        path = re.sub(r"<(?:\w+:)?\w+>", str(world.organization.pk), route)
        path = re.sub(r"\(\?P<app_label>(\w+)[^)]*\)", r"\1", path)
        path = "/" + path.replace("(?P<url>.*)", "no/such/page").replace("^", "").replace("$", "")
        for role in set(ROLES) - {"staff"}:
            client = world.client(role, with_session=True)
            for method in METHODS:
                response = send(world, client, method, path)
                if route in ADMIN_DOORS:
                    assert response.status_code < 500
                    continue
                assert outcome(response) in {"to", "403", "404", "405"}, (method, role)
                if outcome(response) == "to":
                    assert response["Location"].startswith("/admin/login/?next="), (method, role)

    @pytest.mark.parametrize("role", sorted(set(ROLES) - {"anonymous"}))
    def test_an_api_key_opens_nothing(self, world: World, role: str) -> None:
        response = send(world, world.client(role), "GET", "/admin/")
        assert response["Location"].startswith("/admin/login/")
