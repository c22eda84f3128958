"""Passwords and API keys of the demo, kept in a file.

The database knows only their hashes, and a second run of the seed must be able to show them again.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PASSWORD_BYTES = 10
FIELDS = ("password", "password_mark", "api_key", "management_key")


@dataclass(slots=True, repr=False)
class DemoCredentials:
    """What one person signs in with and what his clients present; a blank key is still to be made.

    `password_mark` tells whether the stored password is still this one, without the cost of checking it.
    """

    password: str = ""
    password_mark: str = ""
    api_key: str = ""
    management_key: str = ""


def read_credentials(path: Path) -> dict[str, DemoCredentials]:
    """The credentials by email address; none where the file is missing or is not what we wrote."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    people = stored.get("people") if isinstance(stored, dict) else None
    if not isinstance(people, dict):
        return {}
    return {str(email): DemoCredentials(**_texts(found)) for email, found in people.items() if isinstance(found, dict)}


def _texts(found: dict[str, Any]) -> dict[str, str]:
    return {key: found[key] for key in FIELDS if isinstance(found.get(key), str)}


def write_credentials(path: Path, people: dict[str, DemoCredentials]) -> None:
    """Replace the file at once, readable by this user only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"people": {email: asdict(person) for email, person in people.items()}}, file, indent=2)
    draft.replace(path)


def new_password() -> str:
    """A password without characters that a shell or a double click stumbles over."""
    return secrets.token_hex(PASSWORD_BYTES)
