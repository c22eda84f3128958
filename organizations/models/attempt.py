"""Counted attempts at what may be tried only so often."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class Attempt(models.Model):
    """How often something was tried in the present window. `organizations.attempts` writes it, in one statement.

    In the database, because all processes and machines of an installation share it, and whoever cannot reach it cannot
    sign anybody in either.
    """

    # An HMAC of what is counted: the table tells neither addresses nor email addresses.
    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField()
    ends_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["ends_at"], name="attempt_by_end")]

    def __str__(self) -> str:
        return f"{self.count} until {self.ends_at}"
