"""The page about providers, models and the default model, and its small forms."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from organizations.models import AuditAction, AuditLog, Organization, Plan, Role, User, Via
from routing.catalog.index import forget_index
from routing.models import CatalogSnapshot, HostedBalance, Installation, MemberSpending
from tests.factories import CredentialFactory, CustomModeFactory, MembershipFactory, organization_auto
from tests.routing.catalog.upstream import endpoint, model
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team

pytestmark = pytest.mark.django_db

MODELS = [CLAUDE, GPT, KIMI]
PROVIDERS = ["anthropic", "bedrock", "moonshot", "openai"]
OVERLAY = {"HX-Request": "true", "HX-Target": "overlay"}
ANSWER = {"HX-Request": "true", "HX-Target": "policy-answer"}


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(name: str, team: Team, **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": team.organization.pk, **more})


def shown(team: Team, user: User | None = None, **query: str) -> str:
    answer = client_of(user or team.alice).get(url("providers-and-models", team), query)
    assert answer.status_code == 200
    return answer.content.decode()


def row(page: str, key: str) -> str:
    """The row of a model or a provider."""
    return next(part for part in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if f'value="{key}"' in part)


def policy_form(team: Team, *, deny: tuple[str, ...] = (), allow: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """The form as it was opened now, with some models unticked and others ticked again."""
    settings = team.settings
    denied = settings.get("model_deny_list", [])
    allowed = settings.get("provider_allow_list")
    ticked = [one for one in MODELS if one not in deny and (one not in denied or one in allow)]
    return {
        "routing_version": str(team.routing_version),
        "shown": " ".join([*MODELS, *(one for one in denied if one not in MODELS)]),
        "were_denied": " ".join(denied),
        "model": ticked,
        "shown_providers": " ".join(PROVIDERS),
        "were_allowed": "*" if allowed is None else " ".join(allowed),
        "provider": PROVIDERS if allowed is None else allowed,
        "scope": "every" if allowed is None else "selected",
        "do": "save",
        **more,
    }


def save(team: Team, form: dict[str, Any], user: User | None = None, **headers: str) -> Any:
    return client_of(user or team.alice).post(url("providers-and-models", team), form, headers=headers)


class TestPage:
    def test_it_works(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}, fallback=KIMI), model_deny_list=[GPT])
        page = shown(team)
        assert "checked" in row(page, CLAUDE)
        assert "checked" not in row(page, GPT)
        assert ":free" in row(page, GPT)
        assert "<td>$1.00</td>" in row(page, KIMI)
        assert page.count('name="model" value="openai/gpt') == 1
        assert "1 route" in page
        assert "disabled" not in row(page, CLAUDE)

    def test_what_is_broken_is_said(self, team: Team) -> None:
        team.configure(**organization_auto({"code": "neuralwatt/demo-model"}, fallback="no/such"))
        page = shown(team)
        assert "2 targets are broken" in page
        assert "no enabled credential" in page

    @pytest.mark.parametrize("who", ["bob", "carol"])
    def test_others_only_look(self, team: Team, who: str) -> None:
        page = shown(team, getattr(team, who), q="claude")
        assert "disabled" in row(page, CLAUDE)
        assert "hidden" in row(page, GPT).partition(">")[0]
        assert "Only owners and admins change routes, the fallback and the model policy." in page
        assert "Save policy" not in page
        assert ("Hosted spending" in page) == (who == "carol")

    def test_teams_plan(self, team: Team) -> None:
        team.configure(model_deny_list=[GPT])
        Organization.objects.update(plan=Plan.TEAMS)
        page = shown(team)
        assert "needs the enterprise plan" in page
        assert "disabled" in row(page, CLAUDE)
        assert "checked" not in row(page, GPT)
        assert "Save policy" not in page

    @pytest.mark.usefixtures("toggle_off")
    def test_toggle_off(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}))
        page = shown(team)
        assert "Turn Organization Auto off" in page
        assert url("fallback", team) not in page

    def test_where_the_catalog_is_from(self, team: Team) -> None:
        assert "may be out of date" in shown(team)
        Installation.objects.update(catalog_error="refused")
        team.alice.is_staff = True
        team.alice.save()
        assert "Sync in Django admin" in shown(team)

    def test_providers_that_the_catalog_does_not_know(self, team: Team) -> None:
        team.configure(provider_allow_list=["anthropic", "no-such"])
        told = shown(team).partition("nothing today:")[2].partition("</p>")[0]
        assert '<code class="anywhere">no-such</code>' in told
        assert "anthropic" not in told
        team.configure(provider_allow_list=["anthropic"])
        assert "nothing today:" not in shown(team)

    def test_filters(self, team: Team) -> None:
        free = shown(team, price="free")
        assert "hidden" not in row(free, GPT).partition(">")[0]
        assert "hidden" in row(free, CLAUDE).partition(">")[0]
        by_provider = shown(team, q="BEDROCK")
        assert "hidden" not in row(by_provider, CLAUDE).partition(">")[0]
        assert "hidden" in row(by_provider, KIMI).partition(">")[0]
        nonsense = shown(team, price="x", show="y")
        assert "hidden" not in row(nonsense, KIMI).partition(">")[0]


class TestShownAgain:
    """The section about the policy is kept as it was drawn: whatever it shows makes it another one."""

    @pytest.fixture(autouse=True)
    def seen(self, team: Team) -> str:
        team.configure(**organization_auto({"code": CLAUDE}, fallback=KIMI), model_deny_list=[GPT])
        return shown(team)

    def test_another_policy(self, team: Team, seen: str) -> None:
        assert "checked" not in row(seen, GPT)
        team.configure(**{**team.settings, "model_deny_list": [KIMI]}, provider_allow_list=["openai"])
        page = shown(team)
        assert "checked" in row(page, GPT)
        assert "checked" not in row(page, KIMI)
        assert "checked" in row(page, "openai")
        assert "checked" not in row(page, "anthropic")
        assert f'name="were_denied" value="{KIMI}"' in page

    def test_the_version_and_the_token_are_those_of_now(self, team: Team, seen: str) -> None:
        Organization.objects.update(routing_version=41)
        page = shown(team)
        assert 'name="routing_version" value="41"' in page
        tokens = [set(re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', one)) for one in (seen, page)]
        assert [len(one) for one in tokens] == [1, 1]
        assert tokens[0] != tokens[1]

    def test_another_tab(self, team: Team, seen: str) -> None:
        def checked(page: str) -> list[str]:
            tabs = page.partition('<fieldset class="policy-tabs">')[2].partition("</fieldset>")[0]
            return re.findall(r'value="(\w+)"\s*checked', tabs)

        assert checked(seen) == ["models"]
        page = shown(team, tab="providers")
        assert checked(page) == ["providers"]
        assert "?tab=providers" in page

    def test_somebody_who_may_less(self, team: Team) -> None:
        page = shown(team, team.bob)
        assert "Only owners and admins change routes" in page
        assert 'name="csrfmiddlewaretoken"' not in page.partition('id="policy"')[2]
        assert "disabled" in row(page, CLAUDE)
        assert "disabled" not in row(shown(team), CLAUDE)

    def test_another_plan(self, team: Team) -> None:
        Organization.objects.update(plan=Plan.TEAMS)
        assert "not enforced" in shown(team)

    def test_another_catalog(self, team: Team, seen: str) -> None:
        big_catalog(models=2)
        page = shown(team)
        assert 'value="author-1/model-with-a-rather-long-name-1"' not in seen
        assert "checked" in row(page, "author-1/model-with-a-rather-long-name-1")
        assert CLAUDE not in page.partition('id="models"')[2]
        assert '<option value="image">Image</option>' not in seen
        assert '<option value="image">Image</option>' in page

    def test_filters_of_one_person_are_not_shown_to_another(self, team: Team) -> None:
        assert "looked for" in shown(team, q="looked for")
        assert "looked for" not in shown(team, team.dave)

    def test_another_organization_with_the_same_policy(self, team: Team) -> None:
        other = MembershipFactory.create(user=team.alice, role=Role.OWNER, organization__plan=Plan.ENTERPRISE)
        Organization.objects.filter(pk=other.organization_id).update(settings=team.settings)
        path = f"/organizations/{other.organization_id}/providers-and-models"
        middle = client_of(team.alice).get(path, headers={"HX-Request": "true", "HX-Target": "main"}).content.decode()
        assert "checked" not in row(middle, GPT)
        assert f'action="{path}"' in middle
        assert str(team.organization.pk) not in middle

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"default_model": GPT}, f'<strong class="mono anywhere">{GPT}</strong>'),
            ({"default_model": None}, "The installation's default"),
            ({"org_auto_model": {"routes": {}, "fallback_model": CLAUDE}}, "0 routes"),
            ({"org_auto_model": {"routes": {"code": CLAUDE}, "fallback_model": CLAUDE}}, f'badge-model">{CLAUDE}'),
            ({"org_auto_model": {"routes": {"code": "gone/model"}, "fallback_model": KIMI}}, "is not in the catalog"),
            ({"model_deny_list": [KIMI]}, "Fallback</strong>: The model policy"),
            ({"data_collection": "deny"}, "<strong>Deny</strong>"),
        ],
    )
    def test_the_cards(self, team: Team, seen: str, settings: dict[str, Any], words: str) -> None:
        assert words not in seen
        team.configure(**{key: value for key, value in {**team.settings, **settings}.items() if value is not None})
        assert words in shown(team)


class TestSaving:
    def test_it_works(self, team: Team) -> None:
        message = "Model policy changed"
        changes = {"provider_allow_list": (None, None), "model_deny_list": ([], [GPT])}
        with team.audited(("settings.model_policy.changed", message, changes), via="web"):
            answer = save(team, policy_form(team, deny=(GPT,), tab="models"))
        assert answer.status_code == 303
        assert answer["Location"] == f"{url('providers-and-models', team)}?tab=models"
        assert AuditLog.objects.get(action=AuditAction.MODEL_POLICY_CHANGED).via == Via.WEB

    def test_without_a_change_nothing_changes(self, team: Team) -> None:
        """An absent allow list stays absent."""
        for settings in ({}, {"model_deny_list": ["gone/model", GPT]}, {"provider_allow_list": ["openai", "gone"]}):
            team.configure(**settings)
            with team.nothing_changes():
                answer = save(team, policy_form(team), **ANSWER)
            assert "HX-Location" in answer.headers

    def test_what_was_not_shown_stays(self, team: Team) -> None:
        """A model that came into the catalog while the form was open is not taken for one that was unticked."""
        team.configure(model_deny_list=["gone/model"])
        form = policy_form(team, deny=(GPT,), shown=GPT, were_denied="")
        assert save(team, form).status_code == 303
        assert team.settings["model_deny_list"] == ["gone/model", GPT]

    def test_a_selection_of_providers(self, team: Team) -> None:
        form = policy_form(team, scope="selected", provider=["anthropic", "openai"])
        assert save(team, form).status_code == 303
        assert team.settings["provider_allow_list"] == ["anthropic", "openai"]
        assert "no allowed provider" in row(shown(team), KIMI)
        assert save(team, policy_form(team, scope="every")).status_code == 303
        assert "provider_allow_list" not in team.settings

    def test_unticked_and_every_at_once(self, team: Team) -> None:
        with team.nothing_changes():
            answer = save(team, policy_form(team, provider=["anthropic"]))
        assert answer.status_code == 422
        page = answer.content.decode()
        assert "You unticked providers" in page
        assert "checked" not in row(page, "openai")

    def test_a_filter_without_script_keeps_what_is_ticked(self, team: Team) -> None:
        with team.nothing_changes():
            answer = save(team, policy_form(team, deny=(GPT,), do="filter", q="claude"))
        assert answer.status_code == 200
        changed = row(answer.content.decode(), GPT)
        assert "checked" not in changed
        assert 'data-was="1"' in changed
        assert "hidden" in changed.partition(">")[0]
        assert "<strong data-policy-count>1</strong> change<" in " ".join(answer.content.decode().split())

    def test_a_filter_keeps_which_providers(self, team: Team) -> None:
        def chosen(page: str) -> list[str]:
            return re.findall(r'name="scope"\s*value="(\w+)"\s*checked', page)

        assert chosen(shown(team)) == ["every"]
        form = policy_form(team, provider=["openai"], scope="selected", do="filter", q="claude")
        assert chosen(save(team, form).content.decode()) == ["selected"]

    def test_routes_that_would_break_refuse_it(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE, "ask": KIMI}, fallback=KIMI))
        with team.nothing_changes():
            answer = save(team, policy_form(team, deny=(KIMI,), confirm="yes"), **ANSWER)
        assert answer.status_code == 422
        part = answer.content.decode()
        assert "it would break routes of Organization Auto" in part
        assert 'class="nowrap">ask</th>' in part
        assert 'class="nowrap">fallback</th>' in part
        assert ">code</th>" not in part
        assert "Save all the same" not in part
        assert "<main" not in part

    def test_routes_that_are_broken_already_do_not(self, team: Team) -> None:
        team.configure(**organization_auto({"code": "gone/model", "ask": KIMI}, fallback=GPT))
        part = save(team, policy_form(team, deny=(KIMI,)), **ANSWER).content.decode()
        assert 'class="nowrap">ask</th>' in part
        assert ">code</th>" not in part
        assert save(team, policy_form(team, deny=(CLAUDE,))).status_code == 303
        assert team.settings["model_deny_list"] == [CLAUDE]

    def test_what_it_does_is_confirmed(self, team: Team) -> None:
        """Organization Auto is off: the stored routes, and a default model that is cleared."""
        team.configure(default_model=GPT, org_auto_model={"routes": {"code": GPT}, "fallback_model": KIMI})
        with team.nothing_changes():
            answer = save(team, policy_form(team, deny=(GPT,)))
        page = answer.content.decode()
        assert answer.status_code == 422
        assert "Save all the same" in page
        assert f"The default model <code>{GPT}</code> would be refused" in page
        assert 'class="nowrap">code</th>' in page
        assert save(team, policy_form(team, deny=(GPT,), confirm="yes")).status_code == 303
        assert team.settings["model_deny_list"] == [GPT]
        assert "default_model" not in team.settings

    def test_two_people_at_once(self, team: Team) -> None:
        """The second is told, sees both, and then saves his change on top of the first."""
        form = policy_form(team, deny=(GPT,))
        assert save(team, policy_form(team, deny=(KIMI,)), team.dave).status_code == 303
        with team.nothing_changes():
            answer = save(team, form, **ANSWER)
        page = answer.content.decode()
        assert (answer.status_code, answer["HX-Retarget"]) == (412, "#main")
        assert "This changed while you had it open" in page
        assert re.search(rf"{KIMI}</th>\s*<td[^>]*>allowed</td>\s*<td[^>]*>denied</td>", page)
        assert "checked" not in row(page, KIMI)
        assert "checked" not in row(page, GPT)
        again = policy_form(team, deny=(KIMI, GPT))
        assert save(team, again).status_code == 303
        assert team.settings["model_deny_list"] == [KIMI, GPT]

    @pytest.mark.parametrize("who", ["bob", "carol"])
    def test_others_may_not(self, team: Team, who: str) -> None:
        with team.nothing_changes():
            assert save(team, policy_form(team, deny=(GPT,)), getattr(team, who)).status_code == 403

    def test_teams_plan(self, team: Team) -> None:
        Organization.objects.update(plan=Plan.TEAMS)
        with team.nothing_changes():
            assert save(team, policy_form(team, deny=(GPT,))).status_code == 403


class TestDefaultModel:
    def send(self, team: Team, user: User | None = None, **form: str) -> Any:
        form = {"routing_version": str(team.routing_version), **form}
        return client_of(user or team.alice).post(url("default-model", team), form)

    def test_it_works(self, team: Team) -> None:
        assert self.send(team, behavior="auto", fallback_model=KIMI).status_code == 303
        assert team.settings["default_model"] == "kilo-auto/org"
        assert team.settings["org_auto_model"]["fallback_model"] == KIMI
        assert self.send(team, behavior="specific", specific_model=GPT).status_code == 303
        assert team.settings["default_model"] == GPT
        assert self.send(team, behavior="global").status_code == 303
        assert "default_model" not in team.settings

    def test_an_overlay_with_what_to_choose(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization)
        team.configure(**organization_auto())
        answer = client_of(team.alice).get(url("default-model", team), {"to": "auto"}, headers=OVERLAY)
        part = answer.content.decode()
        assert re.search(r'value="auto"[^>]*checked', part)
        assert f'<option value="{CLAUDE}" data-group="Hosted models" data-note="$1.00 / $1.00' in part
        assert 'value="neuralwatt/demo-model"' in part
        assert 'value="kilo-auto/balanced"' in part
        assert '<option value="kilo-auto/org"' not in part

    def test_tiers_are_offered_as_a_fallback_only(self, team: Team) -> None:
        page = client_of(team.alice).get(url("default-model", team)).content.decode()
        usual, concrete = re.findall(r"<datalist id=.*?</datalist>", page, re.DOTALL)
        assert 'id="model-options"' in usual
        assert 'value="kilo-auto/' in usual
        assert 'id="concrete-model-options"' in concrete
        assert 'value="kilo-auto/' not in concrete
        assert f'value="{GPT}"' in concrete
        assert re.search(r'<input[^>]*name="specific_model"[^>]*list="concrete-model-options"', page)

    def test_refused_by_the_service(self, team: Team) -> None:
        answer = self.send(team, behavior="specific", specific_model="no/such")
        assert answer.status_code == 422
        assert "it is not in the catalog" in answer.content.decode()

    def test_refused_by_the_form(self, team: Team) -> None:
        answer = self.send(team, behavior="specific")
        assert answer.status_code == 422
        assert "Choose a model." in answer.content.decode()

    def test_a_broken_route_refuses_it(self, team: Team) -> None:
        team.configure(org_auto_model={"routes": {"code": "no/such"}, "fallback_model": KIMI})
        page = client_of(team.alice).get(url("default-model", team)).content.decode()
        assert "Organization Auto can be turned on once these can serve" in page
        answer = self.send(team, behavior="auto")
        assert answer.status_code == 422
        assert "no/such" in answer.content.decode()

    @pytest.mark.usefixtures("toggle_off")
    def test_toggle_off(self, team: Team) -> None:
        """It can be turned off, and not on."""
        team.configure(**organization_auto())
        assert self.send(team, behavior="auto").status_code == 422
        assert self.send(team, behavior="global").status_code == 303
        assert self.send(team, behavior="auto").status_code == 422

    def test_somebody_was_quicker(self, team: Team) -> None:
        version = str(team.routing_version)
        assert self.send(team, behavior="specific", specific_model=GPT).status_code == 303
        answer = self.send(team, routing_version=version, behavior="specific", specific_model=KIMI)
        page = answer.content.decode()
        assert answer.status_code == 412
        assert re.search(rf"<td[^>]*>{KIMI}</td>\s*<td[^>]*>{GPT}</td>", page)

    def test_others_may_not(self, team: Team) -> None:
        assert self.send(team, team.carol, behavior="global").status_code == 403


class TestFallback:
    def test_where_the_catalog_is_from(self, team: Team) -> None:
        form = client_of(team.alice).get(url("fallback", team)).content.decode()
        assert "data-catalog" in form
        assert "may be out of date" in form

    def test_it_works(self, team: Team) -> None:
        form = {"routing_version": str(team.routing_version), "model": KIMI}
        assert client_of(team.dave).post(url("fallback", team), form).status_code == 303
        assert team.settings["org_auto_model"]["fallback_model"] == KIMI

    def test_refused_by_the_service(self, team: Team) -> None:
        answer = client_of(team.alice).post(url("fallback", team), {"model": "kilo-auto/org"})
        assert answer.status_code == 422
        assert "cannot target itself" in answer.content.decode()

    @pytest.mark.usefixtures("toggle_off")
    def test_toggle_off(self, team: Team) -> None:
        page = client_of(team.alice).get(url("fallback", team)).content.decode()
        assert "it has not been released to you" in page
        assert client_of(team.alice).post(url("fallback", team), {"model": KIMI}).status_code == 403


class TestDataCollection:
    def test_it_works(self, team: Team) -> None:
        client = client_of(team.carol)
        assert client.post(url("data-collection", team), {"data_collection": "deny"}).status_code == 303
        assert team.settings["data_collection"] == "deny"
        assert "neither store nor train" in shown(team)
        assert client.post(url("data-collection", team), {"data_collection": ""}).status_code == 303
        assert "data_collection" not in team.settings

    def test_others_may_not(self, team: Team) -> None:
        answer = client_of(team.bob).post(url("data-collection", team), {"data_collection": "deny"})
        assert answer.status_code == 403


class TestSpendingLimits:
    def send(self, team: Team, user: User | None = None, **form: str) -> Any:
        form = {"routing_version": str(team.routing_version), **form}
        return client_of(user or team.carol).post(url("spending-limits", team), form)

    def test_it_works(self, team: Team) -> None:
        form = {"organization_day": "1,000.50", "member_month": "$20"}
        assert self.send(team, **form, new_member=str(team.bob.pk), new_day="0").status_code == 303
        account = HostedBalance.objects.get(pk=team.organization.pk)
        assert (account.day_limit_microdollars, account.month_limit_microdollars) == (1_000_500_000, None)
        assert account.member_month_limit_microdollars == 20_000_000
        own = MemberSpending.objects.get(user_id=team.bob.pk)
        assert (own.has_own_limits, own.day_limit_microdollars) == (True, 0)
        page = client_of(team.carol).get(url("spending-limits", team)).content.decode()
        assert 'value="1000.50"' in page
        assert "of $1,000.50" in shown(team)
        assert self.send(team, **{**form, f"end_{team.bob.pk}": "on"}).status_code == 303
        assert not MemberSpending.objects.get(user_id=team.bob.pk).has_own_limits

    def test_what_somebody_else_added_is_kept(self, team: Team) -> None:
        version = str(team.routing_version)
        assert self.send(team, new_member=str(team.bob.pk), new_day="3").status_code == 303
        answer = self.send(team, routing_version=version, organization_day="5")
        assert answer.status_code == 412
        assert f'name="day_{team.bob.pk}" value="3"' in answer.content.decode()
        assert self.send(team, organization_day="5").status_code == 303
        assert MemberSpending.objects.get(user_id=team.bob.pk).day_limit_microdollars == 3_000_000

    @pytest.mark.parametrize("wrong", ["-1", "much", "0.0000001", "9999999999999"])
    def test_refused_by_the_form(self, team: Team, wrong: str) -> None:
        answer = self.send(team, organization_day=wrong)
        assert answer.status_code == 422
        assert f'value="{wrong}"' in answer.content.decode()

    def test_whose_limits(self, team: Team) -> None:
        answer = self.send(team, new_day="1")
        assert answer.status_code == 422
        assert "Choose whose limits these are." in answer.content.decode()

    def test_others_may_not(self, team: Team) -> None:
        assert self.send(team, team.bob).status_code == 403


class TestDetails:
    def test_it_works(self, team: Team) -> None:
        team.configure(provider_allow_list=["anthropic"])
        answer = client_of(team.bob).get(url("model-details", team, model_id=CLAUDE), headers=OVERLAY)
        part = answer.content.decode()
        assert part.count("not allowed") == 1
        assert "data-catalog" in part

    def test_a_denied_model_is_shown_all_the_same(self, team: Team) -> None:
        team.configure(model_deny_list=[GPT])
        part = client_of(team.bob).get(url("model-details", team, model_id=f"{GPT}:free")).content.decode()
        assert "The model policy of the organization denies" in part

    def test_unknown(self, team: Team) -> None:
        assert client_of(team.bob).get(url("model-details", team, model_id="no/such")).status_code == 404


def big_catalog(models: int = 600, providers: int = 60) -> None:
    """Each model by three of the providers."""

    def tags(number: int) -> list[str]:
        return [f"provider-{(number * 7 + step) % providers}" for step in range(3)]

    policies: list[dict[str, Any]] = [{"training": False}, {"training": True, "retentionDays": 30}, {}]
    entries = [
        {
            **model(f"author-{number % 40}/model-with-a-rather-long-name-{number}"),
            "endpoints": [endpoint(tag, data_policy=policies[number % 3]) for tag in tags(number)],
        }
        for number in range(models)
    ]
    snapshot = CatalogSnapshot.objects.create(
        origin="synced", source="test", entries=entries, providers=[], model_count=models
    )
    Installation.objects.update(catalog_snapshot=snapshot)
    forget_index()


def test_a_large_catalog(team: Team, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    big_catalog()
    routes = {f"mode-{number}": f"author-{number % 40}/model-with-a-rather-long-name-{number}" for number in range(100)}
    team.configure(**organization_auto(routes, fallback=routes["mode-0"]), model_deny_list=["author-1/model-1"])
    CustomModeFactory.create_batch(3, organization=team.organization)
    client = client_of(team.alice)
    path = url("providers-and-models", team)
    client.get(path)
    with django_assert_max_num_queries(12):
        page = client.get(path).content
    assert page.count(b'name="model"') == 601
    assert page.count(b'name="provider"') == 60
    assert len(page) < 450_000
    assert b"may train" in page
    with django_assert_max_num_queries(12):
        assert client.get(url("default-model", team), headers=OVERLAY).status_code == 200


def test_a_form_of_a_large_catalog_is_taken(team: Team) -> None:
    big_catalog(1_200)
    ids = [f"author-{number % 40}/model-with-a-rather-long-name-{number}" for number in range(1_200)]
    form = policy_form(team, shown=" ".join(ids), model=ids[1:])
    assert save(team, form).status_code == 303
    assert team.settings["model_deny_list"] == [ids[0]]
