from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from byok.encryption import Keyring, SecretOwner, generate_key
from byok.keys import keyring
from byok.models import Credential
from byok.selectors import enabled_credentials
from organizations.api_keys import key_hash
from organizations.audit import verify_chain
from organizations.models import ApiKey, AuditAction, AuditLog, Membership, Organization, Role, SettingsVersion, User
from organizations.modes.models import CustomMode
from routing.demo import seed
from tests.factories import ApiKeyFactory, MembershipFactory, OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[str, str]:
    """What a command writes to standard output and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


class TestCreateOrganization:
    def test_it_works(self) -> None:
        alice = UserFactory.create(email="alice@example.com")
        out, err = run("create_organization", "Acme", "--owner", "Alice@Example.com", "--plan", "enterprise")
        organization = Organization.objects.get(pk=UUID(out.strip()))
        assert (organization.name, organization.plan, organization.settings) == ("Acme", "enterprise", {})
        assert Membership.objects.get(organization=organization).user == alice
        assert Membership.objects.get(organization=organization).role == Role.OWNER
        assert "password" not in err
        assert [row.action for row in AuditLog.objects.order_by("sequence")] == ["organization.created", "member.added"]
        assert SettingsVersion.objects.get(organization=organization).settings == {}

    def test_an_owner_who_is_new(self) -> None:
        _, err = run("create_organization", "Acme", "--owner", "Alice@Example.com", "--owner-name", "Alice")
        password = err.rsplit(maxsplit=1)[-1]
        alice = authenticate(username="alice@example.com", password=password)
        assert isinstance(alice, User)
        assert alice.name == "Alice"
        assert not alice.is_staff

    @pytest.mark.parametrize(("name", "owner"), [("", "alice@example.com"), ("x" * 101, "a@b.c"), ("Acme", "nobody")])
    def test_nothing_is_made_of_what_is_not_valid(self, name: str, owner: str) -> None:
        with pytest.raises(CommandError, match=r"name|email"):
            run("create_organization", name, "--owner", owner)
        assert not Organization.objects.exists()
        assert not User.objects.exists()


class TestCreateApiKey:
    def test_it_works(self) -> None:
        alice = MembershipFactory.create(organization__name="Acme")
        out, _ = run("create_api_key", "--user", alice.user.email, "--organization", "Acme", "--default-mode", "Code")
        key = ApiKey.objects.get(key_hash=key_hash(out.strip()))
        assert (key.user, key.organization, key.scopes) == (alice.user, alice.organization, ["inference"])
        assert (key.default_mode, key.expires_at) == ("code", None)
        row = AuditLog.objects.get()
        assert (row.action, row.via, row.organization) == (AuditAction.API_KEY_CREATED, "command", alice.organization)
        assert out.strip() not in json.dumps(row.changes) + row.message

    def test_scopes_and_an_expiry(self) -> None:
        email = UserFactory.create().email
        scopes = ("--scope", "inference", "--scope", "management")
        out, _ = run("create_api_key", "--user", email, *scopes, "--expires-in-days", "7")
        key = ApiKey.objects.get(key_hash=key_hash(out.strip()))
        assert (key.organization, key.scopes) == (None, ["inference", "management"])
        assert key.expires_at is not None
        assert 6 <= (key.expires_at - key.created_at).days <= 7

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--user", "nobody@example.com"), "no user"),
            (("--user", "alice@example.com", "--organization", "Nowhere"), "no organization"),
            (("--user", "alice@example.com", "--organization", "Acme"), "not a member"),
            (("--user", "alice@example.com", "--organization", "Twice"), "Several organizations"),
            (("--user", "alice@example.com", "--expires-in-days", "0"), "at least 1"),
            (("--user", "alice@example.com", "--expires-in-days", "999999999"), "too many"),
            (("--user", "alice@example.com", "--name", " "), "name"),
        ],
    )
    def test_refusals(self, arguments: tuple[str, ...], message: str) -> None:
        UserFactory.create(email="alice@example.com")
        for name in ("Acme", "Twice", "Twice"):
            OrganizationFactory.create(name=name)
        with pytest.raises(CommandError, match=message):
            run("create_api_key", *arguments)
        assert not ApiKey.objects.exists()


class TestVerifyAuditLog:
    def test_it_works(self) -> None:
        run("create_organization", "Acme", "--owner", "alice@example.com")
        out, err = run("verify_audit_log")
        assert (out, err) == ("The audit log is intact: 2 rows in 2 chains.\n", "")
        out, _ = run("verify_audit_log", "--organization", "Acme")
        assert AuditLog.objects.get(sequence=2).hash in out

    def test_a_row_that_was_changed(self) -> None:
        for name in ("Acme", "Globex"):
            run("create_organization", name, "--owner", "alice@example.com")
        row = AuditLog.objects.get(organization__name="Globex", sequence=2)
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("UPDATE organizations_auditlog SET message = 'nothing' WHERE id = %s", [row.pk])
            cursor.execute("SET LOCAL session_replication_role = origin")
        err = io.StringIO()
        with pytest.raises(CommandError, match="1 of 3 chains") as caught:
            call_command("verify_audit_log", stdout=io.StringIO(), stderr=err)
        assert caught.value.returncode == 1
        assert err.getvalue().startswith(f"Globex ({row.organization_id}): row 2 (id {row.pk}) does not fit: ")
        run("verify_audit_log", "--organization", "Acme")


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.DATA_DIR = tmp_path
    # Six people each time.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return tmp_path


def seeded() -> dict[str, Any]:
    out, err = run("seed_demo", "--json")
    assert err == ""
    found: dict[str, Any] = json.loads(out)
    return found


class TestSeedDemo:
    def test_it_works(self, folder: Path, settings: Settings) -> None:
        demo = seeded()
        assert set(demo) == {"base_url", "organizations", "users", "staff"}
        assert demo["base_url"] == settings.BASE_URL
        assert [(row["name"], row["plan"]) for row in demo["organizations"]] == [
            ("Acme", "enterprise"),
            ("Globex", "teams"),
        ]
        assert [(user["email"].split("@")[0], user["role"], user["organization"]) for user in demo["users"]] == [
            ("alice", "owner", "Acme"),
            ("dave", "admin", "Acme"),
            ("carol", "billing_manager", "Acme"),
            ("bob", "member", "Acme"),
            ("mallory", "owner", "Globex"),
        ]
        assert (demo["staff"]["email"], demo["staff"]["organization"]) == ("staff@example.com", None)
        stored = {(row.user.email, row.organization.name, row.role) for row in Membership.objects.all()}
        assert stored == {(user["email"], user["organization"], user["role"]) for user in demo["users"]}

    def test_everybody_can_sign_in(self, folder: Path) -> None:
        demo = seeded()
        for person in (*demo["users"], demo["staff"]):
            user = authenticate(username=person["email"], password=person["password"])
            assert isinstance(user, User)
            assert user.is_staff is user.is_superuser is (person["role"] == "staff")

    def test_its_keys(self, folder: Path) -> None:
        demo = seeded()
        for person in (*demo["users"], demo["staff"]):
            for field, scope in (("api_key", "inference"), ("management_key", "management")):
                key = ApiKey.objects.get(key_hash=key_hash(person[field]))
                assert (key.user.email, key.scopes) == (person["email"], [scope])
                assert (key.organization.name if key.organization else None) == person["organization"]

    def test_its_routing(self, folder: Path) -> None:
        seeded()
        acme = Organization.objects.get(name="Acme")
        assert acme.settings == {
            "default_model": "kilo-auto/org",
            "org_auto_model": {
                "routes": {
                    "code": "anthropic/claude-sonnet-5",
                    "architect": "anthropic/claude-opus-5",
                    "ask": "openai/gpt-5-mini",
                    "debug": "openai/gpt-5.4",
                    "docs-writer": "moonshotai/kimi-k3",
                    "local-docs": "neuralwatt/demo-model",
                },
                "fallback_model": "kilo-auto/balanced",
            },
        }
        assert Organization.objects.get(name="Globex").settings == {}
        assert list(CustomMode.objects.order_by("slug").values_list("organization__name", "slug", "name")) == [
            ("Acme", "docs-writer", "Docs Writer"),
            ("Acme", "security-review", "Security Review"),
        ]
        credential = enabled_credentials(acme.pk)["neuralwatt"]
        secret = keyring().decrypt(credential.sealed, owner=SecretOwner.organization(acme.pk), provider_id="neuralwatt")
        assert secret.reveal().startswith("demo-provider-key-")
        assert credential.offered_models == ("demo-model", "Kimi-K2.6")
        for mode in (*acme.settings["org_auto_model"]["routes"], "build", "plan", "security-review", ""):
            out, _ = run("explain_route", "--organization", "Acme", "--mode", mode, "--json")
            assert json.loads(out)["refusal"] is None, out

    def test_everything_is_in_the_audit_log(self, folder: Path) -> None:
        demo = seeded()
        acme = Organization.objects.get(name="Acme")
        messages = list(AuditLog.objects.filter(organization=acme).values_list("message", flat=True))
        assert 'Organization Auto route for "code" set to "anthropic/claude-sonnet-5"' in messages
        # As they are written when a person does the same.
        kept = AuditLog.objects.filter(organization=acme, action=AuditAction.ROUTE_SET).order_by("sequence").first()
        assert kept is not None
        assert kept.changes == {"code": [None, "anthropic/claude-sonnet-5"]}
        assert AuditLog.objects.filter(organization=acme, action=AuditAction.BYOK_CREATED).count() == 1
        for organization in Organization.objects.all():
            assert verify_chain(organization.pk)[1] is None
        everything = json.dumps([[row.message, row.changes] for row in AuditLog.objects.all()])
        assert "demo-provider-key" not in everything
        assert not any(person[field] in everything for person in demo["users"] for field in ("api_key", "password"))
        latest = SettingsVersion.objects.filter(organization=acme).latest("routing_version")
        assert (latest.settings, latest.routing_version) == (acme.settings, acme.routing_version)

    def test_again_it_changes_nothing(self, folder: Path) -> None:
        first = seeded()
        rows, version = AuditLog.objects.count(), Organization.objects.get(name="Acme").routing_version
        assert seeded() == first
        assert AuditLog.objects.count() == rows
        assert Organization.objects.get(name="Acme").routing_version == version

    def test_again_it_is_quick(self, folder: Path, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
        seeded()
        with django_assert_max_num_queries(40):
            seeded()

    def test_it_leaves_alone_what_people_changed(self, folder: Path) -> None:
        seeded()
        Organization.objects.filter(name="Acme").update(settings={"default_model": "a/b"}, name="Acme Ltd")
        CustomMode.objects.all().delete()
        Membership.objects.filter(user__email="bob@example.com").update(role=Role.ADMIN)
        Credential.objects.update(is_enabled=False)
        seeded()
        assert Organization.objects.get(name="Acme Ltd").settings == {"default_model": "a/b"}
        assert Organization.objects.count() == 2
        assert not CustomMode.objects.exists()
        assert Membership.objects.get(user__email="bob@example.com").role == Role.ADMIN
        assert not Credential.objects.get().is_enabled

    def test_what_is_missing_is_made_again(self, folder: Path) -> None:
        first = seeded()
        bob, alice = User.objects.get(email="bob@example.com"), User.objects.get(email="alice@example.com")
        bob.delete()
        ApiKey.objects.filter(user=alice).delete()
        alice.set_password("another password")
        alice.is_active = False
        alice.save()
        Credential.objects.all().delete()
        again = seeded()
        assert enabled_credentials(Organization.objects.get(name="Acme").pk)["neuralwatt"]
        for person in again["users"]:
            assert authenticate(username=person["email"], password=person["password"]) is not None
            assert ApiKey.objects.filter(key_hash=key_hash(person["api_key"]), revoked_at=None).count() == 1
        kept = {"dave@example.com", "carol@example.com", "mallory@example.com"}
        assert [user for user in again["users"] if user["email"] in kept] == [
            user for user in first["users"] if user["email"] in kept
        ]

    def test_a_lost_file_means_new_keys_and_the_end_of_the_old_ones(self, folder: Path) -> None:
        first = seeded()
        other = ApiKeyFactory.create(user=User.objects.get(email="alice@example.com"))
        (folder / seed.FILE_NAME).unlink()
        again = seeded()
        for old, new in zip(first["users"], again["users"], strict=True):
            for field in ("api_key", "management_key"):
                assert old[field] != new[field]
                assert ApiKey.objects.get(key_hash=key_hash(old[field])).revoked_at is not None
                assert ApiKey.objects.get(key_hash=key_hash(new[field])).revoked_at is None
            assert authenticate(username=new["email"], password=new["password"]) is not None
        other.refresh_from_db()
        assert other.revoked_at is None
        assert AuditLog.objects.filter(action=AuditAction.API_KEY_REVOKED).count() == 12

    @pytest.mark.parametrize(
        "content", ["", "[]", "{", '{"people": 3}', '{"people": {"alice@example.com": {"api_key": 1}}}']
    )
    def test_a_file_that_is_not_ours(self, folder: Path, content: str) -> None:
        (folder / seed.FILE_NAME).write_text(content)
        assert len({person["api_key"] for person in seeded()["users"]}) == 5

    def test_the_file_is_for_this_user_only(self, folder: Path) -> None:
        demo = seeded()
        path = folder / seed.FILE_NAME
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [file.name for file in folder.iterdir()] == [seed.FILE_NAME]
        assert demo["users"][0]["api_key"] in path.read_text()

    def test_the_installations_encryption_key_is_another_one(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seeded()
        monkeypatch.setattr(seed, "keyring", lambda: ring)
        ring = Keyring.from_text(generate_key("new"))
        seeded()
        acme = Organization.objects.get(name="Acme")
        sealed = enabled_credentials(acme.pk)["neuralwatt"].sealed
        assert ring.decrypt(sealed, owner=SecretOwner.organization(acme.pk), provider_id="neuralwatt")
        assert AuditLog.objects.get(action=AuditAction.BYOK_REPLACED).organization == acme

    def test_nothing_is_kept_of_a_run_that_failed(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_args: object) -> None:
            raise OSError("the disk is full")

        monkeypatch.setattr(seed, "write_credentials", fail)
        with pytest.raises(OSError, match="disk"):
            run("seed_demo")
        assert not Organization.objects.exists()
        assert not User.objects.exists()

    def test_for_a_person(self, folder: Path) -> None:
        out, _ = run("seed_demo")
        demo = seeded()
        for person in (*demo["users"], demo["staff"]):
            assert person["email"] in out
            assert person["password"] in out
            assert person["api_key"] in out

    def test_into_a_real_installation(self, folder: Path, settings: Settings) -> None:
        OrganizationFactory.create(name="Acme")
        with pytest.raises(CommandError, match="--force"):
            run("seed_demo")
        assert not User.objects.exists()
        run("seed_demo", "--force")
        # Its own Acme beside the one that was there.
        assert Organization.objects.filter(name="Acme").count() == 2
        with pytest.raises(CommandError, match="--force"):
            run("seed_demo")
        settings.DEBUG = True
        run("seed_demo")

    def test_its_keys_work(self, folder: Path) -> None:
        demo = seeded()
        client = APIClient()
        ids = {row["name"]: row["id"] for row in demo["organizations"]}
        for person in demo["users"]:
            header = {"HTTP_AUTHORIZATION": f"Bearer {person['api_key']}"}
            answer = client.get(f"/api/organizations/{ids[person['organization']]}", **header)
            assert answer.json()["role"] == person["role"]
        mallory = {"HTTP_AUTHORIZATION": f"Bearer {demo['users'][-1]['api_key']}"}
        assert client.get(f"/api/organizations/{demo['organizations'][0]['id']}", **mallory).status_code == 404


class TestExplainRoute:
    def explain(self, *arguments: str) -> dict[str, Any]:
        out, _ = run("explain_route", "--organization", "Acme", "--json", *arguments)
        found: dict[str, Any] = json.loads(out)
        return found

    def test_it_works(self, folder: Path) -> None:
        demo = seeded()
        found = self.explain("--mode", "Build")
        assert found["organization"] == demo["organizations"][0]
        assert (found["model"], found["mode"], found["mode_source"]) == ("kilo-auto/org", "build", "header")
        assert (found["route"], found["target"], found["kind"]) == (
            "alias:build->code",
            "anthropic/claude-sonnet-5",
            "hosted",
        )
        assert found["resolved_models"] == ["anthropic/claude-sonnet-5"]
        assert (found["provider"], found["credential"], found["refusal"]) == (None, None, None)
        assert found["routing_version"] == Organization.objects.get(name="Acme").routing_version
        assert [step["name"] for step in found["steps"]][:2] == ["model", "mode"]

    def test_a_direct_target(self, folder: Path) -> None:
        seeded()
        found = self.explain("--model", "kilo-auto/org:local-docs", "--api-kind", "chat_completions")
        assert (found["kind"], found["provider"]) == ("direct", "neuralwatt")
        assert found["credential"] == str(Credential.objects.get().pk)
        refused = self.explain("--mode", "local-docs", "--api-kind", "messages")
        assert refused["refusal"]["code"] == "api_kind_not_supported"
        assert (refused["route"], refused["target"]) == ("exact:local-docs", "neuralwatt/demo-model")

    def test_a_model_asked_for_directly(self, folder: Path) -> None:
        seeded()
        found = self.explain("--model", "OpenAI/gpt-5-mini")
        assert (found["route"], found["target"]) == ("direct", "openai/gpt-5-mini")

    def test_the_policy_confines_a_model(self) -> None:
        OrganizationFactory.create(name="Acme", settings={"provider_allow_list": ["openai"]})
        found = self.explain("--model", "openai/gpt-5-mini")
        assert found["only_providers"] == {"openai/gpt-5-mini": ["openai"]}

    def test_for_a_person(self, folder: Path) -> None:
        demo = seeded()
        out, _ = run("explain_route", "--organization", demo["organizations"][0]["id"], "--mode", "docs-writer")
        assert out.startswith("Acme (enterprise), routing version ")
        assert "Route exact:docs-writer -> moonshotai/kimi-k3; served as moonshotai/kimi-k3\n" in out
        out, _ = run("explain_route", "--organization", "Globex")
        assert "Refused, organization_auto_not_available: Organization Auto is not available" in out

    def test_an_organization_that_is_none(self) -> None:
        for reference in ("Nowhere", "0efa1733-8d9b-588f-a4a0-7f3e721a7f85"):
            with pytest.raises(CommandError, match="no organization"):
                run("explain_route", "--organization", reference)
