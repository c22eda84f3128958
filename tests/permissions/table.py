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

from routing.proxy.urls import PREFIXES

ROLES = ("anonymous", "stranger", "member", "billing_manager", "admin", "owner", "staff")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Line:
    """One method at one address.

    Attributes:
        outcomes: In the order of `ROLES`.
        body: What is sent, valid for whoever may; `{name}` in it is an argument of the world.
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

CHAT = {"model": "{model}", "messages": [{"role": "user", "content": "hello"}]}
ORGANIZATION = "api/organizations/<uuid:organization_id>"
CLIENT_READS = "api/organizations/<str:organization_id>"
CONFIG = {"roleDefinition": "You help."}

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
    f"{ORGANIZATION}/organization-auto/routes/<mode_slug:slug>": {
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
    f"{ORGANIZATION}/explain": {"POST": line(MEMBERS, {"mode": "code"})},
    f"{ORGANIZATION}/history": {"GET": line(MEMBERS)},
    f"{ORGANIZATION}/history/<version:version>": {"GET": line(MEMBERS)},
    f"{ORGANIZATION}/history/<version:version>/restore": {"POST": line(ADMINS)},
    # ------------------------------------------------------------ management: people and records
    f"{ORGANIZATION}/members": {"GET": line(ADMINS)},
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
    ("POST", "invitations"): line(OWNERS, {"email": "frank@new.example", "role": "owner"}),
    ("DELETE", "invitations/{owner_invitation_id}"): line(OWNERS),
    ("DELETE", "members/{self}"): line("401 404 ok ok ok ok 404"),
}
