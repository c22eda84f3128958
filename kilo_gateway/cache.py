"""The cache: in this process, or in Redis for as many processes as there are."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from kilo_gateway.env import SettingError

# A cache that does not answer at once is of no use.
CONNECT_SECONDS: Final = 0.5
ANSWER_SECONDS: Final = 0.5


def django_caches(url: str) -> dict[str, Any]:
    """Django's description of the cache at a URL of Redis; without one, of a cache in this process.

    Raises:
        SettingError: the URL is none of Redis; its text, which may hold a password, is not shown.
    """
    if not url:
        return {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    try:
        parts = urlsplit(url)
        database = parts.path.strip("/")
        valid = bool(parts.hostname) and parts.port != 0 and (not database or database.isdecimal())
    except ValueError:
        valid = False
    if not valid or parts.scheme not in {"redis", "rediss"}:
        raise SettingError("CACHE_URL must look like redis://:password@host:6379/0, or rediss:// for TLS.")
    return {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": url,
            "KEY_PREFIX": "kilo",
            "OPTIONS": {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS},
        }
    }
