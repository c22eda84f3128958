"""The project's addresses, and stored bytes behind the same middleware and session for whoever is signed in."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path

from kilo_gateway.urls import handler400, handler403, handler404, handler500
from kilo_gateway.urls import urlpatterns as project_patterns

FOLDER = "BENCH_STATIC_PAGES"


@cache
def _stored(name: str) -> bytes:
    return (Path(os.environ[FOLDER]) / name).read_bytes()


@login_required
def static_page(request: HttpRequest, name: str) -> HttpResponse:
    """What the bench stored under this name."""
    return HttpResponse(_stored(name), headers={"Cache-Control": "no-store"})


urlpatterns: list[URLPattern | URLResolver] = [*project_patterns, path("bench/static/<slug:name>", static_page)]

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]
