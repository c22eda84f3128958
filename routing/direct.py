"""What resolution sees of direct providers and credentials."""

from __future__ import annotations

from collections.abc import Mapping

from byok.providers import PROVIDERS, Provider
from byok.selectors import StoredCredential
from organizations.models import Organization
from routing.domain.types import DirectCredential


def direct_providers(organization: Organization | None) -> Mapping[str, Provider]:
    """The providers that an organization may reach with a key of its own."""
    return PROVIDERS


def without_secret(credential: StoredCredential) -> DirectCredential:
    """A credential as the domain sees it: its public id, and which models it offers."""
    offered = credential.offered_models
    return DirectCredential(
        provider_id=credential.provider_id,
        public_id=str(credential.id),
        models=None if offered is None else {model.lower(): model for model in offered},
    )
