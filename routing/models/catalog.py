"""What the installation as a whole knows: the catalog and the meaning of the auto tiers."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from kilo_gateway.api_kinds import ApiKind
from routing.domain.types import Tier


class CatalogSnapshot(models.Model):
    """The catalog as it was read once; never changed. `Installation` names the one in force."""

    class Origin(models.TextChoices):
        BUNDLED = "bundled", "Bundled with the installation"
        SYNCED = "synced", "Read from the hosted upstream"

    origin = models.CharField(max_length=10, choices=Origin)
    source = models.CharField(max_length=200, help_text="Where it was read from.")
    entries = models.JSONField(
        help_text="A list in the shape of OpenRouter's model list; each with the endpoints that serve the model."
    )
    providers = models.JSONField(default=list, help_text="A list in the shape of OpenRouter's provider list.")
    model_count = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(model_count__gt=0), name="catalog_snapshot_not_empty"),
        ]

    def __str__(self) -> str:
        return f"{self.model_count} models from {self.source}"


class Installation(models.Model):
    """The one row of installation-wide state that every request reads along with its key.

    A decision is remembered for the organization's routing version, this snapshot and this tier version together.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1, editable=False)
    catalog_snapshot = models.ForeignKey(CatalogSnapshot, on_delete=models.PROTECT, related_name="+")
    tier_version = models.PositiveBigIntegerField(default=1)
    catalog_checked_at = models.DateTimeField(null=True, help_text="When a sync last found the catalog good.")
    catalog_error = models.TextField(blank=True, help_text="Why the last sync left the snapshot as it was.")
    usage_pruned_before = models.DateField(null=True, help_text="Of earlier days only the roll-ups of usage are left.")

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(condition=Q(id=1), name="installation_single_row")]

    def __str__(self) -> str:
        return "Installation"


class BrokenRoute(models.Model):
    """A route, or with a blank slug the fallback, that was found broken and reported; gone when it is mended."""

    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="broken_routes"
    )
    slug = models.CharField(max_length=50, blank=True)
    target = models.CharField(max_length=200)
    found_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "slug", "target"], name="broken_route_unique")
        ]

    def __str__(self) -> str:
        return f"{self.slug or 'fallback'} -> {self.target}"


class AutoTierRule(models.Model):
    """What an auto tier means for a mode and an API kind. Blank means any; the most specific rule wins."""

    TIERS: ClassVar = [(tier.value, tier.value) for tier in Tier]
    API_KINDS: ClassVar = [(kind.value, kind.value) for kind in ApiKind]

    tier = models.CharField(max_length=20, choices=TIERS)
    mode = models.CharField(max_length=50, blank=True)
    api_kind = models.CharField(max_length=20, choices=API_KINDS, blank=True)
    model_ids = ArrayField(
        models.CharField(max_length=200), help_text="One model id; for the tier `free`, all that may be chosen."
    )
    free_model_ids = ArrayField(
        models.CharField(max_length=200),
        default=list,
        blank=True,
        help_text="Used instead when the organization has no hosted balance.",
    )
    reasoning_effort = models.CharField(max_length=10, blank=True)
    verbosity = models.CharField(max_length=10, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["tier", "mode", "api_kind"], name="auto_tier_rule_unique"),
            models.CheckConstraint(condition=Q(tier__in=[t.value for t in Tier]), name="auto_tier_rule_tier_known"),
            models.CheckConstraint(
                condition=Q(api_kind__in=["", *(k.value for k in ApiKind)]), name="auto_tier_rule_api_kind_known"
            ),
            models.CheckConstraint(condition=~Q(model_ids=[]), name="auto_tier_rule_models_present"),
        ]

    def __str__(self) -> str:
        return f"{self.tier} / {self.mode or 'any mode'} / {self.api_kind or 'any API'}"
