from __future__ import annotations

from django.apps import AppConfig


class BYOKConfig(AppConfig):
    name = "byok"
    verbose_name = "BYOK"
