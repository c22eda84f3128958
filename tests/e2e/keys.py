"""Organizations that differ in the key which they have for one provider, and in nothing else."""

from __future__ import annotations

from typing import Any

from tests.support.tenants import auto_settings

# It speaks all three request formats, and the installation has a key of its own for the same service.
PROVIDER = "openrouter-byok"
SECRET = "sk-or-the-organization-s-own-5678"
MODEL = f"{PROVIDER}/maker/model"
SETTINGS = auto_settings({"code": MODEL}, MODEL)

_KEY: dict[str, Any] = {"secret": SECRET}
# The key in the description decides; `tests.e2e.test_keys` says what each comes to.
KEY_TENANTS: dict[str, dict[str, Any]] = {
    "key enabled": {"credentials": {PROVIDER: _KEY}},
    "key missing": {},
    "key disabled": {"credentials": {PROVIDER: {**_KEY, "is_enabled": False}}},
    "key undecryptable": {"credentials": {PROVIDER: _KEY}},
    "key of another provider": {"credentials": {"vercel-ai-gateway": _KEY}},
    "key of its person": {"personal_credentials": {PROVIDER: _KEY}},
}
for description in KEY_TENANTS.values():
    description["settings"] = SETTINGS
    description["key"] = {"scopes": ["inference", "management"]}
