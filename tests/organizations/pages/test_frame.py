"""What every page of an organization does, shown on the members' pages."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client, RequestFactory
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from kilo_gateway.api_errors import ErrorType, GatewayError
from organizations.models import Membership, Organization, Plan, Role, User
from organizations.pages.frame import NEEDS_ENTERPRISE, NOT_RELEASED, Page, Permits
from organizations.permissions import Ability, may, reason
from tests.factories import MembershipFactory, OrganizationFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory.create(role=Role.OWNER, user__email="alice@example.com", organization__name="Acme")


@pytest.fixture
def bob(alice: Membership) -> Membership:
    return MembershipFactory.create(role=Role.MEMBER, organization=alice.organization, user__email="bob@example.com")


@pytest.fixture
def browser(alice: Membership) -> Client:
    client = Client()
    client.force_login(alice.user)
    return client


def url(name: str, organization: Organization, **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": organization.pk, **more})


def htmx(target: str) -> dict[str, str]:
    return {"HX-Request": "true", "HX-Target": target}


def page_of(membership: Membership, *, post: dict[str, str] | None = None) -> Page:
    request: Any = RequestFactory().post("/", post or {})
    request.user, request.htmx = membership.user, False
    return Page(request, membership, [membership], "members")


class TestWhatIsSent:
    def test_a_whole_page(self, browser: Client, alice: Membership) -> None:
        answer = browser.get(url("members", alice.organization))
        text = answer.content.decode()
        assert "<!DOCTYPE html>" in text
        assert text.count('aria-current="page"') == 2  # the wide navigation and the narrow one
        assert answer["Cache-Control"] == "no-store"

    def test_the_main_part(self, browser: Client, alice: Membership) -> None:
        text = browser.get(url("members", alice.organization), headers=htmx("main")).content.decode()
        assert "<html" not in text
        assert '<main id="main"' in text

    def test_an_overlay(self, browser: Client, alice: Membership) -> None:
        text = browser.get(url("member-invite", alice.organization), headers=htmx("overlay")).content.decode()
        assert "<html" not in text
        assert '<dialog class="drawer"' in text
        assert 'hx-target="#overlay"' in text

    def test_queries(
        self, browser: Client, alice: Membership, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        """Session, person, memberships; then people and invitations. No more of them with more people."""
        browser.get(url("members", alice.organization))
        MembershipFactory.create_batch(5, organization=alice.organization)
        MembershipFactory.create_batch(3, user=alice.user)
        with django_assert_num_queries(5):
            browser.get(url("members", alice.organization))


class TestMenus:
    """What stands beside each page is kept as it was drawn: whatever it shows makes it another one."""

    def menus(self, member: Membership, section: str = "members") -> str:
        client = Client()
        client.force_login(member.user)
        page = client.get(url(section, member.organization)).content.decode()
        return " ".join(page.partition('<aside class="side">')[2].partition("</aside>")[0].split())

    @pytest.fixture(autouse=True)
    def seen(self, alice: Membership) -> str:
        return self.menus(alice)

    def test_another_section(self, alice: Membership, seen: str) -> None:
        def current(menus: str) -> list[str]:
            return re.findall(r'href="([^"]+)" aria-current="page"', menus)

        assert current(seen) == [url("members", alice.organization)]
        assert current(self.menus(alice, "modes")) == [url("modes", alice.organization)]

    def test_another_person(self, alice: Membership, bob: Membership) -> None:
        menus = self.menus(bob, "modes")
        assert "bob@example.com" in menus
        assert "alice@example.com" not in menus
        assert "Member</span>" in menus
        assert str(bob.user_id) in menus
        assert str(alice.user_id) not in menus

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"user__name": "Alice Liddell"}, "Alice Liddell"),
            ({"user__email": "liddell@example.com"}, "liddell@example.com"),
            ({"user__is_staff": True}, "Administration"),
            ({"organization__name": "Wonderland"}, "Leave Wonderland"),
            ({"organization__plan": Plan.TEAMS}, "Teams plan"),
            ({"role": Role.ADMIN}, "Admin</span>"),
        ],
    )
    def test_what_it_says_changes(self, alice: Membership, seen: str, change: dict[str, Any], words: str) -> None:
        assert words not in seen
        for name, value in change.items():
            part, _, field = name.rpartition("__")
            row = getattr(alice, part) if part else alice
            setattr(row, field, value)
            row.save()
        assert words in self.menus(alice)

    def test_one_organization_more(self, alice: Membership, seen: str) -> None:
        other = MembershipFactory.create(user=alice.user, role=Role.BILLING_MANAGER, organization__name="Otherwise")
        menus = self.menus(alice)
        assert f'href="/organizations/{other.organization_id}/"' in menus
        assert "Otherwise" in menus
        assert "Billing manager" in menus
        assert "Otherwise" not in seen


class TestWhoIsNotSignedIn:
    def test_htmx_leads_the_whole_page_there(self, alice: Membership) -> None:
        here = f"http://testserver{url('members', alice.organization)}"
        headers = {**htmx("overlay"), "HX-Current-URL": here}
        answer = Client().get(url("member-invite", alice.organization), headers=headers)
        assert answer["HX-Redirect"].endswith(f"?next={url('members', alice.organization)}")

    def test_the_page_of_another_host_is_not_the_next_one(self, alice: Membership) -> None:
        headers = {**htmx("overlay"), "HX-Current-URL": "https://evil.example/x"}
        answer = Client().get(url("member-invite", alice.organization), headers=headers)
        assert answer["HX-Redirect"].endswith("?next=/")


class TestHome:
    def test_the_last_organization(self, browser: Client, alice: Membership) -> None:
        other = MembershipFactory.create(user=alice.user, role=Role.OWNER)
        assert browser.get("/")["Location"] == f"/organizations/{alice.organization.pk}/"
        browser.get(url("members", other.organization))
        assert browser.get("/")["Location"] == f"/organizations/{other.organization.pk}/"

    def test_one_that_was_left_is_forgotten(self, browser: Client, alice: Membership) -> None:
        other = MembershipFactory.create(user=alice.user, role=Role.OWNER)
        browser.get(url("members", other.organization))
        other.delete()
        assert browser.get("/")["Location"] == f"/organizations/{alice.organization.pk}/"

    def test_none(self, browser: Client, alice: Membership) -> None:
        alice.delete()
        answer = browser.get("/")
        assert answer.status_code == 200
        assert "No organization yet" in answer.content.decode()


class TestRefusals:
    def test_the_fields_and_what_is_left(self, alice: Membership) -> None:
        from organizations.pages.members import InviteForm

        page = page_of(alice)
        form = InviteForm(page, {"email": "x@example.com", "role": "member"})
        form.is_valid()
        error = GatewayError(
            ErrorType.INVALID_REQUEST,
            400,
            "email: taken",
            details={"fields": {"email": ["Taken."], "nothing": ["Odd."]}},
        )
        with page.refusals(form):
            raise error
        assert form.errors["email"] == ["Taken."]
        assert (page.refusal, page.status) == ("Odd.", 422)

    @pytest.mark.parametrize("status", [401, 404, 500, 503])
    def test_what_is_no_refusal(self, alice: Membership, status: int) -> None:
        with pytest.raises(GatewayError), page_of(alice).refusals():
            raise GatewayError(ErrorType.NOT_FOUND, status, "")

    def test_a_conflict_keeps_what_was_typed(self, browser: Client, alice: Membership, bob: Membership) -> None:
        Organization.objects.filter(pk=alice.organization.pk).update(routing_version=9)
        Membership.objects.filter(pk=bob.pk).update(role=Role.BILLING_MANAGER)
        answer = browser.post(
            url("member", alice.organization, user_id=bob.user.pk), {"role": "admin", "routing_version": "3"}
        )
        text = answer.content.decode()
        assert answer.status_code == 412
        assert "version 3 became 9" in text
        row = text[text.index(">Admin</td>") :]
        assert ">Billing manager</td>" in row
        assert text.count("checked") == 1
        assert Membership.objects.get(pk=bob.pk).role == Role.BILLING_MANAGER

    def test_the_version_to_send_next(self, alice: Membership) -> None:
        assert page_of(alice).seen_version == alice.organization.routing_version
        assert page_of(alice, post={"routing_version": "3"}).seen_version == 3
        for odd in ("x", "-1", "²", "9" * 19, ""):
            assert page_of(alice, post={"routing_version": odd}).acting().expected_version is None


class TestRights:
    def test_each_ability_has_a_reason(self) -> None:
        permits = Permits(Role.MEMBER)
        for ability in Ability:
            assert bool(permits[ability]) is may(Role.MEMBER, ability)
            assert permits[ability].reason == ("" if may(Role.MEMBER, ability) else reason(ability))
        assert reason(Ability.READ_AUDIT_LOG) == "Only owners, admins and billing managers read the audit log."

    def test_setting_up(self, alice: Membership, bob: Membership, settings: Any) -> None:
        settings.POSTHOG_API_KEY, settings.ORGANIZATION_AUTO_ROLLOUT = "", "on"
        assert page_of(alice).setup
        assert page_of(bob).setup.reason == reason(Ability.CONFIGURE_ROUTING)
        settings.ORGANIZATION_AUTO_ROLLOUT = "off"
        assert page_of(alice).setup.reason == NOT_RELEASED
        alice.organization.plan = Plan.TEAMS
        assert page_of(alice).setup.reason == NEEDS_ENTERPRISE


class TestErrors:
    def test_for_people(self, browser: Client) -> None:
        answer = browser.get("/no/such/page")
        assert answer.status_code == 404
        assert "There is nothing here" in answer.content.decode()

    def test_for_htmx(self, browser: Client, bob: Membership) -> None:
        browser.force_login(bob.user)
        answer = browser.get(url("members", bob.organization), headers=htmx("main"))
        assert (answer.status_code, answer["HX-Reswap"]) == (403, "none")
        assert json.loads(answer["HX-Trigger"])["toast"]["text"] == reason(Ability.MANAGE_MEMBERS)

    def test_csrf(self, alice: Membership) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(alice.user)
        answer = client.post(url("member-invite", alice.organization), {"email": "x@example.com"})
        assert answer.status_code == 403
        assert "This form is out of date" in answer.content.decode()

    def test_the_database_is_away(self, rf: RequestFactory) -> None:
        from django.db import OperationalError

        from kilo_gateway.error_pages import server_error

        request = rf.get("/")
        request.user = AnonymousUser()
        try:
            raise OperationalError("secret address")
        except OperationalError:
            answer = server_error(request)
        assert (answer.status_code, answer["Retry-After"]) == (503, "5")
        assert b"secret address" not in answer.content

    def test_policies_are_on_all(self, browser: Client, alice: Membership) -> None:
        for path in (url("members", alice.organization), "/no/such/page", "/healthz", "/api/docs/", "/admin/login/"):
            answer = browser.get(path)
            policy = answer["Content-Security-Policy"]
            assert "unsafe" not in policy
            assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
            assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
            assert "camera=()" in answer["Permissions-Policy"]


class TestStyleguide:
    def test_it_is_for_staff(self, browser: Client, alice: Membership) -> None:
        assert browser.get("/styleguide").status_code == 404
        User.objects.filter(pk=alice.user.pk).update(is_staff=True)
        assert browser.get("/styleguide").status_code == 200


def test_another_organization_is_not_there(browser: Client) -> None:
    assert browser.get(url("members", OrganizationFactory.create())).status_code == 404
