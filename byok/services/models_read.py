"""What a provider said about the models of a key: read before any lock, kept under it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from byok.discovery import DiscoveryFailed, discover
from byok.encryption import SecretOwner, UndecryptableSecret
from byok.models import Credential
from byok.providers import Provider
from byok.services.frame import own_headers
from kilo_gateway.secret import Secret


@dataclass(frozen=True, slots=True)
class ModelsRead:
    """`models` is None for a provider without a list, and after a failure, which `problem` tells."""

    models: list[str] | None = None
    problem: str = ""

    @classmethod
    def of(cls, provider: Provider, secret: Secret, owner: SecretOwner) -> Self:
        """Ask the provider; ten seconds at most."""
        try:
            return cls(discover(provider, secret, headers=own_headers(provider, owner)))
        except DiscoveryFailed as error:
            return cls(problem=str(error))
        except UndecryptableSecret:
            return cls(problem="A header of the provider cannot be decrypted. Store it again.")

    def keep(self, credential: Credential) -> bool:
        """Into a row that is yet to be saved; whether it offers other models now. A failure leaves the former list."""
        credential.discovery_error = self.problem[:200]
        if self.models is None:
            return False
        credential.discovered_at = datetime.now(UTC)
        if credential.offered_models is not None and set(credential.offered_models) == set(self.models):
            return False
        credential.offered_models = self.models
        return True
