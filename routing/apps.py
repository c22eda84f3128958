from __future__ import annotations

from django.apps import AppConfig


class RoutingConfig(AppConfig):
    name = "routing"
    verbose_name = "Routing"

    def ready(self) -> None:
        # These import models, which are there only now.
        from byok.dependents import register
        from routing.services.keys import RoutesAndKeys

        register(RoutesAndKeys())
