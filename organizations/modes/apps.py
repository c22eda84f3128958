from __future__ import annotations

from django.apps import AppConfig


class ModesConfig(AppConfig):
    name = "organizations.modes"
    label = "modes"
    verbose_name = "Custom modes"
