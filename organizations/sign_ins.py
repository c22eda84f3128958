"""Signing in: how often it may be tried, and its rows in the audit log.

They belong to no organization: a sign-in is no act in one, and nobody who merely knows an email address may take the
lock on an organization's row. Staff reads them.
"""

from __future__ import annotations

from typing import Final

from django.db import transaction

from organizations import audit
from organizations.attempts import Limit, network_of
from organizations.models import AuditAction, User, Via

# Wrong passwords. The first stops who tries many accounts; the second who guesses at one, without locking the person
# out anywhere else; the third who guesses from many addresses. What the ones before have refused does not count for it,
# and it does not hold where the person has signed in lately: else anybody could keep him out.
_FROM_ADDRESS: Final = Limit("sign-in/address", 50, 300)
_OF_ACCOUNT_FROM_ADDRESS: Final = Limit("sign-in/account+address", 5, 300)
_OF_ACCOUNT: Final = Limit("sign-in/account", 100, 3600)
_KNOWN_ADDRESS: Final = Limit("sign-in/known", 1, 30 * 24 * 3600)
# The password or a code of somebody who is signed in, or has got the password right: six digits are soon guessed.
SECOND_FACTOR: Final = Limit("second-factor", 5, 300)
SECOND_FACTOR_OF_DAY: Final = Limit("second-factor/day", 100, 24 * 3600)
OWN_PASSWORD: Final = Limit("own-password", 10, 300)
# A code is good once: it counts as used for as long as it could be accepted.
USED_CODE: Final = Limit("second-factor/used", 1, 120)
RESET_FROM_ADDRESS: Final = Limit("reset/address", 20, 3600)
RESET_OF_ACCOUNT: Final = Limit("reset/account", 5, 3600)
# Strangers cause these rows, so there are only so many of them.
_TOLD_OF_ACCOUNT: Final = Limit("told/account", 10, 3600)
_TOLD_OF_STRANGERS: Final = Limit("told/strangers", 60, 3600)


def may_try_to_sign_in(email: str, address: str | None) -> bool:
    """Count one attempt with a password, and say whether it may be made: the same for accounts that there are not."""
    return all(limit.allows(subject) for limit, subject in _limits(email, address))


def forget_attempt(email: str, address: str | None) -> None:
    """The password was right: that attempt does not count. Those before it still do."""
    for limit, subject in _limits(email, address):
        limit.give_back(subject)
    _KNOWN_ADDRESS.allows(_place(email, address))


def _limits(email: str, address: str | None) -> list[tuple[Limit, str]]:
    """Those that hold for an attempt, in the order in which they are counted. One statement."""
    place = _place(email, address)
    limits = [(_FROM_ADDRESS, network_of(address)), (_OF_ACCOUNT_FROM_ADDRESS, place)]
    if not _KNOWN_ADDRESS.is_reached(place):
        limits.append((_OF_ACCOUNT, _account(email)))
    return limits


def _account(email: str) -> str:
    return email.strip().lower()


def _place(email: str, address: str | None) -> str:
    return f"{_account(email)}\0{network_of(address)}"


@transaction.atomic
def sign_in_record(*, user: User, address: str | None, means: str) -> None:
    """Note that a person has signed in, and by what means."""
    audit.record(
        AuditAction.USER_LOGIN,
        organization=None,
        actor=audit.Actor.of(user, Via.WEB, address),
        message=f"{user.email} signed in with {means}",
        changes={"means": (None, means)},
        target_kind="user",
        target_id=str(user.pk),
    )


@transaction.atomic
def sign_in_failure_record(*, email: str, address: str | None, means: str = "a password") -> None:
    """Note a sign-in that was refused, as long as there are not too many of them.

    What was typed is kept only when it is the address of an account: else it may be anything, a password too.
    """
    user = User.objects.filter(email=email.strip().lower()).first()
    if not (_TOLD_OF_STRANGERS.allows("all") if user is None else _TOLD_OF_ACCOUNT.allows(str(user.pk))):
        return
    whose = "an address that has no account" if user is None else user.email
    audit.record(
        AuditAction.USER_LOGIN_FAILED,
        organization=None,
        actor=audit.Actor(via=Via.WEB, address=address),
        message=f"Sign-in of {whose} with {means} failed",
        changes={"means": (None, means)},
        target_kind="user" if user else "",
        target_id=str(user.pk) if user else "",
    )
