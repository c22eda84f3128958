"""What resolution sees of direct providers and credentials."""

from __future__ import annotations

from collections.abc import Mapping

from byok.providers import PROVIDERS, Provider
from byok.selectors import StoredCredential, offered_models, providers_of
from organizations.models import Organization
from routing.domain.types import DirectCredential


def direct_providers(organization: Organization | None) -> Mapping[str, Provider]:
    """The providers that an organization may reach with a key of its own, those included that it has registered.

    One query, two when it has registered any; none for a person who acts for no organization.
    """
    return providers_of(organization.pk) if organization is not None else PROVIDERS


def without_secrets(
    credentials: Mapping[str, StoredCredential], providers: Mapping[str, Provider]
) -> dict[str, DirectCredential]:
    """Credentials as the domain sees them: their public ids, and which models they offer."""
    return {key: _without_secret(value, providers.get(key)) for key, value in credentials.items()}


def _without_secret(credential: StoredCredential, provider: Provider | None) -> DirectCredential:
    offered = offered_models(credential, provider)
    model_list = provider.model_list if provider is not None else None
    return DirectCredential(
        provider_id=credential.provider_id,
        public_id=str(credential.id),
        models=None if offered is None else {model.lower(): model for model in offered},
        takes_others=model_list is not None and not model_list.is_complete,
    )
