"""`manage.py rotate_credential_keys`: everything that is stored encrypted, sealed with the first of CREDENTIAL_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from byok.rotation import rotate


class Command(BaseCommand):
    help = (
        "Seals all stored provider keys and headers with the first key of CREDENTIAL_KEYS. It may run beside the "
        "server and may be stopped and started again. Exit code 1 when something cannot be opened by any key."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        """A key may be taken out of CREDENTIAL_KEYS once this ends without naming anything."""
        rotation = rotate()
        self.stdout.write(
            f'{rotation.resealed} sealed with the key "{rotation.key_id}", {rotation.current} were so already.'
        )
        for row in rotation.unreadable:
            owner = f"{row.owner.kind.value} {row.owner.id}"
            self.stderr.write(f"{row.table} {row.row_id} of {row.provider_id}, {owner}: {row.reason}.")
        if rotation.unreadable:
            raise CommandError(f"{len(rotation.unreadable)} cannot be opened; they were left as they are.")
