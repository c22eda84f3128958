"""The described API against the real application: whatever is sent, no failure of ours and no undescribed answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings

from kilo_gateway.wsgi import application
from organizations.models import Scope, User
from tests.factories import ApiKeyFactory, CredentialFactory, CustomModeFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, Team
from tests.routing.management.test_history import keep

EXAMPLES = 8
# What a schema cannot say: whether a model exists, a slug is free, a version is the current one.
ANSWERS_TO_WELL_FORMED = ["2xx", "400", "401", "403", "404", "409", "410", "412"]
MODELS = (CLAUDE, GPT, "kilo-auto/free", "neuralwatt/demo-model")
CONFIG = schemathesis.Config.from_dict(
    {
        "checks": {"positive_data_acceptance": {"expected-statuses": ANSWERS_TO_WELL_FORMED}},
        "generation": {"max-examples": EXAMPLES},
    }
)
# Left out: the proxy, which has tests with an upstream, the other addresses of the same, and the export, which streams
# from a connection of its own and so does not see what the test has not committed.
API = schemathesis.openapi.from_wsgi("/api/schema/", application, config=CONFIG).exclude(
    path_regex=r"^/api/(openrouter/|gateway/(?!v1/)|gateway/v1/(chat|messages|responses))|/audit-logs/export$"
)


@pytest.fixture(autouse=True)
def _one_transaction() -> Iterator[None]:
    """A request that ends leaves the test's connection alone, as with Django's own test client."""
    signals = (request_started, request_finished)
    for signal in signals:
        signal.disconnect(close_old_connections)
    yield
    for signal in signals:
        signal.connect(close_old_connections)


@pytest.fixture
def ids(team: Team) -> dict[str, str]:
    """Of things that exist."""
    team.configure(**organization_auto({"code": CLAUDE, "docs": GPT}))
    CredentialFactory.create(organization=team.organization)
    mode = CustomModeFactory.create(organization=team.organization, slug="docs")
    keep(team.organization, 1, team.settings)
    return {"organization_id": str(team.organization.pk), "mode_id": str(mode.pk), "version": "1"}


@pytest.fixture
def send(team: Team, ids: dict[str, str]) -> Callable[[Any, User], None]:
    """Send a case as this person, about what exists where the case names anything well-formed."""
    keys = {
        person.pk: ApiKeyFactory.create(user=person, scopes=[Scope.MANAGEMENT.value, Scope.INFERENCE.value]).plaintext
        for person in (team.alice, team.bob)
    }

    def sending(case: Any, person: User) -> None:
        for name, value in (case.path_parameters or {}).items():
            if name in ids and re.fullmatch(r"[0-9a-f-]{36}|[0-9]{1,18}", str(value)):
                case.path_parameters[name] = ids[name]
        if case.meta.generation.mode.is_positive:
            name_what_exists(case)
        case.call_and_validate(headers={"Authorization": f"Bearer {keys[person.pk]}", "Accept-Encoding": "identity"})

    return sending


def name_what_exists(case: Any) -> None:
    """Models of the catalog and the current version, so that well-formed cases reach what they are about."""
    for name in [name for name in case.headers or {} if name.lower() == "if-match"]:
        del case.headers[name]
    if not isinstance(case.body, dict):
        return
    for field in ("model", "fallback_model", "specific_model", "route_model"):
        if isinstance(case.body.get(field), str):
            case.body[field] = MODELS[len(case.body[field]) % len(MODELS)]


HYPOTHESIS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@API.parametrize()
@HYPOTHESIS
def test_owner(case: Any, team: Team, send: Callable[[Any, User], None]) -> None:
    send(case, team.alice)


@API.parametrize()
@settings(HYPOTHESIS, phases=[Phase.generate])
def test_member(case: Any, team: Team, send: Callable[[Any, User], None]) -> None:
    send(case, team.bob)
