"""The person's own provider keys for the page of his account, which belongs to an app that knows nothing of keys."""

from __future__ import annotations

from typing import Any

from django import template

from byok.pages.own_keys import own_key_rows
from organizations.models import User

register = template.Library()


@register.inclusion_tag("own_keys/section.html", takes_context=True)
def own_provider_keys(context: dict[str, Any], user: User) -> dict[str, Any]:
    """The keys with what can be done with them. One query."""
    return {"rows": own_key_rows(user), "csrf_token": context.get("csrf_token")}
