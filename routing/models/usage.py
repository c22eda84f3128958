"""What was used and what it cost. Amounts are whole microdollars (millionths of a US dollar)."""

from __future__ import annotations

from typing import ClassVar

from django.db import models


class HostedBalance(models.Model):
    """What an organization may still spend on hosted models. No row: no limit is kept for it.

    A table of its own, so that settling usage never waits for, or holds, the lock on the organization's row.
    """

    organization = models.OneToOneField(
        "organizations.Organization", on_delete=models.CASCADE, primary_key=True, related_name="hosted_balance"
    )
    balance_microdollars = models.BigIntegerField()
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.balance_microdollars} microdollars"


class UsageRecord(models.Model):
    """One request that reached resolution; never a word of its prompt or its answer.

    Written in batches, much and often: what it names is kept as plain ids, so that an insert takes no lock on the rows
    it names and the record outlives them.
    """

    request_id = models.UUIDField()
    created_at = models.DateTimeField()
    organization_id = models.UUIDField(null=True)
    user_id = models.UUIDField()
    api_key_id = models.UUIDField(null=True)
    api_kind = models.CharField(max_length=20)
    requested_model = models.CharField(max_length=200)
    auto_model = models.CharField(max_length=200, blank=True)
    mode = models.CharField(max_length=500, blank=True)
    route_kind = models.CharField(max_length=10, blank=True)
    route = models.CharField(max_length=1100, blank=True)
    target = models.CharField(max_length=200, blank=True)
    resolved_model = models.CharField(max_length=200, blank=True)
    provider = models.CharField(max_length=60, blank=True, help_text="The upstream that served it.")
    is_byok = models.BooleanField(default=False)
    credential_id = models.UUIDField(null=True)
    streamed = models.BooleanField(default=False)
    cancelled = models.BooleanField(default=False)
    status = models.PositiveSmallIntegerField()
    error_type = models.CharField(max_length=60, blank=True)
    input_tokens = models.PositiveBigIntegerField(null=True)
    output_tokens = models.PositiveBigIntegerField(null=True)
    cache_read_tokens = models.PositiveBigIntegerField(null=True)
    cache_write_tokens = models.PositiveBigIntegerField(null=True)
    reasoning_tokens = models.PositiveBigIntegerField(null=True)
    hosted_cost_microdollars = models.BigIntegerField(null=True)
    market_cost_microdollars = models.BigIntegerField(null=True)
    time_to_first_byte_ms = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField()
    task_id = models.CharField(max_length=500, blank=True)
    editor = models.CharField(max_length=500, blank=True)
    feature = models.CharField(max_length=500, blank=True)
    routing_version = models.PositiveBigIntegerField(null=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["request_id"], name="usage_record_request_unique")]
        indexes: ClassVar = [
            models.Index(fields=["organization_id", "-created_at"], name="usage_record_by_time"),
            models.Index(fields=["created_at"], name="usage_record_created"),
        ]

    def __str__(self) -> str:
        return str(self.request_id)
