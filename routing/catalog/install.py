"""What a new installation starts with: the bundled catalog and the default meaning of the auto tiers.

The models are arguments, so that migrations can pass them as they were at their time.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from routing.catalog.bundled import SOURCE, bundled_models
from routing.catalog.default_tiers import default_rules


def install_bundled_catalog(snapshots: Any, installations: Any) -> None:
    """Put the bundled catalog in force, unless the installation has a catalog already."""
    if installations.objects.filter(pk=1).exists():
        return
    entries = bundled_models()
    snapshot = snapshots.objects.create(origin="bundled", source=SOURCE, entries=entries, model_count=len(entries))
    installations.objects.create(pk=1, catalog_snapshot=snapshot)


def install_default_tiers(rules: Any) -> None:
    """Write the default rules, unless there are rules already."""
    if rules.objects.exists():
        return
    rules.objects.bulk_create(
        rules(
            **asdict(rule)
            | {"tier": rule.tier.value, "model_ids": [*rule.model_ids], "free_model_ids": [*rule.free_model_ids]}
        )
        for rule in default_rules(bundled_models())
    )
