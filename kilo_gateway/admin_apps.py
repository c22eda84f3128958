"""Django admin with our site in place of its own."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    default_site = "kilo_gateway.admin_site.StaffSite"
