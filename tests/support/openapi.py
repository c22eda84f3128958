"""Checks answers against the API's own description of them."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from django.test import Client
from jsonschema import Draft202012Validator


@cache
def document() -> dict[str, Any]:
    """The served description."""
    response = Client().get("/api/schema/")
    assert response.status_code == 200
    found: dict[str, Any] = json.loads(response.content)
    return found


def check_answer(method: str, path: str, response: Any) -> None:
    """Fail unless the answer is one that the description promises, down to the last field."""
    operation = _operation(method, path)
    described = operation["responses"].get(str(response.status_code))
    assert described, f"{method} {path} does not promise {response.status_code}: {response.content!r}"
    content = described["content"]["application/json"]["schema"]
    assert response["Content-Type"] == "application/json"
    for header in described.get("headers", {}):
        assert response.has_header(header), f"{method} {path}: no {header}"
    validator = Draft202012Validator({**_closed(content), "components": _components()})
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(response.json())]
    assert not errors, f"{method} {path} {response.status_code}: {errors}"


def _operation(method: str, path: str) -> dict[str, Any]:
    for template, item in document()["paths"].items():
        pattern = re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path) and method.lower() in item:
            found: dict[str, Any] = item[method.lower()]
            return found
    raise AssertionError(f"{method} {path} is not described")


@cache
def _components() -> dict[str, Any]:
    converted: dict[str, Any] = _closed(document()["components"])
    return converted


def _closed(schema: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: `nullable` in its words, and no field but those that are described."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    converted = {key: _closed(value) for key, value in schema.items() if key != "nullable"}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        converted.setdefault("additionalProperties", False)
    if schema.get("nullable") is True:
        return {"anyOf": [converted, {"type": "null"}]}
    return converted
