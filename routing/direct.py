"""What resolution sees of direct providers and credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from byok.custom_providers import opened_headers
from byok.encryption import UndecryptableSecret
from byok.keys import keyring
from byok.providers import PROVIDERS, Provider, UnsendableSecretError
from byok.selectors import StoredCredential, offered_models, providers_of
from organizations.models import Organization
from routing.domain.settings import normalized_model_id
from routing.domain.types import CUSTOM_PREFIX, DirectCredential


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


def deny_entry(model_id: str) -> str:
    """An id as the deny list stores it: normalized, but for a direct provider's model, which keeps its whole id."""
    model_id = model_id.strip().lower()
    provider_id = model_id.partition("/")[0]
    is_direct = provider_id in PROVIDERS or provider_id.startswith(CUSTOM_PREFIX)
    return model_id if is_direct else normalized_model_id(model_id)


@dataclass(frozen=True, slots=True)
class Unusable:
    """Why an enabled credential serves nothing: its key or a header of its provider cannot be opened or sent."""

    code: str
    message: str


def unusable_key(provider: Provider) -> Unusable:
    """The stored key is the reason."""
    message = f"The stored credential for {provider.name} cannot be used; store its key again."
    return Unusable("credential_unusable", message)


def unusable_header(provider: Provider) -> Unusable:
    """A stored header is the reason, and the key may be good."""
    message = f"A stored header of {provider.name} cannot be used; store the provider's headers again."
    return Unusable("header_unusable", message)


def unusable(credential: StoredCredential, provider: Provider) -> Unusable | None:
    """Try to open what a request with this credential would open. It is dropped at once, and nothing is sent."""
    try:
        secret = keyring().decrypt(credential.sealed, owner=credential.owner, provider_id=provider.id)
        for endpoint in provider.endpoints.values():
            endpoint.key_style.header(secret)
    except (UndecryptableSecret, UnsendableSecretError):
        return unusable_key(provider)
    try:
        opened_headers(credential.owner.id, provider)
    except UndecryptableSecret:
        return unusable_header(provider)
    return None
