"""All addresses of the project."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from kilo_gateway import api_docs
from kilo_gateway.health import healthz, readyz
from kilo_gateway.ui import styleguide

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", healthz),
    path("readyz", readyz),
    path("api/schema/", api_docs.schema, name="api-schema"),
    path("api/docs/", api_docs.page, name="api-docs"),
    path("styleguide", styleguide.page, name="styleguide"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("routing.proxy.urls")),
    path("", include("organizations.urls")),
    path("", include("byok.management_api.urls")),
    path("", include("byok.pages.urls")),
    path("", include("routing.urls")),
]

handler400 = "kilo_gateway.error_pages.bad_request"
handler403 = "kilo_gateway.error_pages.forbidden"
handler404 = "kilo_gateway.error_pages.not_found"
handler500 = "kilo_gateway.error_pages.server_error"
