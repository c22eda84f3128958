"""Redis, where rate limits are shared through it."""

from __future__ import annotations

from collections.abc import Iterator

from django.conf import settings

from routing.doctor.findings import Finding, failed, good

CHECK = "redis"
LIMIT_SECONDS = 2.0


def check_redis() -> Iterator[Finding]:
    """One round trip; nothing where none is configured."""
    if not settings.CACHE_URL:
        return
    # Only here: a gateway without Redis need not load its library.
    from redis import Redis, RedisError
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        with Redis.from_url(
            settings.CACHE_URL,
            socket_connect_timeout=LIMIT_SECONDS,
            socket_timeout=LIMIT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except RedisError as error:
        yield failed(
            CHECK,
            f"Redis does not answer ({type(error).__name__}): each process counts rate limits for itself.",
            "Check CACHE_URL, its password, that Redis runs, and that this machine reaches it.",
        )
        return
    yield good(CHECK, "Redis answers.")
