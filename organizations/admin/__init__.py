"""Staff's pages about people, their keys, and what was changed. Organizations themselves are in `routing.admin`."""

from __future__ import annotations

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from django.contrib import admin
from django.contrib.auth.models import Group

from organizations.admin import audit_log, devices, keys, members, settings_versions, users

# Rights come from roles and from being staff; groups would be a third way, and one without a record.
admin.site.unregister(Group)
# What allauth keeps holds secrets, or is set in the environment.
admin.site.unregister([EmailAddress, Authenticator, SocialAccount, SocialApp, SocialToken])

__all__ = ["audit_log", "devices", "keys", "members", "settings_versions", "users"]
