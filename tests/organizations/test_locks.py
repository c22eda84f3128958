"""What happens at the same time to a person, and in which order locks are taken.

Who comes first is decided by a lock that the test holds until the others wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from django.db import connection, connections, transaction
from django.test import Client

from byok.encryption import SecretOwner
from byok.models import Credential
from byok.services.credentials import credential_create
from kilo_gateway.api_errors import GatewayError
from kilo_gateway.secret import Secret
from organizations import audit
from organizations.acting import Acting
from organizations.audit import COMMAND, Actor, verify_chain
from organizations.device_authorization import (
    device_authorization_answer,
    device_authorization_create,
    device_authorization_take,
)
from organizations.member_keys import member_key_create
from organizations.members import invitation_create, invitation_register, invited_person_create
from organizations.models import (
    ApiKey,
    AuditAction,
    DeviceAuthorization,
    DeviceState,
    Membership,
    Organization,
    Role,
    Scope,
    User,
    Via,
)
from organizations.services import lock_organization, lock_user
from organizations.users import user_email_prove, user_password_reset
from tests.e2e.lab import eventually
from tests.e2e.scripted import Line, ScriptedUpstream
from tests.factories import ApiKeyFactory, MembershipFactory, OrganizationFactory, UserFactory
from tests.organizations.admin.helpers import run_action

pytestmark = pytest.mark.usefixtures("committed_db")

ADDRESS = "192.0.2.1"
KEY = "sk-canary-of-a-squatter-abcd"
_WAITING = (
    "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
    " AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
)


@dataclass
class Beside:
    """A job in a thread of its own, with connections of its own; `came_to` is `done` or the code of its refusal."""

    job: Callable[[], object]
    came_to: str = ""
    failures: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.job()
            self.came_to = "done"
        except GatewayError as error:
            self.came_to = error.code
        except Exception as error:
            self.failures.append(error)
        finally:
            connections.close_all()

    def end(self) -> str:
        self._thread.join(20)
        assert not self.failures, self.failures
        return self.came_to


def waiting(number: int) -> None:
    """Return when so many connections wait for a lock."""

    def are() -> bool:
        with connection.cursor() as cursor:
            # Else a transaction sees the connections that there were at its first look.
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(_WAITING)
            return bool(cursor.fetchone()[0] >= number)

    assert eventually(are, 10)


@contextmanager
def holding(*locks: Callable[[], object]) -> Iterator[None]:
    with transaction.atomic():
        for lock in locks:
            lock()
        yield


def note() -> None:
    """What takes the chain without an organization."""
    audit.record(AuditAction.CATALOG_SYNCED, organization=None, actor=COMMAND, message="noted")


def by(user: User) -> Actor:
    return Actor.of(user, Via.WEB, ADDRESS)


@pytest.fixture
def alice(committed_db: None) -> User:
    """As a squatter is let in: nobody has shown yet whose address it is."""
    user: User = UserFactory.create(email="alice@example.com", email_proven_at=None)
    return user


@pytest.fixture
def organization(alice: User) -> Organization:
    membership: Membership = MembershipFactory.create(user=alice, role=Role.OWNER)
    return membership.organization


def prove() -> None:
    user = User.objects.get(email="alice@example.com")
    user_email_prove(user=user, actor=by(user))


class TestWhatIsUnderWayWhenTheAddressIsProven:
    @pytest.fixture
    def provider(self, settings: Any) -> Iterator[ScriptedUpstream]:
        with ScriptedUpstream() as upstream:
            settings.PROVIDER_BASE_URLS = {"openai-byok": f"{upstream.base_url}/v1"}
            yield upstream

    def test_a_provider_key_whose_models_are_being_read(self, alice: User, provider: ScriptedUpstream) -> None:
        asked, proven = threading.Event(), threading.Event()

        def script(line: Line) -> None:
            asked.set()
            proven.wait(10)
            line.answer_json({"data": [{"id": "gpt-5"}]})

        provider.script = script
        storing = Beside(
            lambda: credential_create(
                owner=SecretOwner.user(alice.pk),
                acting=Acting(by(alice), alice),
                provider_id="openai-byok",
                api_key=KEY,
            )
        )
        assert asked.wait(10)
        prove()
        proven.set()
        assert storing.end() == "signed_out"
        assert not Credential.objects.exists()

    def test_an_api_key_that_is_being_made(self, alice: User, organization: Organization) -> None:
        def make() -> None:
            member_key_create(
                organization_id=organization.pk, acting=Acting(by(alice), alice), name="x", scopes=[Scope.INFERENCE]
            )

        with holding(lambda: lock_organization(organization.pk)):
            making = Beside(make)
            waiting(1)
            proving = Beside(prove)
            # It waits for the one who makes the key; else it would be done by now, and have found none.
            waiting(2)
        assert (making.end(), proving.end()) == ("done", "done")
        assert ApiKey.objects.get().revoked_at is not None
        assert Beside(make).end() == "signed_out"
        assert ApiKey.objects.count() == 1

    def test_a_program_that_is_being_let_in(self, alice: User) -> None:
        made = device_authorization_create(address=ADDRESS, client="kilo")
        code = made.code.reveal()

        def approve() -> None:
            device_authorization_answer(code=code, user=alice, address=ADDRESS, approve=True)

        with holding(lambda: DeviceAuthorization.objects.select_for_update().get(pk=made.row.pk)):
            approving = Beside(approve)
            waiting(1)
            proving = Beside(prove)
            waiting(2)
        assert (approving.end(), proving.end()) == ("done", "done")
        assert device_authorization_take(code=code, address=ADDRESS) is DeviceState.DENIED
        assert not ApiKey.objects.exists()

    def test_a_program_that_is_let_in_afterwards(self, alice: User) -> None:
        code = device_authorization_create(address=ADDRESS, client="kilo").code.reveal()
        prove()
        with pytest.raises(GatewayError, match="has ended"):
            device_authorization_answer(code=code, user=alice, address=ADDRESS, approve=True)
        assert device_authorization_take(code=code, address=ADDRESS) is DeviceState.PENDING

    def test_a_password_that_is_being_set(self, alice: User) -> None:
        alice.set_password("a few words in a row")
        alice.save()
        theirs, answers = Client(), []
        theirs.force_login(alice)
        words = {"password1": "quite another few words", "password2": "quite another few words"}
        with holding(prove):
            setting = Beside(
                lambda: answers.append(
                    theirs.post("/accounts/password", {"oldpassword": "a few words in a row", **words})
                )
            )
            waiting(1)
        assert setting.end() == "done"
        assert answers[0]["Location"] == "/accounts/login"
        alice.refresh_from_db()
        assert not alice.has_usable_password()
        assert theirs.get("/account").status_code == 302

    def test_two_links_at_once_end_it_once(self, alice: User) -> None:
        """The second finds the address proven, and a key that the owner has made by then stays."""
        first, second = User.objects.get(), User.objects.get()
        user_password_reset(user=first, password=Secret("quite another few words"), actor=by(first))
        key = ApiKeyFactory.create(user=alice)
        user_password_reset(user=second, password=Secret("quite another few words"), actor=by(second))
        key.refresh_from_db()
        assert key.revoked_at is None

    def test_who_is_shut_out_meanwhile(self, alice: User, organization: Organization) -> None:
        User.objects.update(is_active=False)
        with pytest.raises(GatewayError, match="has ended"):
            member_key_create(
                organization_id=organization.pk, acting=Acting(by(alice), alice), name="x", scopes=[Scope.INFERENCE]
            )


class TestOrder:
    """Person, organizations, then the chain without an organization: nobody waits in a circle."""

    def test_of_who_comes_by_an_invitation(self) -> None:
        organization = OrganizationFactory.create()
        made = invitation_create(
            organization_id=organization.pk, acting=Acting(COMMAND), email="erin@example.com", role=Role.MEMBER
        )
        token = made.token.reveal()
        # As a change of the auto tiers does: the organizations first, then its audit row.
        with holding(lambda: lock_organization(organization.pk)):
            joining = Beside(
                lambda: invitation_register(token=token, name="Erin", password=Secret("a few words"), address=ADDRESS)
            )
            waiting(1)
            note()
        assert joining.end() == "done"
        assert Membership.objects.get().user.email == "erin@example.com"
        assert verify_chain(None) == (2, None)

    def test_of_who_comes_by_the_issuer(self) -> None:
        organizations = sorted(OrganizationFactory.create_batch(2), key=lambda organization: organization.pk)
        for organization in organizations:
            invitation_create(
                organization_id=organization.pk, acting=Acting(COMMAND), email="erin@example.com", role=Role.MEMBER
            )
        with holding(lambda: lock_organization(organizations[1].pk)):
            joining = Beside(lambda: invited_person_create(email="erin@example.com", name="Erin", address=ADDRESS))
            waiting(1)
            note()
        assert joining.end() == "done"
        assert Membership.objects.count() == 2

    def test_of_several_second_factors(self) -> None:
        staff = UserFactory.create(is_staff=True)
        people = sorted(UserFactory.create_batch(2), key=lambda person: person.pk)
        for person in people:
            TOTP.activate(person, generate_totp_secret())
        page = Client()
        page.force_login(staff)
        with holding(lambda: lock_user(people[1].pk)):
            removing = Beside(
                lambda: run_action(page, "organizations_user", "remove_second_factor", people, confirmed="yes")
            )
            waiting(1)
            note()
        assert removing.end() == "done"
        assert not Authenticator.objects.exists()

    def test_of_a_proof_and_another_change_of_the_person(self, alice: User) -> None:
        ApiKeyFactory.create(user=alice)
        with holding(lambda: lock_user(alice.pk)):
            proving = Beside(prove)
            waiting(1)
            note()
        assert proving.end() == "done"
        assert ApiKey.objects.get().revoked_at is not None
