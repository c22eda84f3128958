"""Signing in a command-line program: it shows a code, a person approves it in a browser, it takes its key once.

Whoever knows an approved code gets the key, so a code is random enough not to be guessed, lives ten minutes, and two
from its approval on; wrong guesses are counted. The key is made when it is taken: nothing that could be stolen lies in
the database.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils.crypto import salted_hmac

from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.secret import Secret
from organizations import audit
from organizations.api_keys import api_key_create
from organizations.attempts import Limit, network_of
from organizations.models import AuditAction, DeviceAuthorization, DeviceState, Scope, User, Via
from organizations.refusals import conflict
from organizations.services import lock_same_user, lock_user

# Consonants only: no letter looks like a digit, and no code is a word. Twelve of them are 51 bits.
ALPHABET: Final = "BCDFGHJKLMNPQRSTVWXZ"
CODE_LENGTH: Final = 12
GROUP: Final = 4
LIFETIME: Final = timedelta(minutes=10)
TIME_TO_TAKE: Final = timedelta(minutes=2)
MAX_PENDING: Final = 10
# Answered ones are kept for staff to look at; those that nobody answered are of no interest to anybody.
KEPT: Final = timedelta(days=30)
KEY_NAME: Final = "Kilo CLI"
KEY_LIFETIME: Final = timedelta(days=365)
_WRONG_CODES: Final = Limit("device-code", 30, 600)


@dataclass(frozen=True, slots=True)
class NewDeviceCode:
    """A code just made, for the program that asked; it is kept nowhere."""

    row: DeviceAuthorization
    code: Secret

    @property
    def link(self) -> str:
        """Where a person approves it. It holds the code."""
        return f"{settings.BASE_URL}/device-auth?code={self.code.reveal()}"


@dataclass(frozen=True, slots=True)
class Taken:
    """The key of an approved program, for it to keep."""

    user: User
    key: Secret


def device_authorization_create(*, address: str | None, client: str) -> NewDeviceCode:
    """Give a program a code, and forget what has run out.

    Raises:
        GatewayError: 429 while `MAX_PENDING` codes of the same address wait for an answer.
    """
    now, network = _now(), network_of(address)
    letters = "".join(secrets.choice(ALPHABET) for _ in range(CODE_LENGTH))
    code = Secret("-".join(letters[at : at + GROUP] for at in range(0, CODE_LENGTH, GROUP)))
    with transaction.atomic():
        # Two requests of one address come one after the other, so that neither overlooks the other.
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"device-authorization {network}"])
        _forget_old(now)
        pending = DeviceAuthorization.objects.filter(
            network=network, expires_at__gt=now, approved_at=None, denied_at=None
        )
        if pending.count() >= MAX_PENDING:
            raise GatewayError(
                ErrorType.RATE_LIMITED,
                429,
                "Too many sign-ins from this address wait for an answer. Answer them, or try again in ten minutes.",
                code="too_many_pending",
                headers={"Retry-After": str(int(LIFETIME.total_seconds()))},
            )
        row = DeviceAuthorization.objects.create(
            code_hash=_code_hash(code.reveal()),
            address=address,
            network=network,
            client="".join(c for c in client if c.isprintable())[:200],
            expires_at=now + LIFETIME,
        )
    return NewDeviceCode(row, code)


def device_authorization_take(*, code: str, address: str | None) -> Taken | DeviceState:
    """What the program learns: its key, once, after the approval; else how the code stands.

    A code that nobody knows counts as expired. Taking is one transaction under the lock of the row, so that of several
    takers one gets a key. Waiting costs one query.

    Raises:
        GatewayError: 429 after too many codes from one address that there are not.
    """
    row = _found(code, address)
    if row is None:
        return DeviceState.EXPIRED
    if row.state(_now()) is not DeviceState.APPROVED:
        return row.state(_now())
    with transaction.atomic():
        # The person before the code; who has approved it does not change any more.
        user = lock_user(row.user_id) if row.user_id is not None else None
        row = DeviceAuthorization.objects.select_for_update().get(pk=row.pk)
        state = row.state(_now())
        if state is not DeviceState.APPROVED or user is None:
            return state
        if not user.is_active:
            return DeviceState.DENIED
        made = api_key_create(
            user=user,
            name=KEY_NAME,
            scopes=[Scope.INFERENCE],
            actor=audit.Actor.of(user, Via.API, address),
            expires_at=_now() + KEY_LIFETIME,
        )
        row.taken_at, row.api_key = _now(), made.row
        row.save(update_fields=["taken_at", "api_key"])
    return Taken(user, made.secret)


def device_authorization_pending(*, code: str, address: str | None) -> DeviceAuthorization | None:
    """What a person is asked to approve; None when there is nothing (any more) to answer. One query.

    Raises:
        GatewayError: 429 after too many codes from one address that there are not.
    """
    row = _found(code, address)
    return row if row is not None and row.state(_now()) is DeviceState.PENDING else None


def device_authorization_answer(*, code: str, user: User, address: str | None, approve: bool) -> DeviceAuthorization:
    """Let the program act for this person, or not. An approval is noted in the audit log.

    Raises:
        GatewayError: 409 `not_pending` when there is nothing (any more) to answer; 429 as above; 401 `signed_out` when
            the person's access has ended since he was let in.
    """
    found = _found(code, address)
    with transaction.atomic():
        lock_same_user(user)
        row = DeviceAuthorization.objects.select_for_update().filter(pk=found.pk).first() if found else None
        now = _now()
        if row is None or row.state(now) is not DeviceState.PENDING:
            raise conflict("This code is not waiting for an answer any more.", code="not_pending")
        row.user = user
        if approve:
            row.approved_at, row.expires_at = now, now + TIME_TO_TAKE
            audit.record(
                AuditAction.DEVICE_AUTH_APPROVED,
                organization=None,
                actor=audit.Actor.of(user, Via.WEB, address),
                message=f'Sign-in of "{row}" at {row.address or "an unknown address"} approved by {user.email}',
                changes={"client": (None, row.client), "address": (None, row.address)},
                target_kind="device_authorization",
                target_id=str(row.pk),
            )
        else:
            row.denied_at = now
        row.save(update_fields=["user", "approved_at", "denied_at", "expires_at"])
    return row


def normal_code(code: str) -> str:
    """A code as it is shown, however it was typed; blank for what cannot be one."""
    letters = "".join(c for c in code[:100].upper() if c not in "- ")
    if len(letters) != CODE_LENGTH or not set(letters) <= set(ALPHABET):
        return ""
    return "-".join(letters[at : at + GROUP] for at in range(0, CODE_LENGTH, GROUP))


def _found(code: str, address: str | None) -> DeviceAuthorization | None:
    network = network_of(address)
    if _WRONG_CODES.is_reached(network):
        raise GatewayError(
            ErrorType.RATE_LIMITED,
            429,
            "Too many codes from this address that there are not. Try again in ten minutes.",
            code="too_many_wrong_codes",
            headers={"Retry-After": str(_WRONG_CODES.seconds)},
        )
    normal = normal_code(code)
    row = DeviceAuthorization.objects.filter(code_hash=_code_hash(normal)).first() if normal else None
    if row is None:
        _WRONG_CODES.allows(network)
    return row


def _code_hash(code: str) -> bytes:
    return salted_hmac("organizations.device_authorization", code, algorithm="sha256").digest()


def _forget_old(now: datetime) -> None:
    unanswered = Q(expires_at__lt=now - LIFETIME, approved_at=None, denied_at=None)
    old = DeviceAuthorization.objects.filter(unanswered | Q(expires_at__lt=now - KEPT)).order_by("expires_at")
    DeviceAuthorization.objects.filter(pk__in=old.select_for_update(skip_locked=True).values("pk")[:200]).delete()


def _now() -> datetime:
    return datetime.now(UTC)
