from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.views import APIView

from tests.support.openapi import document

OPERATIONS = ("get", "put", "post", "patch", "delete")


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document()["paths"].items():
        for method in OPERATIONS:
            if method in item:
                yield path, method, item[method]


def addresses(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        route = f"{prefix}{pattern.pattern}"
        if isinstance(pattern, URLResolver):
            yield from addresses(pattern, route)
        else:
            yield route, pattern


class TestDocument:
    def test_it_is_valid_and_nothing_in_it_was_guessed(self, tmp_path: Any) -> None:
        call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))

    def test_anybody_may_read_it_without_a_query(self, client: Client) -> None:
        # Without the fixture `db`, a query would fail the test.
        response = client.get("/api/schema/")
        assert (response.status_code, response["Content-Type"]) == (200, "application/vnd.oai.openapi+json")
        assert response["Cache-Control"] == "public, max-age=300"
        assert not response.cookies
        assert client.get("/api/schema/", HTTP_AUTHORIZATION="Bearer nonsense").content == response.content

    @pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
    def test_only_reading(self, client: Client, path: str) -> None:
        assert client.head(path).status_code == 200
        response = client.post(path)
        assert (response.status_code, response["Allow"]) == (405, "GET, HEAD")
        assert response.json()["error_type"] == "method_not_allowed"

    def test_every_endpoint_is_in_it(self) -> None:
        described = {(path, method) for path, method, _ in operations()}
        missing = []
        for route, pattern in addresses(get_resolver()):
            view = getattr(pattern.callback, "cls", None)
            if view is None or not issubclass(view, APIView):
                continue
            path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
            allowed = {method for method in OPERATIONS if method in view.http_method_names and hasattr(view, method)}
            missing += [(path, method) for method in allowed if (path, method) not in described]
        assert not missing

    def test_everything_is_described(self) -> None:
        names = [operation["operationId"] for _, _, operation in operations()]
        assert len(set(names)) == len(names)
        for path, method, operation in operations():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert len(operation["tags"]) == 1, where
            assert operation["security"], where
            if path.startswith("/api/device-auth/"):
                # For programs that have no credential yet.
                assert operation["security"] == [{}], where
                assert {"403", "410", "429"} <= set(operation["responses"]), where
            else:
                assert {} not in operation["security"], where
                assert {"401", "403", "404"} <= set(operation["responses"]), where
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    assert status < "400" or content["schema"] == {"$ref": "#/components/schemas/Error"}, where

    def test_management_takes_keys_and_sessions_and_the_proxy_keys(self) -> None:
        assert set(document()["components"]["securitySchemes"]) == {"apiKey", "session"}
        security = {(path, method): operation["security"] for path, method, operation in operations()}
        assert security["/api/organizations/{organization_id}/model-policy", "put"] == [{"apiKey": []}, {"session": []}]
        assert security["/api/gateway/v1/chat/completions", "post"] == [{"apiKey": []}]

    def test_writes_take_a_version(self) -> None:
        for path, method, operation in operations():
            names = {parameter["name"] for parameter in operation.get("parameters", [])}
            assert ("If-Match" in names) == ("412" in operation["responses"]), f"{method} {path}"

    def test_the_proxys_bodies_are_open(self) -> None:
        for name in ("chat/completions", "responses", "messages"):
            operation = document()["paths"][f"/api/gateway/v1/{name}"]["post"]
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            assert (schema["required"], schema["additionalProperties"]) == (["model"], True)
            assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}


class TestPage:
    def test_everything_in_it_comes_from_here(self, client: Client) -> None:
        response = client.get("/api/docs/")
        assert response.status_code == 200
        text = response.content.decode()
        sources = re.findall(r'(?:src|href|data-schema)="([^"]*)"', text)
        assert len(sources) >= 5
        assert all(re.match(r"/(static|api)/", source) for source in sources)
        assert "<script>" not in text
        assert " style=" not in text
        for source in sources:
            if source.startswith("/static/"):
                assert finders.find(source.removeprefix("/static/")), source

    def test_its_policy_allows_nothing_inline(self, client: Client) -> None:
        policy = client.get("/api/docs/")["Content-Security-Policy"]
        assert "unsafe" not in policy
        assert "default-src 'none'" in policy
        assert not re.search(r"https?:|\*", policy)
