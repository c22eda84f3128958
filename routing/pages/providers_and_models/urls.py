"""Addresses of Providers & Models."""

from __future__ import annotations

from django.urls import path

from routing.pages.providers_and_models.default_model import data_collection, default_model, fallback
from routing.pages.providers_and_models.details import model_details
from routing.pages.providers_and_models.page import providers_and_models
from routing.pages.providers_and_models.spending import spending_limits

PAGE = "organizations/<uuid:organization_id>/providers-and-models"

urlpatterns = [
    path(PAGE, providers_and_models, name="providers-and-models"),
    path(f"{PAGE}/default-model", default_model, name="default-model"),
    path(f"{PAGE}/fallback", fallback, name="fallback"),
    path(f"{PAGE}/data-collection", data_collection, name="data-collection"),
    path(f"{PAGE}/spending-limits", spending_limits, name="spending-limits"),
    path(f"{PAGE}/models/<path:model_id>", model_details, name="model-details"),
]
