"""What a mode says about itself: the built-in modes as data, and the shape that a stored one must have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from django.core.exceptions import ValidationError

from organizations.modes.file_regex import file_regex_problem

# Kinds of tools that a mode may use.
GROUPS: Final = ("read", "edit", "browser", "command", "mcp")
# The kind that can be limited to certain files.
LIMITABLE: Final = "edit"
LIMIT_KEYS: Final = ("fileRegex", "description")

# The texts of a mode by their JSON keys, with the longest that each may be. They become part of every prompt.
TEXTS: Final[Mapping[str, int]] = MappingProxyType(
    {"roleDefinition": 20_000, "whenToUse": 5_000, "description": 1_000, "customInstructions": 50_000}
)
REQUIRED: Final = "roleDefinition"
LONGEST_FILE_REGEX: Final = 500
LONGEST_LIMIT_DESCRIPTION: Final = 200

# PostgreSQL's JSON cannot hold NUL, and lone surrogates are no text.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

Group = str | list[Any]


@dataclass(frozen=True, slots=True)
class EditLimit:
    """`edit` for the files whose path matches, and how to call them."""

    file_regex: str
    description: str

    def as_group(self) -> Group:
        return [LIMITABLE, {"fileRegex": self.file_regex, "description": self.description}]


@dataclass(frozen=True, slots=True)
class BuiltInMode:
    """A mode with texts of our own: one that every client has without an organization's doing, or a template."""

    slug: str
    name: str
    description: str
    when_to_use: str
    role_definition: str
    custom_instructions: str = ""
    groups: tuple[str | EditLimit, ...] = ()

    @property
    def config(self) -> dict[str, Any]:
        """The same as a stored mode's config; equal to what `validate_config` makes of it."""
        texts = {
            "roleDefinition": self.role_definition,
            "whenToUse": self.when_to_use,
            "description": self.description,
            "customInstructions": self.custom_instructions,
        }
        groups = [group.as_group() if isinstance(group, EditLimit) else group for group in self.groups]
        return {**{key: text for key, text in texts.items() if text}, "groups": groups}


_BUILT_IN: Final = (
    BuiltInMode(
        slug="architect",
        name="Architect",
        description="Plan before anything is built",
        when_to_use=(
            "For a change that needs a design first: a new feature, a migration, a choice between several ways, or a "
            "task that is still vague."
        ),
        role_definition=(
            "You are an experienced software architect. You find out how the existing system works and what the change "
            "really needs, weigh the options, and write a plan that somebody else can carry out."
        ),
        custom_instructions=(
            "Read the relevant code before you propose anything, and ask when an answer would change the plan. Write "
            "the plan as a short ordered list of steps, each with its purpose and the files it concerns. Name risks "
            "and what you decided against. Do not implement: offer to hand the finished plan to another mode."
        ),
        groups=("read", EditLimit(r"\.md$", "Markdown files"), "browser", "mcp"),
    ),
    BuiltInMode(
        slug="code",
        name="Code",
        description="Write and change code",
        when_to_use="For implementing, refactoring and fixing: whenever files have to change and it is clear why.",
        role_definition=(
            "You are a careful software engineer who knows many languages and frameworks. You make the change that was "
            "asked for in the style of the code around it, and you check that it works."
        ),
        groups=GROUPS,
    ),
    BuiltInMode(
        slug="ask",
        name="Ask",
        description="Get answers and explanations",
        when_to_use="For questions about code, tools and concepts, where nothing should be changed.",
        role_definition=(
            "You are a knowledgeable colleague who explains software: how this code works, what a concept means, which "
            "options there are and what they cost."
        ),
        custom_instructions=(
            "Look at the code before you speak about it, and say where you found what you say. Answer the question "
            "first and fully, then add background if it helps. Change no files; use a diagram where it is clearer than "
            "words."
        ),
        groups=("read", "browser", "mcp"),
    ),
    BuiltInMode(
        slug="debug",
        name="Debug",
        description="Find out why something fails",
        when_to_use="For errors, failing tests and behaviour that nobody understands yet.",
        role_definition=(
            "You are a patient debugger. You reproduce a fault, narrow it down by evidence, and mend its cause, not "
            "its symptom."
        ),
        custom_instructions=(
            "Collect several possible causes, then name the one or two that the evidence favours. Test them with logs, "
            "a debugger or a small experiment before you touch the code, and say what you found. Ask for confirmation "
            "of the diagnosis when the mending is large. Leave a test behind that would have caught it."
        ),
        groups=GROUPS,
    ),
    BuiltInMode(
        slug="orchestrator",
        name="Orchestrator",
        description="Split large work among modes",
        when_to_use="For work of many steps that different modes do best, one after the other.",
        role_definition=(
            "You coordinate. You cut a large task into parts, give each to the mode that suits it, keep track of the "
            "results and put them together."
        ),
        custom_instructions=(
            "Do no part of the work yourself. Give every part all the context that it needs, its exact limits, and "
            "what to report when it is done. Use the reports to decide what comes next, and tell the person why. At "
            "the end, sum up what was achieved and what is left."
        ),
    ),
)

