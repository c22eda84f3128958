"""Check that nobody rewrote the audit log."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from organizations.audit import verify_chain
from organizations.management.problems import named_organization
from organizations.models import AuditLog, Organization


class Command(BaseCommand):
    help = (
        "Walk the hash chain of every organization's audit log and name the first row of each that does not fit. "
        "With --verbosity 2 the last hash of each chain is shown: kept elsewhere, it proves that no row is missing at "
        "the end."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--organization", metavar="ID_OR_NAME", help="only this organization's chain")

    def handle(self, *_args: Any, **options: Any) -> None:
        rows = chains = broken = 0
        for organization_id, name in self._chains(options["organization"]):
            count, link = verify_chain(organization_id)
            chains += 1
            rows += count
            if link is not None:
                broken += 1
                self.stderr.write(f"{name}: row {link.sequence} (id {link.row_id}) does not fit: {link.reason}.")
            elif options["verbosity"] > 1 or options["organization"]:
                self.stdout.write(f"{name}: {count} rows, last hash {self._last_hash(organization_id) or 'none'}")
        if broken:
            raise CommandError(f"{broken} of {chains} chains of the audit log were changed.")
        self.stdout.write(f"The audit log is intact: {rows} rows in {chains} chains.")

    def _chains(self, reference: str | None) -> Iterator[tuple[UUID | None, str]]:
        if reference is not None:
            organization = named_organization(reference)
            yield organization.pk, f"{organization.name} ({organization.pk})"
            return
        yield None, "No organization"
        for pk, name in Organization.objects.order_by("created_at", "pk").values_list("pk", "name").iterator():
            yield pk, f"{name} ({pk})"

    def _last_hash(self, organization_id: UUID | None) -> str:
        chain = Q(organization_id=organization_id) if organization_id else Q(organization=None)
        return AuditLog.objects.filter(chain).order_by("-sequence").values_list("hash", flat=True).first() or ""
