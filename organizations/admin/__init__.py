"""Staff's pages about people, their keys, and what was changed. Organizations themselves are in `routing.admin`."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import Group

from organizations.admin import audit_log, keys, members, settings_versions, users

# Rights come from roles and from being staff; groups would be a third way, and one without a record.
admin.site.unregister(Group)

__all__ = ["audit_log", "keys", "members", "settings_versions", "users"]
