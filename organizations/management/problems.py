"""What goes wrong in a command, as one line for the person who typed it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.management.base import CommandError

from organizations.models import Organization, User
from organizations.selectors import organization_by_reference


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn a validation error of a service into a `CommandError` that names each field."""
    try:
        yield
    except ValidationError as error:
        if hasattr(error, "error_dict"):
            text = " ".join(f"{field}: {' '.join(messages)}" for field, messages in error.message_dict.items())
        else:
            text = " ".join(error.messages)
        raise CommandError(text) from error


def named_organization(reference: str) -> Organization:
    """The organization with this id or exact name; raises `CommandError`."""
    try:
        return organization_by_reference(reference)
    except (ObjectDoesNotExist, Organization.MultipleObjectsReturned) as error:
        raise CommandError(str(error)) from error


def named_user(email: str) -> User:
    """The person with this email address; raises `CommandError`."""
    try:
        return User.objects.get_by_natural_key(email)
    except User.DoesNotExist as error:
        raise CommandError(f'There is no user with the email address "{email}".') from error
