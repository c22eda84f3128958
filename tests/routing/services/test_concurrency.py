"""Many writers on one organization: whatever happens, it could have happened one after the other."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from unittest import mock
from uuid import UUID, uuid5

import pytest
from django.db import connections, transaction
from django.http import Http404

from byok.models import Credential
from byok.selectors import enabled_credentials
from kilo_gateway.api_errors import GatewayError
from organizations.audit import Actor, verify_chain
from organizations.models import AuditLog, Organization, SettingsVersion, Via
from organizations.modes.models import CustomMode
from organizations.services import lock_organization
from routing.models import CatalogSnapshot, Installation
from routing.services import frame
from routing.services.frame import Acting
from routing.services.model_policy import model_policy_set
from routing.services.modes import ModeEdit, mode_create, mode_delete, mode_update
from routing.services.organization_auto import (
    default_model_set_auto,
    default_model_set_global,
    default_model_set_specific,
    fallback_set,
    route_clear,
    route_set,
)
from tests.support.tenants import Tenant, auto_settings, make_tenant

WRITERS = 64
EACH = 6
MODELS = ["anthropic/claude-opus-5", "openai/gpt-5.4", "openai/gpt-5-mini", "moonshotai/kimi-k3", "kilo-auto/small"]
SLUGS = ["code", "ask", "docs", "docs-team", "review"]
FIRST_MODES = ["docs", "docs-team", "review"]
CONFIG = {"roleDefinition": "You review.", "groups": ["read"]}

Operation = Callable[[UUID, Acting], object]


def operations(chance: random.Random) -> Operation:
    """One random write; it means the same in another organization that has the same first modes."""
    slug, other, model = chance.choice(SLUGS), chance.choice(SLUGS), chance.choice(MODELS)
    number = chance.randrange(len(FIRST_MODES))
    denied = chance.sample(MODELS[:4], chance.randint(0, 1))
    name = f"Mode {chance.randint(1, 3)}"

    def rename(organization: UUID, acting: Acting) -> object:
        edit = ModeEdit(slug=other, name=name)
        return mode_update(
            organization_id=organization, mode_id=mode_id(organization, number), acting=acting, edit=edit
        )

    def delete(organization: UUID, acting: Acting) -> object:
        return mode_delete(organization_id=organization, mode_id=mode_id(organization, number), acting=acting)

    def create(organization: UUID, acting: Acting) -> object:
        fields: dict[str, Any] = {"name": name, "slug": slug, "config": CONFIG, "route_model": model}
        return mode_create(organization_id=organization, acting=acting, **fields)

    choices: list[Operation] = [
        lambda o, a: route_set(organization_id=o, acting=a, slug=slug, target=model),
        lambda o, a: route_clear(organization_id=o, acting=a, slug=slug),
        lambda o, a: fallback_set(organization_id=o, acting=a, target=model),
        lambda o, a: model_policy_set(organization_id=o, acting=a, provider_allow_list=None, model_deny_list=denied),
        lambda o, a: default_model_set_auto(organization_id=o, acting=a),
        lambda o, a: default_model_set_specific(organization_id=o, acting=a, specific_model=model),
        lambda o, a: default_model_set_global(organization_id=o, acting=a),
        create,
        rename,
        delete,
    ]
    return chance.choice(choices)


def mode_id(organization: UUID, number: int) -> UUID:
    """The id of one of the first modes, which it keeps when it is renamed."""
    return uuid5(organization, FIRST_MODES[number])


def acting_as(name: str) -> Acting:
    return Acting(Actor(via=Via.API, email=name))


def attempt(operation: Operation, organization: UUID, acting: Acting) -> None:
    with suppress(GatewayError, Http404):
        operation(organization, acting)


def tenant_with_modes() -> Tenant:
    made = make_tenant(settings=auto_settings({}, "openai/gpt-5.4"))
    for slug in FIRST_MODES:
        CustomMode.objects.create(
            pk=uuid5(made.organization.pk, slug), organization=made.organization, name=slug, slug=slug, config=CONFIG
        )
    return made


@pytest.fixture
def tenant(committed_db: None) -> Tenant:
    return tenant_with_modes()


def state(organization: UUID) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    modes = CustomMode.objects.filter(organization=organization).order_by("slug")
    return Organization.objects.get(pk=organization).settings, [(mode.slug, mode.name) for mode in modes]


class TestManyWriters:
    def test_the_end_is_one_that_a_serial_order_gives(self, tenant: Tenant) -> None:
        organization = tenant.organization.pk
        started_at = tenant.organization.routing_version
        plan = {
            f"writer-{writer}-{number}@example.com": operations(random.Random(writer * 1000 + number))
            for writer in range(WRITERS)
            for number in range(EACH)
        }
        gate = threading.Barrier(WRITERS)

        def write(writer: int) -> None:
            gate.wait()
            for number in range(EACH):
                name = f"writer-{writer}-{number}@example.com"
                attempt(plan[name], organization, acting_as(name))
            connections.close_all()

        with ThreadPoolExecutor(WRITERS) as threads:
            list(threads.map(write, range(WRITERS)))

        self.check_records(organization, started_at)
        self.check_serial(organization, plan)

    @staticmethod
    def check_records(organization: UUID, started_at: int) -> None:
        _, broken = verify_chain(organization)
        assert broken is None
        versions = list(SettingsVersion.objects.filter(organization=organization).order_by("routing_version"))
        ended_at = Organization.objects.get(pk=organization).routing_version
        assert [version.routing_version for version in versions] == list(range(started_at + 1, ended_at + 1))
        assert len(versions) > 20
        assert versions[-1].settings == Organization.objects.get(pk=organization).settings

    @staticmethod
    def check_serial(organization: UUID, plan: dict[str, Operation]) -> None:
        """Do again what was done, one after the other in the order of the audit log, on another organization."""
        done = AuditLog.objects.filter(organization=organization, actor_email__in=plan).order_by("sequence")
        names = list(dict.fromkeys(done.values_list("actor_email", flat=True)))
        again = tenant_with_modes().organization.pk
        for name in names:
            plan[name](again, acting_as(name))
        assert state(again) == state(organization)


class Waiting:
    """A service call in a thread of its own that waits for the organization's lock, which this transaction holds."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.error: GatewayError | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._call()
        except GatewayError as error:
            self.error = error
        finally:
            connections.close_all()

    def start_and_block(self) -> None:
        self._thread.start()
        self._thread.join(0.5)
        assert self._thread.is_alive(), "it should wait for the lock"

    def finish(self) -> GatewayError | None:
        self._thread.join(10)
        assert not self._thread.is_alive()
        return self.error


