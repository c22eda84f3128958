"""The environment of the tests, set before Django reads its settings: loaded as a pytest plugin.

Tests run on a real PostgreSQL: the one of `DATABASE_URL`, or an embedded one of their own below `.data/tests`.
"""

from __future__ import annotations

import os
from pathlib import Path

from kilo_gateway.database import lift_statement_timeout, provide_database

ROOT = Path(__file__).resolve().parents[2]

# What the developer's shell says about an installation must not reach the tests.
for name in (
    "OPENROUTER_API_KEY",
    "OPENROUTER_BASE_URL",
    "VERCEL_AI_GATEWAY_API_KEY",
    "SECRET_KEY",
    "CREDENTIAL_KEYS",
    "POSTHOG_API_KEY",
    "POSTHOG_PERSONAL_API_KEY",
    "POSTHOG_HOST",
    "ORGANIZATION_AUTO_ROLLOUT",
    "RATE_LIMIT_PER_KEY",
    "EMAIL_URL",
    "OIDC_ISSUER",
    "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET",
    "CACHE_URL",
    "ALLOW_PRIVATE_UPSTREAMS",
    "HOSTED_WITHOUT_ORGANIZATION",
):
    os.environ.pop(name, None)
    os.environ.pop(f"{name}_FILE", None)
os.environ.update(
    DEBUG="1",
    DATA_DIR=str(ROOT / ".data" / "tests"),
    LOG_FORMAT="console",
    CATALOG_SYNC="0",
)
# As in a command: what a test makes of rows may take its time.
lift_statement_timeout()
provide_database()
