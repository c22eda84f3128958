"""The transaction around resolution, and the memory of what it decided.

Every request is decided by a resolution that ran under the lock of the organization's row. The decision is remembered
together with the stamp it was made at (routing version, catalog snapshot, tier version) and used again only for a
request whose own authentication query has read the same stamp: so a request that starts after a commit sees that
commit, and the steady state takes no lock.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.db import transaction

from byok.providers import PROVIDERS, Provider
from byok.selectors import StoredCredential, enabled_credentials, personal_credentials
from kilo_gateway import metrics
from kilo_gateway.api_kinds import ApiKind
from organizations.models import Organization
from routing.catalog.index import current_index
from routing.catalog.tiers import tier_table
from routing.direct import direct_providers, without_secrets
from routing.domain.resolve import Asked, Decision, resolve
from routing.domain.settings import MalformedSettings, RoutingSettings, parse_settings
from routing.domain.targets import Owner
from routing.domain.types import Refusal, RefusalCode, World
from routing.proxy.connections import release_connection
from routing.proxy.identity import Caller, Stamp

MAX_ORGANIZATIONS = 4096
# Modes are the client's free text: a client that invents them pays with resolutions of its own, not with our memory.
MAX_DECISIONS_PER_ORGANIZATION = 512


@dataclass(frozen=True, slots=True)
class Settled:
    """A decision with what is needed to act on it.

    The credential, and the headers of a provider, stay encrypted here and are opened per request.
    """

    decision: Decision
    stamp: Stamp
    provider: Provider | None = None
    credential: StoredCredential | None = None
    data_collection: str | None = None


Key = tuple[str, str, str, ApiKind | None]


@dataclass(slots=True)
class _Memory:
    """The decisions of one organization. Each carries its stamp, so one that was overtaken is never used again."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    decisions: dict[Key, Settled] = field(default_factory=dict)

    def recall(self, key: Key, stamp: Stamp) -> Settled | None:
        settled = self.decisions.get(key)
        return settled if settled is not None and settled.stamp == stamp else None

    def remember(self, key: Key, settled: Settled) -> None:
        if len(self.decisions) >= MAX_DECISIONS_PER_ORGANIZATION:
            self.decisions = {}
        self.decisions[key] = settled


_memories: dict[UUID, _Memory] = {}
_memories_lock = threading.Lock()


def world_at(stamp: Stamp) -> World:
    """What the installation offers everybody at a stamp; no query while the process already holds it."""
    return World(
        catalog=current_index(stamp.catalog_snapshot_id).models,
        direct_providers=PROVIDERS,
        tiers=tier_table(stamp.tier_version),
    )


def settle(caller: Caller, asked: Asked, api_kind: ApiKind) -> Settled:
    """The decision for this request: remembered, or resolved now under the lock of the organization's row.

    No query in the steady state. Of many requests that find nothing remembered, one resolves and the others wait.
    """
    if caller.organization_id is None:
        return _settle_for_person(caller, asked, api_kind)
    memory = _memories.get(caller.organization_id) or _memory_of(caller.organization_id)
    key = _key(asked, api_kind)
    if (settled := memory.recall(key, caller.stamp)) is not None:
        return settled
    with memory.lock:
        if (settled := memory.recall(key, caller.stamp)) is not None:
            return settled
        try:
            settled = resolve_locked(caller.organization_id, caller.stamp, asked, api_kind)
        finally:
            # The upstream's answer can last for minutes; the connection is wanted elsewhere in the meantime.
            release_connection()
        memory.remember(key, settled)
        metrics.count(metrics.Event.LOCKED_RESOLUTIONS)
        return settled


def remembered(caller: Caller, asked: Asked, api_kind: ApiKind) -> Settled | None:
    """The decision that `settle` would return without a query or a lock; None where it would have to do more."""
    memory = _memories.get(caller.organization_id) if caller.organization_id is not None else None
    return None if memory is None else memory.recall(_key(asked, api_kind), caller.stamp)


def _key(asked: Asked, api_kind: ApiKind) -> Key:
    return asked.written or asked.model, asked.mode, asked.mode_source, api_kind


def _settle_for_person(caller: Caller, asked: Asked, api_kind: ApiKind) -> Settled:
    """The decision for a person who acts for no organization; one query for a model of a direct provider.

    Nothing tells when his own keys change, so nothing is remembered.
    """
    world = world_at(caller.stamp)
    provider = PROVIDERS.get(asked.model.partition("/")[0])
    if provider is None:
        return Settled(resolve(asked, None, world, api_kind=api_kind), caller.stamp)
    try:
        credentials = personal_credentials(caller.user_id)
    finally:
        release_connection()
    owner = Owner("", RoutingSettings(), without_secrets(credentials, PROVIDERS))
    decision = resolve(asked, owner, world, api_kind=api_kind)
    return Settled(decision, caller.stamp, provider, credentials.get(provider.id))


def _memory_of(organization_id: UUID) -> _Memory:
    with _memories_lock:
        if len(_memories) >= MAX_ORGANIZATIONS:
            _memories.pop(next(iter(_memories)))
        return _memories.setdefault(organization_id, _Memory())


def forget_everything() -> None:
    """Drop all remembered decisions; for tests that change rows behind the services' backs."""
    with _memories_lock:
        _memories.clear()


def resolve_locked(organization_id: UUID, stamp: Stamp, asked: Asked, api_kind: ApiKind | None) -> Settled:
    """Resolve one request against the organization's locked row and what is read in the same transaction.

    Three queries (four when the organization has providers of its own), one row lock. The lock is the weaker `FOR NO
    KEY UPDATE`: it excludes every writer of routing, and does not stop inserts of rows that merely refer to the
    organization.

    Args:
        stamp: The catalog snapshot and tier version that this request has read; the routing version comes from the
            locked row and may be newer.
    """
    world = world_at(stamp)
    with transaction.atomic():
        organization = (
            Organization.objects.select_for_update(no_key=True)
            .only("plan", "settings", "routing_version")
            .get(pk=organization_id)
        )
        credentials = enabled_credentials(organization_id)
        providers = direct_providers(organization)
    settled_at = Stamp(organization.routing_version, stamp.catalog_snapshot_id, stamp.tier_version)
    return settle_for(
        organization.plan,
        organization.settings,
        credentials,
        world,
        asked,
        providers=providers,
        api_kind=api_kind,
        stamp=settled_at,
    )


def settle_for(
    plan: str,
    settings: Mapping[str, Any],
    credentials: Mapping[str, StoredCredential],
    world: World,
    asked: Asked,
    *,
    providers: Mapping[str, Provider],
    api_kind: ApiKind | None,
    stamp: Stamp,
) -> Settled:
    """Resolve against settings given by value: the stored ones, or a draft that is to be explained. No query.

    Args:
        providers: The direct providers of this organization, which take the place of those that all have.
    """
    try:
        parsed = parse_settings(settings)
    except MalformedSettings as error:
        refusal = Refusal(
            RefusalCode.MALFORMED_SETTINGS, f"The organization's routing settings are malformed: {error}."
        )
        return Settled(Decision(asked, None, None, refusal, ()), stamp)
    owner = Owner(plan, parsed, without_secrets(credentials, providers))
    decision = resolve(asked, owner, replace(world, direct_providers=providers), api_kind=api_kind)
    provider_id = decision.target.provider_id if decision.target else ""
    provider = providers.get(provider_id)
    return Settled(decision, stamp, provider, credentials.get(provider_id), parsed.data_collection)
