"""What the auto tiers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin
from django.core.exceptions import NON_FIELD_ERRORS
from django.db.models import QuerySet
from django.http import HttpRequest

from kilo_gateway.admin_site import StaffAdmin
from organizations.staff import staff_actor
from routing.catalog.index import load_current_index
from routing.models import AutoTierRule
from routing.services.auto_tiers import auto_tier_rule_delete, auto_tier_rule_save, problems_of, tidy

if TYPE_CHECKING:
    _RuleForm = forms.ModelForm[AutoTierRule]
else:
    _RuleForm = forms.ModelForm

EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh")
VERBOSITIES: Final = ("low", "medium", "high")


class ModelIdsField(forms.CharField):
    """Model ids, one a line."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": 4, "cols": 60, "spellcheck": "false"}), **options)

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value) or ""
        return [line.strip() for line in text.replace(",", "\n").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return list(initial or []) != list(self.to_python(data))


class AutoTierRuleForm(_RuleForm):
    """A rule; its models are checked against the catalog in force."""

    model_ids = ModelIdsField(
        label="Models", help_text="The id of one model of the catalog; for the tier free, all that may be chosen."
    )
    free_model_ids = ModelIdsField(
        label="Free models",
        required=False,
        help_text="Used instead when the organization has no hosted balance. One id a line.",
    )
    mode = forms.RegexField(
        r"^[A-Za-z0-9-]{1,50}$", required=False, max_length=50, help_text="The slug of a mode; blank for any."
    )
    reasoning_effort = forms.ChoiceField(required=False)
    verbosity = forms.ChoiceField(required=False)

    class Meta:
        model = AutoTierRule
        fields = ("tier", "mode", "api_kind", "model_ids", "free_model_ids", "reasoning_effort", "verbosity")
        labels = {"api_kind": "API"}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, values in (("reasoning_effort", EFFORTS), ("verbosity", VERBOSITIES)):
            field, stored = self.fields[name], getattr(self.instance, name)
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
            # What is stored stays choosable, whoever wrote it.
            kept = [stored] if stored and stored not in values else []
            field.choices = [("", "the client's own"), *((value, value) for value in (*values, *kept))]

    def clean_mode(self) -> str:
        return str(self.cleaned_data["mode"]).strip().lower()

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # the stubs leave it out
        if any(name in self.errors for name in ("model_ids", "free_model_ids")):
            return
        tidy(self.instance)
        for name, problems in problems_of(self.instance, load_current_index().models).items():
            for problem in problems:
                self.add_error(name if name in self.fields else NON_FIELD_ERRORS, problem)


@admin.register(AutoTierRule)
class AutoTierRuleAdmin(StaffAdmin):
    can_add = can_change = can_delete = True
    form = AutoTierRuleForm
    list_display = ("tier", "mode_text", "api_kind_text", "models", "free_models", "reasoning_effort", "verbosity")
    list_filter = ("tier", "api_kind")
    search_fields = ("mode", "tier")
    search_help_text = "Part of the mode or of the tier."
    ordering = ("tier", "mode", "api_kind")

    @admin.display(description="Mode", ordering="mode")
    def mode_text(self, obj: AutoTierRule) -> str:
        return obj.mode or "any"

    @admin.display(description="API", ordering="api_kind")
    def api_kind_text(self, obj: AutoTierRule) -> str:
        return obj.api_kind or "any"

    @admin.display(description="Models")
    def models(self, obj: AutoTierRule) -> str:
        return ", ".join(obj.model_ids)

    @admin.display(description="Free models")
    def free_models(self, obj: AutoTierRule) -> str:
        return ", ".join(obj.free_model_ids)

    def save_model(self, request: HttpRequest, obj: AutoTierRule, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        auto_tier_rule_save(rule=obj, actor=staff_actor(request))

    def delete_model(self, request: HttpRequest, obj: AutoTierRule) -> None:
        auto_tier_rule_delete(rule=obj, actor=staff_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for rule in queryset:
            auto_tier_rule_delete(rule=rule, actor=staff_actor(request))

    def audit_filter(self, obj: AutoTierRule) -> dict[str, str]:
        return {"target": str(obj.pk)}
