"""All addresses of the project."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from kilo_gateway.health import healthz, readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("", include("routing.proxy.urls")),
    path("", include("organizations.urls")),
    path("", include("routing.urls")),
]
