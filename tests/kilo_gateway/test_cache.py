"""The cache that `CACHE_URL` names."""

from __future__ import annotations

import pytest

from kilo_gateway.cache import django_caches
from kilo_gateway.env import SettingError


def test_in_this_process() -> None:
    assert django_caches("")["default"]["BACKEND"].endswith("LocMemCache")


@pytest.mark.parametrize(
    "url",
    ["redis://127.0.0.1", "redis://127.0.0.1:6379/0", "rediss://:password@cache.example.com:6380/15", "redis://[::1]/"],
)
def test_redis(url: str) -> None:
    described = django_caches(url)["default"]
    assert described["BACKEND"].endswith("RedisCache")
    assert described["LOCATION"] == url


@pytest.mark.parametrize(
    "url",
    [
        "redis",
        "http://:canary@cache.example.com",
        "redis://",
        "redis://:canary@/0",
        "redis://:canary@host:0",
        "redis://:canary@host:port",
        "redis://:canary@host/first",
        "memcached://:canary@host",
    ],
)
def test_malformed(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        django_caches(url)
    assert "CACHE_URL" in str(caught.value)
    assert "canary" not in str(caught.value)
