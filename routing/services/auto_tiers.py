"""Changing what the auto tiers mean.

Each change is one transaction, is audited, and raises the tier version, so that no decision made before is used again;
and the routing version of every organization whose settings lead to the tier. Lock order: the installation's row, then
those of organizations by their ids. Nobody locks the installation while he holds an organization.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F, Q, TextField
from django.db.models.functions import Cast
from django.utils import timezone

from organizations import audit
from organizations.models import AuditAction, Organization
from routing.catalog.index import current_index
from routing.domain.types import AUTO_PREFIX, INTERNAL_PREFIX, CatalogModel, Tier
from routing.models import AutoTierRule, Installation

FIELDS = ("tier", "mode", "api_kind", "model_ids", "free_model_ids", "reasoning_effort", "verbosity")
MODEL_FIELDS = ("model_ids", "free_model_ids")


def auto_tier_rule_save(*, rule: AutoTierRule, actor: audit.Actor) -> AutoTierRule:
    """Store a new rule, or an old one that was edited. Nothing is written when nothing changes.

    Raises:
        ValidationError: by field, for a model that a tier cannot lead to, and for a second rule for the same case.
    """
    with transaction.atomic():
        installation = _locked()
        tidy(rule)
        problems = problems_of(rule, current_index(installation.catalog_snapshot_id).models)
        if problems:
            raise ValidationError(problems)
        rule.full_clean()
        stored = AutoTierRule.objects.filter(pk=rule.pk).first()
        before, after = _state(stored), _state(rule)
        if before == after:
            return rule
        rule.save()
        _changed(installation, rule, "changed" if stored else "created", actor=actor, before=before, after=after)
        return rule


def auto_tier_rule_delete(*, rule: AutoTierRule, actor: audit.Actor) -> None:
    """Remove a rule: its case falls to the next less specific one, or the tier means nothing there any more."""
    with transaction.atomic():
        installation = _locked()
        stored = AutoTierRule.objects.filter(pk=rule.pk).first()
        if stored is None:
            return
        pk = stored.pk
        before = _state(stored)
        stored.delete()
        stored.pk = pk
        _changed(installation, stored, "deleted", actor=actor, before=before, after={})


def tidy(rule: AutoTierRule) -> None:
    """Bring a rule into the form in which rules are stored: lower case, no blanks, no model twice."""
    rule.mode = rule.mode.strip().lower()
    for field in MODEL_FIELDS:
        ids = (model_id.strip().lower() for model_id in getattr(rule, field) or [])
        setattr(rule, field, list(dict.fromkeys(model_id for model_id in ids if model_id)))


def problems_of(rule: AutoTierRule, catalog: Mapping[str, CatalogModel]) -> dict[str, list[str]]:
    """What is wrong with the models of a tidy rule, by field."""
    problems = {
        field: [problem for model_id in getattr(rule, field) if (problem := _problem(model_id, catalog))]
        for field in MODEL_FIELDS
    }
    if rule.tier != Tier.FREE and len(rule.model_ids) > 1:
        problems["model_ids"].append("Only the tier free has several models: name one.")
    return {field: found for field, found in problems.items() if found}


def _problem(model_id: str, catalog: Mapping[str, CatalogModel]) -> str:
    if model_id.startswith(AUTO_PREFIX):
        return f'"{model_id}" is an auto model: a tier leads to a concrete one.'
    if model_id.startswith(INTERNAL_PREFIX):
        return f'"{model_id}" is an internal model.'
    return "" if model_id in catalog else f'"{model_id}" is not in the current catalog.'


def _locked() -> Installation:
    """The installation's row, locked: one change of the tiers, or of the catalog that they lead into, at a time."""
    return Installation.objects.select_for_update().get(pk=1)


def _state(rule: AutoTierRule | None) -> dict[str, Any]:
    return {field: getattr(rule, field) for field in FIELDS} if rule is not None else {}


def _changed(
    installation: Installation,
    rule: AutoTierRule,
    verb: str,
    *,
    actor: audit.Actor,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    installation.tier_version += 1
    installation.save(update_fields=["tier_version"])
    _raise_routing_versions({state["tier"] for state in (before, after) if state})
    changes = {
        field: (before.get(field), after.get(field)) for field in FIELDS if before.get(field) != after.get(field)
    }
    audit.record(
        AuditAction.AUTO_TIER_CHANGED,
        organization=None,
        actor=actor,
        message=f"Auto tier rule {rule} {verb}{_models(changes.get('model_ids'))}",
        changes=changes,
        target_kind="auto_tier_rule",
        target_id=str(rule.pk),
    )


def _raise_routing_versions(tiers: Iterable[str]) -> None:
    """A new routing version for every organization whose settings name one of the tiers, and so may lead to it.

    A request that names a tier itself is decided by the tier version, which is a part of every kept decision.
    """
    named = Q(*(("text__icontains", f'"{AUTO_PREFIX}{tier}"') for tier in tiers), _connector=Q.OR)
    concerned = Organization.objects.annotate(text=Cast("settings", TextField())).filter(named)
    locked = list(concerned.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    Organization.objects.filter(pk__in=locked).update(
        routing_version=F("routing_version") + 1, updated_at=timezone.now()
    )


def _models(change: tuple[Any, Any] | None) -> str:
    if change is None:
        return ""
    before, after = (", ".join(ids or []) for ids in change)
    if before and after:
        return f': from "{before}" to "{after}"'
    return f': "{after}"' if after else f' (was "{before}")'
