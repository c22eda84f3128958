"""Create an organization and its first owner."""

from __future__ import annotations

import secrets
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import transaction

from organizations import audit
from organizations.management.problems import told_in_one_line
from organizations.models import Plan, Role, User
from organizations.services import organization_create

PASSWORD_BYTES = 18


class Command(BaseCommand):
    help = (
        "Create an organization with its first owner. The id is written to standard output, everything else to "
        "standard error. An owner whom nobody knows yet is created with a random password, shown once."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="what the organization is called")
        parser.add_argument("--owner", required=True, metavar="EMAIL", help="email address of the first owner")
        parser.add_argument("--owner-name", default="", metavar="NAME", help="name of an owner who is created")
        parser.add_argument("--plan", choices=Plan.values, default=Plan.TEAMS.value, help="default: %(default)s")

    def handle(self, *_args: Any, **options: Any) -> None:
        with told_in_one_line(), transaction.atomic():
            owner, password = self._owner(options["owner"], options["owner_name"])
            organization = organization_create(
                name=options["name"], plan=Plan(options["plan"]), owner=owner, actor=audit.COMMAND
            )
        self.stderr.write(
            f"Created {organization.name} ({organization.plan}); {owner.email} is its {Role.OWNER.label}.",
            style_func=str,
        )
        if password:
            self.stderr.write(f"{owner.email} is new and signs in with the password {password}", style_func=str)
        self.stdout.write(str(organization.pk))

    def _owner(self, email: str, name: str) -> tuple[User, str]:
        """The owner, and the password if he was created for it."""
        known = User.objects.filter(email=email.strip().lower()).first()
        if known is not None:
            return known, ""
        User(email=email.strip().lower(), name=name.strip()).clean_fields(exclude=["password"])
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        return User.objects.create_user(email, password, name=name.strip()), password
