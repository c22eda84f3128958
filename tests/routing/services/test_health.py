"""Route health: what breaks later is found, told once, and forgotten when it is mended."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from byok.models import Credential
from organizations.models import AuditLog, Organization
from routing.catalog.tiers import forget_tier_table
from routing.domain.types import Tier
from routing.models import AutoTierRule, BrokenRoute
from routing.services.health import route_health, routes_check
from tests.support.tenants import Tenant, auto_settings, make_tenant

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant(db: None) -> Tenant:
    tenant = make_tenant(settings=auto_settings({"code": "neuralwatt/kimi", "ask": "openai/gpt-5-mini"}))
    tenant.store_credential("neuralwatt")
    return tenant


def told(tenant: Tenant) -> list[str]:
    rows = AuditLog.objects.filter(organization=tenant.organization, action="organization_auto.route.broken")
    return list(rows.order_by("sequence").values_list("message", flat=True))


def test_all_is_well(tenant: Tenant) -> None:
    assert [(health.slug, health.status) for health in route_health(tenant.organization)] == [
        ("ask", "ok"),
        ("code", "ok"),
        ("", "ok"),
    ]
    assert routes_check() == []


def test_a_route_that_breaks_is_told_once(tenant: Tenant) -> None:
    Credential.objects.update(is_enabled=False)
    assert [health.slug for _, health in routes_check()] == ["code"]
    assert [health.slug for _, health in routes_check()] == ["code"]
    (message,) = told(tenant)
    assert message.startswith('Organization Auto route for "code" ("neuralwatt/kimi") broke: ')
    row = AuditLog.objects.get(message=message)
    assert (row.via, row.actor_id, row.target_kind, row.target_id) == ("system", None, "route", "code")


def test_a_route_that_is_mended_and_breaks_again_is_told_again(tenant: Tenant) -> None:
    for enabled in (False, True, False):
        Credential.objects.update(is_enabled=enabled)
        routes_check()
    assert len(told(tenant)) == 2


def test_a_broken_fallback_is_told_by_its_name(tenant: Tenant) -> None:
    tenant.change(**auto_settings({}, "nobody/nothing"))
    routes_check()
    (message,) = told(tenant)
    assert message.startswith('Organization Auto fallback ("nobody/nothing") broke: ')


def test_organizations_without_organization_auto_are_left_alone(tenant: Tenant) -> None:
    tenant.change(default_model=None)
    Credential.objects.update(is_enabled=False)
    assert routes_check() == []
    assert not BrokenRoute.objects.exists()


def test_settings_that_cannot_be_read_are_broken(tenant: Tenant) -> None:
    tenant.change(provider_allow_list="all of them")
    assert [health.code for _, health in routes_check()] == ["malformed_settings"]


def test_a_plan_that_ended_is_dormant_and_not_broken(tenant: Tenant) -> None:
    Credential.objects.update(is_enabled=False)
    Organization.objects.update(plan="teams")
    assert routes_check() == []


def test_the_command_names_what_is_broken(tenant: Tenant) -> None:
    call_command("check_routes", stdout=StringIO())
    Credential.objects.update(is_enabled=False)
    out = StringIO()
    with pytest.raises(CommandError, match="1 broken"):
        call_command("check_routes", stdout=out)
    assert 'route for "code"' in out.getvalue()


@pytest.mark.parametrize(
    "spoiled", [{"key_id": "gone"}, {"ciphertext": b""}, {"ciphertext": b"x" * 60}], ids=["key", "cut off", "changed"]
)
def test_a_credential_that_cannot_be_opened_breaks_its_routes(tenant: Tenant, spoiled: dict[str, object]) -> None:
    """No request could be served with it, whatever its test said and when."""
    Credential.objects.update(**spoiled)
    found = {health.slug: health.code for health in route_health(tenant.organization)}
    assert found == {"code": "credential_unusable", "ask": "", "": ""}
    routes_check()
    (message,) = told(tenant)
    assert message.endswith("The stored credential for Neuralwatt cannot be used; store its key again.")


def test_a_tier_is_looked_at_in_every_api(tenant: Tenant) -> None:
    tenant.change(**auto_settings({}, "kilo-auto/small"))
    AutoTierRule.objects.filter(tier=Tier.SMALL).delete()
    AutoTierRule.objects.create(tier=Tier.SMALL, model_ids=["openai/gpt-5-mini"])
    rule = AutoTierRule.objects.create(tier=Tier.SMALL, api_kind="messages", model_ids=["nobody/nothing"])
    forget_tier_table()
    try:
        (health,) = route_health(tenant.organization)
        assert (health.code, "nobody/nothing" in health.reason) == ("model_unavailable", True)
        rule.delete()
        forget_tier_table()
        assert [health.status for health in route_health(tenant.organization)] == ["ok"]
    finally:
        forget_tier_table()
