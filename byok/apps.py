from __future__ import annotations

from typing import Any

from django.apps import AppConfig

from organizations.signals import email_proven


class BYOKConfig(AppConfig):
    name = "byok"
    verbose_name = "BYOK"

    def ready(self) -> None:
        email_proven.connect(_delete_own_credentials, dispatch_uid="byok.own_credentials")


def _delete_own_credentials(*, user: Any, actor: Any, **_kwargs: Any) -> None:
    # Only here: models are not loaded before all apps are.
    from byok.services.credentials import own_credentials_delete

    own_credentials_delete(user_id=user.pk, actor=actor)
