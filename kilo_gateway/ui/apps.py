from __future__ import annotations

from django.apps import AppConfig

from kilo_gateway.moment_loader import register_moment_loader


class UiConfig(AppConfig):
    name = "kilo_gateway.ui"
    label = "ui"

    def ready(self) -> None:
        register_moment_loader()
