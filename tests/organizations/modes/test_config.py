from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from organizations.modes.config import BUILT_IN_MODES, GROUPS, TEXTS, BuiltInMode, readable_config, validate_config

LIMITED = ["edit", {"fileRegex": r"\.md$", "description": "Markdown files"}]


def errors_of(config: object) -> dict[str, list[str]]:
    with pytest.raises(ValidationError) as caught:
        validate_config(config)
    found: dict[str, list[str]] = caught.value.message_dict
    return found


class TestBuiltInModes:
    def test_they_are_five(self) -> None:
        assert list(BUILT_IN_MODES) == ["architect", "code", "ask", "debug", "orchestrator"]

    @pytest.mark.parametrize("mode", BUILT_IN_MODES.values(), ids=lambda mode: mode.slug)
    def test_each_is_complete_and_in_normal_form(self, mode: BuiltInMode) -> None:
        assert mode.name
        assert mode.role_definition
        assert mode.description
        assert mode.when_to_use
        assert bool(mode.custom_instructions) is (mode.slug != "code")
        assert validate_config(mode.config) == mode.config

    def test_their_groups(self) -> None:
        assert {slug: mode.config["groups"] for slug, mode in BUILT_IN_MODES.items()} == {
            "architect": ["read", LIMITED, "browser", "mcp"],
            "code": ["read", "edit", "browser", "command", "mcp"],
            "ask": ["read", "browser", "mcp"],
            "debug": ["read", "edit", "browser", "command", "mcp"],
            "orchestrator": [],
        }


class TestValidConfigs:
    def test_it_works(self) -> None:
        config = {
            "roleDefinition": "You write docs.",
            "whenToUse": "For docs.",
            "description": "Docs",
            "customInstructions": "Be brief.",
            "groups": ["read", LIMITED, "mcp"],
        }
        assert validate_config(config) == config

    def test_its_normal_form(self) -> None:
        config = {"roleDefinition": "  You help.\n", "whenToUse": None, "description": "  ", "groups": None}
        assert validate_config(config) == {"roleDefinition": "You help.", "groups": []}

    def test_a_limit_without_a_description(self) -> None:
        config = {"roleDefinition": "x", "groups": [["edit", {"fileRegex": "^docs/", "description": ""}]]}
        assert validate_config(config)["groups"] == [["edit", {"fileRegex": "^docs/"}]]

    @given(
        st.fixed_dictionaries(
            {"roleDefinition": st.text(min_size=1)},
            optional={
                **{key: st.none() | st.text() for key in TEXTS if key != "roleDefinition"},
                "groups": st.lists(st.sampled_from([*GROUPS, LIMITED]), unique_by=str),
            },
        )
    )
    def test_what_is_normal_stays_as_it_is(self, config: dict[str, Any]) -> None:
        try:
            normal = validate_config(config)
        except ValidationError:
            return
        assert validate_config(normal) == normal
        assert readable_config(normal) == normal


class TestRefusals:
    @pytest.mark.parametrize("config", [None, [], "x", 1])
    def test_it_is_no_object(self, config: object) -> None:
        assert "config" in errors_of(config)

    @pytest.mark.parametrize("value", [None, "", " \n", 3, ["x"], "x" * 20_001, "nul \x00", "half \ud800"])
    def test_the_role_definition(self, value: object) -> None:
        assert list(errors_of({"roleDefinition": value})) == ["roleDefinition"]

    @pytest.mark.parametrize("key", [key for key in TEXTS if key != "roleDefinition"])
    def test_the_other_texts(self, key: str) -> None:
        for value in (3, {}, "x" * (TEXTS[key] + 1), "\x00"):
            assert list(errors_of({"roleDefinition": "x", key: value})) == [key]

    @pytest.mark.parametrize(
        "groups",
        [
            "read",
            {"read": True},
            ["write"],
            [None],
            [3],
            ["read", "read"],
            ["edit", LIMITED],
            [["edit"]],
            [["edit", None]],
            [["edit", {}]],
            [["edit", {"description": "no pattern"}]],
            [["edit", {"fileRegex": "("}]],
            [["edit", {"fileRegex": 3}]],
            [["edit", {"fileRegex": "x" * 501}]],
            [["edit", {"fileRegex": "x", "description": "x" * 201}]],
            [["edit", {"fileRegex": "x", "other": "x"}]],
            [["edit", {"fileRegex": "x"}, "more"]],
            [["read", {"fileRegex": "x"}]],
            [["edit", {"fileRegex": "x{1,99999999999}"}]],
            [*GROUPS, "read"],
            ["read"] * 10_000,
        ],
    )
    def test_groups(self, groups: object) -> None:
        found = errors_of({"roleDefinition": "x", "groups": groups})
        assert list(found) == ["groups"]
        assert len(found["groups"]) <= len(GROUPS) + 1

    def test_unknown_fields_are_named(self) -> None:
        assert errors_of({"roleDefinition": "x", "defaultModel": "a/b"})["config"] == ["Unknown fields: defaultModel."]

    def test_every_field_is_looked_at(self) -> None:
        config = {"roleDefinition": "", "whenToUse": 3, "groups": ["x"], "more": 1}
        assert set(errors_of(config)) == {"roleDefinition", "whenToUse", "groups", "config"}


class TestReadableConfig:
    @given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
    def test_it_has_only_what_clients_can_read(self, value: object) -> None:
        readable = readable_config({"roleDefinition": value, "groups": value, "whenToUse": None})
        assert isinstance(readable.get("roleDefinition", ""), str)
        assert all(
            isinstance(group, str) or (len(group) == 2 and isinstance(group[1], dict))
            for group in readable.get("groups", [])
        )
        assert "whenToUse" not in readable
