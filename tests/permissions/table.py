"""Who may do what at which address: the whole API, by hand, so that a change of it is one that somebody meant.

A new address or method belongs here before it is served: the test beside this file fails until it does.

A line says what each of `ROLES` comes to:

    ok      2xx
    to      3xx: a page leads elsewhere
    role    403 `role_required`: a member whose role does not allow it
    403     403 for another reason
    401, 404, ...   that status
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from routing.proxy.urls import PREFIXES

ROLES = ("anonymous", "stranger", "member", "billing_manager", "admin", "owner", "staff")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Line:
    """One method at one address.

    Attributes:
        outcomes: In the order of `ROLES`.
        body: What is sent, valid for whoever may; `{name}` in it is an argument of the world. Pages get it as a form.
    """

    outcomes: tuple[str, ...]
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)


def line(outcomes: str, body: Any = None, **query: str) -> Line:
    words = tuple(outcomes.split())
    assert len(words) == len(ROLES), outcomes
    return Line(words, body, query)


# The usual ones. A stranger is told nothing below an organization, and staff is one: its place is Django admin.
#             anonymous stranger member billing admin owner staff
PUBLIC = "    ok        ok       ok     ok      ok    ok    ok"
SIGNED_IN = " 401       ok       ok     ok      ok    ok    ok"
ACTS_FOR = "  401       403      ok     ok      ok    ok    403"
MEMBERS = "   401       404      ok     ok      ok    ok    404"
BILLING = "   401       404      role   ok      ok    ok    404"
ADMINS = "    401       404      role   role    ok    ok    404"
OWNERS = "    401       404      role   role    role  ok    404"
OTHERS = "    401       404      404    404     ok    ok    404"  # what is another person's: as if it were not there
OWN_OF_OWNER = "401     404      404    404     404   ok    404"  # the owner's, in no organization

# Pages lead whoever is not signed in to sign in. They refuse a role with 403, and lead on when something was done.
#                 anonymous stranger member billing admin owner staff
PAGE_MEMBERS = "  to        404      ok     ok      ok    ok    404"
PAGE_BILLING = "  to        404      403    ok      ok    ok    404"
PAGE_ADMINS = "   to        404      403    403     ok    ok    404"
PAGE_OTHERS = "  to        404      404    404     ok    ok    404"  # what is another person's
DONE_BY_OTHERS = "to       404      404    404     to    to    404"
DONE_BY_MEMBERS = "to       404      to     to      to    to    404"
DONE_BY_BILLING = "to       404      403    to      to    to    404"
DONE_BY_ADMINS = " to       404      403    403     to    to    404"

CHAT = {"model": "{model}", "messages": [{"role": "user", "content": "hello"}]}
ORGANIZATION = "api/organizations/<uuid:organization_id>"
CLIENT_READS = "api/organizations/<str:organization_id>"
OWN_PROVIDER_KEY = "account/provider-keys/<uuid:own_credential_id>"
CONFIG = {"roleDefinition": "You help."}
CUSTOM_PROVIDER = {
    "name": "New",
    "base_url": "https://93.184.215.14/v1",
    "api_kinds": ["responses"],
    "key_style": "bearer",
}
LIMITS = {"day_microdollars": 5_000_000, "month_microdollars": None}

TABLE: dict[str, dict[str, Line]] = {
    "healthz": {"GET": line(PUBLIC)},
    "readyz": {"GET": line(PUBLIC)},
    "api/schema/": {"GET": line(PUBLIC)},
    "api/docs/": {"GET": line(PUBLIC)},
    # ------------------------------------------------------------ what clients read
    "api/user": {"GET": line(SIGNED_IN)},
    "api/profile": {"GET": line(SIGNED_IN)},
    "api/profile/balance": {"GET": line(ACTS_FOR)},
    "api/defaults": {"GET": line(ACTS_FOR)},
    CLIENT_READS: {"GET": line(MEMBERS)},
    f"{CLIENT_READS}/models": {"GET": line(MEMBERS)},
    f"{CLIENT_READS}/defaults": {"GET": line(MEMBERS)},
    f"{CLIENT_READS}/modes": {
        "GET": line(MEMBERS),
        "POST": line(MEMBERS, {"name": "New", "slug": "new", "config": CONFIG}),
    },
    # ------------------------------------------------------------ management: modes and routing
    f"{ORGANIZATION}/modes/<uuid:mode_id>": {
        "GET": line(MEMBERS),
        "PATCH": line(MEMBERS, {"name": "Renamed"}),
        "DELETE": line(MEMBERS),
    },
    f"{ORGANIZATION}/organization-auto": {"GET": line(MEMBERS)},
    f"{ORGANIZATION}/organization-auto/routes/<str:slug>": {
        "PUT": line(ADMINS, {"model": "{model}"}),
        "DELETE": line(ADMINS),
    },
    f"{ORGANIZATION}/organization-auto/fallback": {"PUT": line(ADMINS, {"model": "{model}"})},
    f"{ORGANIZATION}/default-model": {"PUT": line(ADMINS, {"behavior": "global"})},
    f"{ORGANIZATION}/model-policy": {
        "GET": line(MEMBERS),
        "PUT": line(ADMINS, {"provider_allow_list": None, "model_deny_list": []}),
    },
    f"{ORGANIZATION}/data-collection": {"PUT": line(BILLING, {"data_collection": "deny"})},
    f"{ORGANIZATION}/spending-limits": {
        "GET": line(BILLING),
        "PUT": line(BILLING, {"organization": LIMITS, "each_member": LIMITS, "members": []}),
    },
    f"{ORGANIZATION}/explain": {"POST": line(MEMBERS, {"mode": "code"})},
    f"{ORGANIZATION}/history": {"GET": line(MEMBERS)},
    f"{ORGANIZATION}/history/<version:version>": {"GET": line(MEMBERS)},
    f"{ORGANIZATION}/history/<version:version>/restore": {"POST": line(ADMINS)},
    # ------------------------------------------------------------ management: provider keys
    f"{ORGANIZATION}/byok": {
        "GET": line(MEMBERS),
        "POST": line(BILLING, {"provider": "edenai", "api_key": "sk-new-0000"}),
    },
    f"{ORGANIZATION}/byok/<uuid:credential_id>": {
        "GET": line(MEMBERS),
        "PATCH": line(BILLING, {"is_enabled": False}),
        "DELETE": line(BILLING),
    },
    f"{ORGANIZATION}/byok/<uuid:credential_id>/test": {"POST": line(BILLING)},
    f"{ORGANIZATION}/byok/<uuid:credential_id>/discover": {"POST": line(BILLING)},
    "api/user/byok": {
        "GET": line(SIGNED_IN),
        "POST": line(SIGNED_IN, {"provider": "edenai", "api_key": "sk-new-0000"}),
    },
    "api/user/byok/<uuid:own_credential_id>": {
        "GET": line(OWN_OF_OWNER),
        "PATCH": line(OWN_OF_OWNER, {"is_enabled": False}),
        "DELETE": line(OWN_OF_OWNER),
    },
    "api/user/byok/<uuid:own_credential_id>/test": {"POST": line(OWN_OF_OWNER)},
    "api/user/byok/<uuid:own_credential_id>/discover": {"POST": line(OWN_OF_OWNER)},
    # ------------------------------------------------------------ management: custom providers
    f"{ORGANIZATION}/custom-providers": {
        "GET": line(MEMBERS),
        "POST": line(
            BILLING,
            {"id": "custom-new", "name": "New", "base_url": "https://93.184.215.14/v1", "api_kinds": ["responses"]},
        ),
    },
    f"{ORGANIZATION}/custom-providers/<custom_provider:provider_id>": {
        "GET": line(MEMBERS),
        "PATCH": line(BILLING, {"name": "Renamed"}),
        "DELETE": line(BILLING),
    },
    # ------------------------------------------------------------ management: people and records
    f"{ORGANIZATION}/members": {"GET": line(ADMINS), "POST": line(ADMINS, {"email": "{newcomer}"})},
    f"{ORGANIZATION}/members/<uuid:user_id>": {"PATCH": line(ADMINS, {"role": "admin"}), "DELETE": line(ADMINS)},
    f"{ORGANIZATION}/invitations": {
        "GET": line(ADMINS),
        "POST": line(ADMINS, {"email": "frank@new.example", "role": "member"}),
    },
    f"{ORGANIZATION}/invitations/<uuid:invitation_id>": {"DELETE": line(ADMINS)},
    f"{ORGANIZATION}/api-keys": {"GET": line(MEMBERS), "POST": line(MEMBERS, {"name": "New"})},
    f"{ORGANIZATION}/api-keys/<uuid:key_id>": {"PATCH": line(OTHERS, {"name": "Renamed"}), "DELETE": line(OTHERS)},
    f"{ORGANIZATION}/audit-logs": {"GET": line(BILLING)},
    f"{ORGANIZATION}/audit-logs/export": {"GET": line(BILLING, format="csv")},
    f"{ORGANIZATION}/usage": {"GET": line(MEMBERS)},
}

for prefix in PREFIXES:
    TABLE |= {
        f"{prefix}/chat/completions": {"POST": line(ACTS_FOR, CHAT)},
        f"{prefix}/responses": {"POST": line(ACTS_FOR, {"model": "{model}", "input": "hello"})},
        f"{prefix}/messages": {"POST": line(ACTS_FOR, {**CHAT, "max_tokens": 10})},
        f"{prefix}/models": {"GET": line(ACTS_FOR)},
        f"{prefix}/models/<path:model_id>/endpoints": {"GET": line(ACTS_FOR)},
        f"{prefix}/providers": {"GET": line(ACTS_FOR)},
    }

# ---------------------------------------------------------------- pages

PAGES = "organizations/<uuid:organization_id>"
MODE = {"name": "New", "slug": "new", "role_definition": "You help."}
TABLE |= {
    "": {"GET": line("to to to to to to ok")},
    "styleguide": {"GET": line("404 404 404 404 404 404 ok")},
    f"{PAGES}/modes": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/modes/new": {"GET": line(PAGE_MEMBERS), "POST": line(DONE_BY_MEMBERS, MODE)},
    f"{PAGES}/modes/<uuid:mode_id>": {"GET": line(PAGE_MEMBERS), "POST": line(DONE_BY_MEMBERS, MODE)},
    f"{PAGES}/modes/<uuid:mode_id>/remove": {"GET": line(PAGE_MEMBERS), "POST": line(DONE_BY_MEMBERS)},
    f"{PAGES}/modes/built-in/<mode_slug:slug>": {"GET": line(PAGE_MEMBERS), "POST": line(DONE_BY_MEMBERS, MODE)},
    f"{PAGES}/modes/new-route": {
        "GET": line(PAGE_ADMINS),
        "POST": line(DONE_BY_ADMINS, {"slug": "build", "model": "{model}"}),
    },
    f"{PAGES}/modes/routes/<mode_slug:slug>": {
        "GET": line(PAGE_ADMINS),
        "POST": line(DONE_BY_ADMINS, {"model": "{model}"}),
    },
    f"{PAGES}/providers-and-models": {
        "GET": line(PAGE_MEMBERS),
        "POST": line(DONE_BY_ADMINS, {"scope": "every", "do": "save"}),
    },
    f"{PAGES}/providers-and-models/default-model": {
        "GET": line(PAGE_ADMINS),
        "POST": line(DONE_BY_ADMINS, {"behavior": "global"}),
    },
    f"{PAGES}/providers-and-models/fallback": {
        "GET": line(PAGE_ADMINS),
        "POST": line(DONE_BY_ADMINS, {"model": "{model}"}),
    },
    f"{PAGES}/providers-and-models/data-collection": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING, {"data_collection": "deny"}),
    },
    f"{PAGES}/providers-and-models/spending-limits": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING, {"organization_day": "5"}),
    },
    f"{PAGES}/providers-and-models/models/<path:model_id>": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/usage": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/usage/export": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/usage/requests": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/audit-logs": {"GET": line(PAGE_BILLING)},
    f"{PAGES}/audit-logs/<int:sequence>": {"GET": line(PAGE_BILLING)},
    # To the same with a slash, whatever there is.
    PAGES: {"GET": line("to to to to to to to")},
    f"{PAGES}/": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/explain": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/history": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/history/<version:version>": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/history/<version:version>/restore": {"GET": line(PAGE_ADMINS), "POST": line(DONE_BY_ADMINS)},
    f"{PAGES}/usage/requests/<uuid:request_id>": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/members": {"GET": line(PAGE_ADMINS)},
    f"{PAGES}/members/invite": {
        "GET": line(PAGE_ADMINS),
        "POST": line(PAGE_ADMINS, {"email": "frank@new.example", "role": "member"}),
    },
    f"{PAGES}/members/<uuid:user_id>": {"GET": line(PAGE_ADMINS), "POST": line(DONE_BY_ADMINS, {"role": "admin"})},
    f"{PAGES}/members/<uuid:user_id>/remove": {"GET": line(PAGE_ADMINS), "POST": line(DONE_BY_ADMINS)},
    f"{PAGES}/members/invitations/<uuid:invitation_id>/revoke": {
        "GET": line(PAGE_ADMINS),
        "POST": line(DONE_BY_ADMINS),
    },
}

TABLE |= {
    f"{PAGES}/byok": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/byok/add": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING, {"provider": "edenai", "api_key": "sk-new-0000"}),
    },
    f"{PAGES}/byok/<uuid:credential_id>": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/byok/<uuid:credential_id>/replace": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING, {"api_key": "sk-new-0000"}),
    },
    f"{PAGES}/byok/<uuid:credential_id>/test": {"POST": line(DONE_BY_BILLING)},
    f"{PAGES}/byok/<uuid:credential_id>/discover": {"POST": line(DONE_BY_BILLING)},
    f"{PAGES}/byok/<uuid:credential_id>/enabled": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING, {"enabled": "off"}),
    },
    f"{PAGES}/byok/<uuid:credential_id>/delete": {"GET": line(PAGE_BILLING), "POST": line(DONE_BY_BILLING)},
    f"{PAGES}/byok/custom-providers/add": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING, {**CUSTOM_PROVIDER, "id": "custom-new"}),
    },
    f"{PAGES}/byok/custom-providers/<custom_provider:provider_id>": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING, CUSTOM_PROVIDER),
    },
    f"{PAGES}/byok/custom-providers/<custom_provider:provider_id>/delete": {
        "GET": line(PAGE_BILLING),
        "POST": line(DONE_BY_BILLING),
    },
    f"{PAGES}/api-keys": {"GET": line(PAGE_MEMBERS)},
    f"{PAGES}/api-keys/create": {
        "GET": line(PAGE_MEMBERS),
        "POST": line(PAGE_MEMBERS, {"name": "New", "scopes": ["inference"], "expires": "90", "once": str(uuid4())}),
    },
    f"{PAGES}/api-keys/<uuid:key_id>": {"GET": line(PAGE_OTHERS), "POST": line(DONE_BY_OTHERS, {"name": "Renamed"})},
    f"{PAGES}/api-keys/<uuid:key_id>/revoke": {"GET": line(PAGE_OTHERS), "POST": line(DONE_BY_OTHERS)},
}

# ---------------------------------------------------------------- accounts

# Whoever is signed in is led on by the pages of the entrance, and to the password by those that want it again.
#              anonymous stranger member billing admin owner staff
ENTRANCE = "   ok        to       to     to      to    to    to"
OWN_PAGE = "   to        ok       ok     ok      ok    ok    ok"
PAGE_OF_OWNER = "to       404      404    404     404   ok    404"  # what is the owner's, in no organization
DONE_BY_OWNER = "to       404      404    404     404   to    404"
# A form that was sent without anything in it.
NOTHING_SENT = " to      422      422    422     422   422   422"
ALWAYS_ON = "  to        to       to     to      to    to    to"
NOT_THERE = "  404       404      404    404     404   404   404"
SEALED = "     to        404      404    404     404   404   404"
GONE = "       410       410      410    410     410   410   410"
TABLE |= {
    "api/device-auth/codes": {"POST": line(PUBLIC)},
    "api/device-auth/codes/<str:code>": {"GET": line(GONE)},
    "device-auth": {"GET": line(OWN_PAGE), "POST": line("to 409 409 409 409 409 409", {"answer": "approve"})},
    "invitations/<str:token>": {"GET": line(NOT_THERE), "POST": line(NOT_THERE)},
    "account": {"GET": line(OWN_PAGE), "POST": line(ALWAYS_ON, {"name": "New"})},
    "account/keys/<uuid:own_key_id>/revoke": {"POST": line("to 404 404 404 404 to 404")},
    "account/sessions/end": {"POST": line(ALWAYS_ON)},
    "account/provider-keys/add": {
        "GET": line(OWN_PAGE),
        "POST": line(ALWAYS_ON, {"provider": "edenai", "api_key": "sk-new-0000"}),
    },
    OWN_PROVIDER_KEY: {"GET": line(PAGE_OF_OWNER)},
    f"{OWN_PROVIDER_KEY}/replace": {
        "GET": line(PAGE_OF_OWNER),
        "POST": line(DONE_BY_OWNER, {"api_key": "sk-new-0000"}),
    },
    f"{OWN_PROVIDER_KEY}/test": {"POST": line(DONE_BY_OWNER)},
    f"{OWN_PROVIDER_KEY}/discover": {"POST": line(DONE_BY_OWNER)},
    f"{OWN_PROVIDER_KEY}/enabled": {"POST": line(DONE_BY_OWNER, {"enabled": "off"})},
    f"{OWN_PROVIDER_KEY}/delete": {"GET": line(PAGE_OF_OWNER), "POST": line(DONE_BY_OWNER)},
    "accounts/login": {"GET": line(ENTRANCE), "POST": line("422 to to to to to to")},
    "accounts/logout": {"GET": line(OWN_PAGE), "POST": line(ALWAYS_ON)},
    "accounts/inactive": {"GET": line(PUBLIC)},
    # The people of the world have no password, so there is nothing to give again.
    "accounts/again": {"GET": line("to 403 403 403 403 403 403"), "POST": line("to 403 403 403 403 403 403")},
    "accounts/password": {"GET": line(ALWAYS_ON), "POST": line(ALWAYS_ON)},
    "accounts/password/first": {"GET": line(OWN_PAGE), "POST": line(NOTHING_SENT)},
    "accounts/password/reset": {"GET": line(PUBLIC), "POST": line("422 422 422 422 422 422 422")},
    "accounts/password/reset/sent": {"GET": line(PUBLIC)},
    "accounts/password/reset/done": {"GET": line(PUBLIC)},
    "accounts/password/reset/<reset_person:uidb36>-<str:key>": {"GET": line(NOT_THERE), "POST": line(NOT_THERE)},
    "accounts/second-factor": {"GET": line(ALWAYS_ON), "POST": line(ALWAYS_ON)},
    "accounts/second-factor/again": {
        "GET": line("to 403 403 403 403 403 403"),
        "POST": line("to 403 403 403 403 403 403"),
    },
    "accounts/second-factor/set-up": {"GET": line(OWN_PAGE), "POST": line(NOTHING_SENT)},
    "accounts/second-factor/remove": {"GET": line(SEALED), "POST": line(SEALED)},
    "accounts/recovery-codes": {"GET": line(SEALED)},
    "accounts/recovery-codes/new": {"GET": line(OWN_PAGE), "POST": line(NOTHING_SENT)},
    "accounts/recovery-codes/download": {"GET": line(SEALED)},
    "accounts/oidc/cancelled": {"GET": line(PUBLIC)},
    "accounts/oidc/<slug:provider_id>/login": {"POST": line(NOT_THERE)},
    "accounts/oidc/<slug:provider_id>/callback": {"GET": line(NOT_THERE)},
}
# Reading them once is all that there is to them: nothing may look without taking.
WITHOUT_HEAD = frozenset({"api/device-auth/codes/<str:code>"})

# ---------------------------------------------------------------- Django admin

# Everything below is for staff, whatever it is: nobody else gets a 2xx. Only these need lines of their own. Django's
# pages take every method but POST for GET.
ADMIN_SUBTREE = "admin/"
TABLE |= {
    "admin": {method: line("to to to to to to to") for method in METHODS},
    "admin/": {method: line("to to to to to to ok") for method in METHODS},
}
# Open to everybody, because they are the door.
ADMIN_DOORS = frozenset({"admin/login/", "admin/logout/"})

# ---------------------------------------------------------------- more about some lines

# The same with what somebody of lower rank may not touch: the objects of an owner, a mode with a route, ownership.
HARDER: dict[tuple[str, str], Line] = {
    ("PATCH", "modes/{routed_mode_id}"): line(ADMINS, {"slug": "renamed"}),
    ("DELETE", "modes/{routed_mode_id}"): line(ADMINS),
    ("POST", "modes"): line(ADMINS, {"name": "New", "slug": "new", "config": CONFIG, "route_model": "{model}"}),
    ("PATCH", "modes/{mode_id}"): line(ADMINS, {"route_model": "{model}"}),
    ("PATCH", "members/{owner_id}"): line(OWNERS, {"role": "member"}),
    ("PATCH", "members/{user_id}"): line(OWNERS, {"role": "owner"}),
    ("DELETE", "members/{owner_id}"): line(OWNERS),
    ("POST", "members"): line(OWNERS, {"email": "{newcomer}", "role": "owner"}),
    ("POST", "invitations"): line(OWNERS, {"email": "frank@new.example", "role": "owner"}),
    ("DELETE", "invitations/{owner_invitation_id}"): line(OWNERS),
    ("DELETE", "members/{self}"): line("401 404 ok ok ok ok 404"),
}
