"""Create an API key for a person."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from organizations import audit
from organizations.api_keys import api_key_create
from organizations.management.problems import named_organization, named_user, told_in_one_line
from organizations.models import Membership, Organization, Scope, User


class Command(BaseCommand):
    help = (
        "Create an API key. The key is written to standard output, once: the database keeps only its hash. "
        "Everything else is written to standard error."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--user", required=True, metavar="EMAIL", help="whose key it is")
        parser.add_argument("--name", default="created at the command line", help="default: %(default)s")
        parser.add_argument("--organization", metavar="ID_OR_NAME", help="the organization it always acts for")
        parser.add_argument(
            "--scope",
            action="append",
            choices=Scope.values,
            dest="scopes",
            help=f"what it is for; may be repeated (default: {Scope.INFERENCE.value})",
        )
        parser.add_argument("--default-mode", default="", metavar="SLUG", help="for clients that cannot send one")
        parser.add_argument("--expires-in-days", type=int, metavar="DAYS", help="default: never")

    def handle(self, *_args: Any, **options: Any) -> None:
        user = named_user(options["user"])
        organization = self._organization(user, options["organization"])
        with told_in_one_line():
            made = api_key_create(
                user=user,
                name=options["name"],
                scopes=[Scope(scope) for scope in options["scopes"] or [Scope.INFERENCE]],
                actor=audit.COMMAND,
                organization=organization,
                default_mode=options["default_mode"],
                expires_at=self._expiry(options["expires_in_days"]),
            )
        acts_for = f"acting for {organization.name}" if organization else "bound to no organization"
        self.stderr.write(f'Created the API key "{made.row.name}" of {user.email}, {acts_for}.', style_func=str)
        self.stdout.write(made.secret.reveal())

    def _organization(self, user: User, reference: str | None) -> Organization | None:
        if reference is None:
            return None
        organization = named_organization(reference)
        if not Membership.objects.filter(user=user, organization=organization).exists():
            raise CommandError(f"{user.email} is not a member of {organization.name}.")
        return organization

    def _expiry(self, days: int | None) -> datetime | None:
        if days is None:
            return None
        if days < 1:
            raise CommandError("--expires-in-days must be at least 1.")
        try:
            return datetime.now(UTC) + timedelta(days=days)
        except OverflowError:
            raise CommandError("--expires-in-days is too many.") from None