BUILT_IN_MODES: Final[Mapping[str, BuiltInMode]] = MappingProxyType({mode.slug: mode for mode in _BUILT_IN})


def validate_config(config: object) -> dict[str, Any]:
    """Check a mode's config and bring it into its normal form: trimmed, without blank or null optional texts.

    Raises:
        ValidationError: with the messages by field; every field is looked at.
    """
    if not isinstance(config, dict):
        raise ValidationError({"config": ["It must be an object."]})
    errors: dict[str, list[str]] = {}
    normal: dict[str, Any] = {}
    for key, longest in TEXTS.items():
        text, problem = _checked_text(config.get(key), longest)
        if not problem and not text and key == REQUIRED:
            problem = "This field is required."
        if problem:
            errors[key] = [problem]
        elif text:
            normal[key] = text
    groups, problems = _checked_groups(config.get("groups"))
    normal["groups"] = groups
    if problems:
        errors["groups"] = problems
    unknown = sorted(str(key)[:40] for key in config if key not in {*TEXTS, "groups"})
    if unknown:
        errors["config"] = [f"Unknown fields: {', '.join(unknown[:10])}."]
    if errors:
        raise ValidationError(errors)
    return normal


def _checked_text(value: object, longest: int) -> tuple[str, str]:
    """The text, and what is wrong with it."""
    if value is None:
        return "", ""
    if not isinstance(value, str):
        return "", "It must be text."
    text = value.strip()
    if _UNSTORABLE.search(text):
        return "", "It has characters that cannot be stored."
    if len(text) > longest:
        return "", f"It may have at most {longest} characters, not {len(text)}."
    return text, ""


def _checked_groups(value: object) -> tuple[list[Group], list[str]]:
    if value is None:
        return [], []
    if not isinstance(value, list):
        return [], ["It must be a list."]
    groups: list[Group] = []
    problems: list[str] = []
    names: set[str] = set()
    for entry in value[: len(GROUPS) + 1]:
        group, problem = _checked_group(entry)
        name = group if isinstance(group, str) else group[0]
        if not problem and name in names:
            problem = f'"{name}" is there twice.'
        names.add(name)
        if problem:
            problems.append(problem)
        else:
            groups.append(group)
    if len(value) > len(GROUPS) and not problems:
        problems.append(f"There are at most {len(GROUPS)} groups.")
    return groups, problems


def _checked_group(entry: object) -> tuple[Group, str]:
    if isinstance(entry, str):
        return entry, "" if entry in GROUPS else f'"{entry[:40]}" is not a group; there are: {", ".join(GROUPS)}.'
    if not isinstance(entry, list) or len(entry) != 2 or entry[0] != LIMITABLE or not isinstance(entry[1], dict):
        return "", 'A group is a name, or the pair ["edit", {"fileRegex": ..., "description": ...}].'
    limit = entry[1]
    if not set(limit) <= set(LIMIT_KEYS):
        return "", f"The limit of edit has only {' and '.join(LIMIT_KEYS)}."
    file_regex, problem = _checked_text(limit.get("fileRegex"), LONGEST_FILE_REGEX)
    problem = problem or file_regex_problem(file_regex)
    problem = f"fileRegex: {problem}" if problem else ""
    if problem:
        return "", problem
    description, problem = _checked_text(limit.get("description"), LONGEST_LIMIT_DESCRIPTION)
    if problem:
        return "", f"description: {problem}"
    kept = {"fileRegex": file_regex, "description": description} if description else {"fileRegex": file_regex}
    return [LIMITABLE, kept], ""


def readable_config(stored: object) -> dict[str, Any]:
    """A stored config with nothing in it that clients choke on; they drop all modes for one malformed field of one.

    Configs are validated when they are written, so this changes nothing but what was written by another way.
    """
    if not isinstance(stored, dict):
        return {}
    readable = {key: value for key, value in stored.items() if key != "groups" and value is not None}
    readable = {key: value for key, value in readable.items() if key not in TEXTS or isinstance(value, str)}
    groups = stored.get("groups")
    if isinstance(groups, list):
        readable["groups"] = [group for group in groups if _is_readable(group)]
    return readable


def _is_readable(group: object) -> bool:
    if isinstance(group, str):
        return True
    if not isinstance(group, list) or len(group) != 2:
        return False
    name, limit = group
    return (
        isinstance(name, str)
        and isinstance(limit, dict)
        and all(isinstance(limit.get(key, ""), str) for key in LIMIT_KEYS)
    )