class TestWhatIsReadUnderTheLock:
    """What changes while a writer waits for the lock is seen by it."""

    @pytest.fixture
    def waiting(self, tenant: Tenant) -> Waiting:
        tenant.store_credential("neuralwatt")
        return Waiting(
            lambda: route_set(
                organization_id=tenant.organization.pk,
                acting=acting_as("x@example.com"),
                slug="code",
                target="neuralwatt/m",
            )
        )

    def disable_while_waiting(self, tenant: Tenant, waiting: Waiting) -> GatewayError | None:
        with transaction.atomic():
            lock_organization(tenant.organization.pk)
            waiting.start_and_block()
            Credential.objects.filter(organization=tenant.organization).update(is_enabled=False)
        return waiting.finish()

    def test_a_credential_that_is_disabled_meanwhile_refuses_the_route(self, tenant: Tenant, waiting: Waiting) -> None:
        error = self.disable_while_waiting(tenant, waiting)
        assert error is not None
        assert error.code == "no_enabled_credential"
        assert "code" not in state(tenant.organization.pk)[0]["org_auto_model"]["routes"]

    def test_read_outside_of_the_transaction_it_would_be_accepted(self, tenant: Tenant, waiting: Waiting) -> None:
        """The defect that the test above guards against: credentials read before the lock was there."""
        read_before = enabled_credentials(tenant.organization.pk)
        with mock.patch.object(frame, "enabled_credentials", return_value=read_before):
            assert self.disable_while_waiting(tenant, waiting) is None
        assert state(tenant.organization.pk)[0]["org_auto_model"]["routes"]["code"] == "neuralwatt/m"

    def test_a_catalog_that_is_replaced_meanwhile_refuses_the_route(self, tenant: Tenant) -> None:
        bundled = Installation.objects.get().catalog_snapshot
        waiting = Waiting(
            lambda: route_set(
                organization_id=tenant.organization.pk,
                acting=acting_as("x@example.com"),
                slug="code",
                target="anthropic/claude-opus-5",
            )
        )
        try:
            with transaction.atomic():
                lock_organization(tenant.organization.pk)
                waiting.start_and_block()
                left = [entry for entry in bundled.entries if entry["id"] != "anthropic/claude-opus-5"]
                smaller = CatalogSnapshot.objects.create(
                    origin=bundled.origin, source="test", entries=left, providers=[], model_count=len(left)
                )
                Installation.objects.update(catalog_snapshot=smaller)
            error = waiting.finish()
        finally:
            Installation.objects.update(catalog_snapshot=bundled)
            CatalogSnapshot.objects.exclude(pk=bundled.pk).delete()
        assert error is not None
        assert error.code == "model_unavailable"
