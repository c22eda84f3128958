"""Addresses of the pages about usage."""

from __future__ import annotations

from django.urls import path

from organizations.pages.urls import ORGANIZATION
from routing.pages.usage import requests, summary

urlpatterns = [
    path(f"{ORGANIZATION}/usage", summary.usage, name="usage"),
    path(f"{ORGANIZATION}/usage/export", summary.export, name="usage-export"),
    path(f"{ORGANIZATION}/usage/requests", requests.requests, name="usage-requests"),
]
