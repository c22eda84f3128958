"""The default model, the fallback, and data collection: one small form each."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse

from organizations.models import Organization
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.permissions import Ability
from routing.pages.providers_and_models.forms import BEHAVIOURS, DataCollectionForm, DefaultModelForm, FallbackForm
from routing.pages.providers_and_models.standing import SECTION, Standing, behavior_of
from routing.pages.targets import concrete_choices, offered, target_choices
from routing.services import organization_auto as services
from routing.services.model_policy import data_collection_set
from routing.settings_selectors import readable_settings

DONE = {
    "auto": "Organization Auto is on: each mode's route decides.",
    "specific": "The default model was saved.",
    "global": "Clients start with the installation's default now.",
}


@organization_page(SECTION, requires=Ability.CONFIGURE_ROUTING)
def default_model(request: PageRequest, page: Page) -> HttpResponse:
    """How clients start: with Organization Auto, with one model, or with the installation's default."""
    standing = Standing(offered(page.organization), page)
    asked = request.GET.get("to", "")
    initial = _stored_default(page.organization)
    if asked in dict(BEHAVIOURS):
        initial["behavior"] = asked
    form = DefaultModelForm(request.POST or None, initial=initial)
    if not page.setup:
        _without_auto(form)
    if request.method == "POST" and form.is_valid():
        behavior = form.cleaned_data["behavior"]
        with page.refusals(form, now=lambda: _stored_default(_now(page))):
            _set_default(page, behavior, form.cleaned_data)
            return page.done(DONE[behavior], to=page.url(SECTION))
    groups = target_choices(standing.offer)
    context = {"form": form, "standing": standing, "groups": groups, "concrete": concrete_choices(groups)}
    return page.render("providers_and_models/default_model.html", context)


def _set_default(page: Page, behavior: str, chosen: dict[str, Any]) -> None:
    common: dict[str, Any] = {"organization_id": page.organization.pk, "acting": page.acting()}
    if behavior == "auto":
        services.default_model_set_auto(**common, fallback_model=chosen.get("fallback_model") or None)
    elif behavior == "specific":
        services.default_model_set_specific(**common, specific_model=chosen["specific_model"])
    else:
        services.default_model_set_global(**common)


def _stored_default(organization: Organization) -> dict[str, str]:
    settings = readable_settings(organization)
    behavior = behavior_of(settings)
    auto = settings.organization_auto
    return {
        "behavior": behavior,
        "specific_model": (settings.default_model or "") if behavior == "specific" else "",
        "fallback_model": (auto.fallback_model or "") if auto else "",
    }


def _without_auto(form: DefaultModelForm) -> None:
    """Organization Auto can be turned off by whoever cannot turn it on."""
    field = form.fields["behavior"]
    assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type
    field.choices = [choice for choice in BEHAVIOURS if choice[0] != "auto"]
    del form.fields["fallback_model"]


@organization_page(SECTION, requires=Ability.CONFIGURE_ROUTING)
def fallback(request: PageRequest, page: Page) -> HttpResponse:
    """The target for every mode without a route."""
    offer = offered(page.organization)
    form = FallbackForm(request.POST or None, initial={"model": _stored_default(page.organization)["fallback_model"]})
    if request.method == "POST" and form.is_valid():
        with page.refusals(form, now=lambda: {"model": _stored_default(_now(page))["fallback_model"]}):
            services.fallback_set(
                organization_id=page.organization.pk, acting=page.acting(), target=form.cleaned_data["model"]
            )
            return page.done("The fallback was saved.", to=page.url(SECTION))
    standing = Standing(offer, page)
    context = {"form": form, "standing": standing, "groups": target_choices(offer)}
    return page.render("providers_and_models/fallback.html", context)


@organization_page(SECTION, requires=Ability.MANAGE_SPENDING)
def data_collection(request: PageRequest, page: Page) -> HttpResponse:
    """Whether providers may keep what they are sent. No query."""
    initial = {"data_collection": readable_settings(page.organization).data_collection or ""}
    form = DataCollectionForm(request.POST or None, initial=initial)
    if request.method == "POST" and form.is_valid():

        def now() -> dict[str, str]:
            return {"data_collection": readable_settings(_now(page)).data_collection or ""}

        with page.refusals(form, now=now):
            data_collection_set(
                organization_id=page.organization.pk,
                acting=page.acting(),
                data_collection=form.cleaned_data["data_collection"] or None,
            )
            return page.done("Data collection was saved.", to=page.url(SECTION))
    return page.render("providers_and_models/data_collection.html", {"form": form})


def _now(page: Page) -> Organization:
    return Organization.objects.get(pk=page.organization.pk)
