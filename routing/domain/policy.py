"""The model policy: which hosted models, by which providers, an organization allows."""

from __future__ import annotations

from collections.abc import Iterable

from routing.domain.settings import RoutingSettings, normalized_model_id
from routing.domain.types import ENTERPRISE, CatalogModel, Refusal, RefusalCode


def policy_in_force(plan: str, settings: RoutingSettings) -> bool:
    """Whether a model policy binds this organization: the enterprise plan enforces it, others only keep it."""
    return plan == ENTERPRISE and settings.has_model_policy


def denied(model_id: str, plan: str, settings: RoutingSettings) -> Refusal | None:
    """The refusal if the deny list in force names this hosted model; deny wins over everything else."""
    is_denied = plan == ENTERPRISE and normalized_model_id(model_id) in settings.model_deny_list
    return _denial(model_id) if is_denied else None


def denied_directly(model_id: str, plan: str, settings: RoutingSettings) -> Refusal | None:
    """The same for a direct provider's model: an entry with a suffix means one model, one without all its variants."""
    names = {model_id, normalized_model_id(model_id)}
    is_denied = plan == ENTERPRISE and not names.isdisjoint(settings.exact_deny_list)
    return _denial(model_id) if is_denied else None


def _denial(model_id: str) -> Refusal:
    return Refusal(RefusalCode.MODEL_DENIED, f'The model policy of the organization denies "{model_id}".')


def judge(model: CatalogModel, plan: str, settings: RoutingSettings) -> tuple[str, ...] | Refusal | None:
    """Judge one hosted model of the catalog.

    Returns:
        A refusal; or the providers to which the request must be confined; or None when any provider may serve it.
    """
    if (refusal := denied(model.id, plan, settings)) is not None:
        return refusal
    if model.is_router and policy_in_force(plan, settings):
        return Refusal(
            RefusalCode.ROUTER_UNDER_POLICY,
            f'"{model.id}" cannot be used while a model policy is active: it leads to models that it may refuse.',
        )
    if plan != ENTERPRISE or settings.provider_allow_list is None:
        return None
    allowed = tuple(slug for slug in model.providers if slug in settings.provider_allow_list)
    if not allowed:
        return Refusal(
            RefusalCode.PROVIDER_NOT_ALLOWED,
            f'The model policy of the organization allows no provider of "{model.id}".',
        )
    return allowed


def allowed_models(models: Iterable[CatalogModel], plan: str, settings: RoutingSettings) -> list[CatalogModel]:
    """The hosted models that the policy leaves, in their order."""
    return [model for model in models if not isinstance(judge(model, plan, settings), Refusal)]
