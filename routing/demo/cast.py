"""Who and what is in the demo, as data."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from organizations.models import Plan, Role


@dataclass(frozen=True, slots=True)
class DemoOrganization:
    """An organization of the demo. Its id is the same on every machine, so that documents can name it."""

    name: str
    plan: Plan

    @property
    def id(self) -> UUID:
        return uuid5(NAMESPACE_URL, f"https://example.com/kilo-gateway/demo/{self.name}")


@dataclass(frozen=True, slots=True)
class DemoPerson:
    """A person of the demo; without an organization he is of the staff of the installation."""

    email: str
    name: str
    role: Role | None = None
    organization: DemoOrganization | None = None


ACME: Final = DemoOrganization("Acme", Plan.ENTERPRISE)
GLOBEX: Final = DemoOrganization("Globex", Plan.TEAMS)
ORGANIZATIONS: Final = (ACME, GLOBEX)

# The first of an organization is its first owner.
PEOPLE: Final = (
    DemoPerson("alice@example.com", "Alice Anders", Role.OWNER, ACME),
    DemoPerson("dave@example.com", "Dave Dale", Role.ADMIN, ACME),
    DemoPerson("carol@example.com", "Carol Castillo", Role.BILLING_MANAGER, ACME),
    DemoPerson("bob@example.com", "Bob Berg", Role.MEMBER, ACME),
    DemoPerson("mallory@example.com", "Mallory Moss", Role.OWNER, GLOBEX),
)
STAFF: Final = DemoPerson("staff@example.com", "Sam Staff")

FALLBACK: Final = "kilo-auto/balanced"
ROUTES: Final = MappingProxyType(
    {
        "code": "anthropic/claude-sonnet-5",
        "architect": "anthropic/claude-opus-5",
        "ask": "openai/gpt-5-mini",
        "debug": "openai/gpt-5.4",
        "docs-writer": "moonshotai/kimi-k3",
        "local-docs": "neuralwatt/demo-model",
    }
)

# A direct provider, which the demo points at its own upstream.
DEMO_PROVIDER: Final = "neuralwatt"
OFFERED_MODELS: Final = ("demo-model", "Kimi-K2.6")


@dataclass(frozen=True, slots=True)
class DemoMode:
    """A custom mode of the demo."""

    slug: str
    name: str
    config: dict[str, Any]


MODES: Final = (
    DemoMode(
        "docs-writer",
        "Docs Writer",
        {
            "roleDefinition": (
                "You are a technical writer. You explain software to the people who use it, in short sentences and "
                "with examples that work."
            ),
            "whenToUse": "For READMEs, guides, reference pages and release notes.",
            "description": "Write and improve documentation",
            "customInstructions": (
                "Read the code before you describe it. Follow the structure of the pages that exist. Change nothing "
                "but documentation."
            ),
            "groups": ["read", ["edit", {"fileRegex": r"\.(md|mdx|rst)$", "description": "Documentation"}], "browser"],
        },
    ),
    DemoMode(
        "security-review",
        "Security Review",
        {
            "roleDefinition": (
                "You are a security engineer who reviews changes for what an attacker could do with them."
            ),
            "whenToUse": "Before a change that touches authentication, input, secrets or permissions is merged.",
            "description": "Look for vulnerabilities",
            "customInstructions": (
                "For each finding say where it is, how it can be exploited, how bad that is and how to mend it. Do not "
                "change files."
            ),
            "groups": ["read", "command"],
        },
    ),
)
