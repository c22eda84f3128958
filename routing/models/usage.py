"""What was used and what it cost. Amounts are whole microdollars (millionths of a US dollar)."""

from __future__ import annotations

from typing import ClassVar, Final

from django.db import models
from django.db.models import Q
from django.db.models.functions import Greatest

# When a record was made, for whoever reads the records of all organizations in order. An index on the plain column
# would tempt the planner to read one organization's in order too: through everybody else's, since neighbours in time
# are neighbours on the disk. It cannot know that this is the same.
MOMENT_OF_ALL: Final = Greatest("created_at", "created_at")


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
            models.Index(fields=["organization_id", "user_id", "-created_at"], name="usage_record_by_member"),
            models.Index(MOMENT_OF_ALL, name="usage_record_of_all"),
        ]

    def __str__(self) -> str:
        return str(self.request_id)


class UsageGrain(models.TextChoices):
    """What one row of the roll-ups is about, beside the organization and the day."""

    DAY = "day", "All of the day"
    MODE = "mode", "A mode"
    MODEL = "model", "A model"
    MEMBER = "member", "A member"
    ERROR = "error", "A member and a kind of error"
    DETAIL = "detail", "A member, a mode and a model"


class UsageRollup(models.Model):
    """The usage records of an organization (or of none) and a day of UTC, summed up; outlives the records.

    A trigger on the records adds to these rows in the statement that inserts the records, whoever does it: both are
    there or neither is. Each record counts once in each grain; what a grain is not about is blank or null.
    """

    organization_id = models.UUIDField(null=True)
    grain = models.CharField(max_length=10, choices=UsageGrain)
    day = models.DateField()
    user_id = models.UUIDField(null=True)
    mode = models.CharField(max_length=100, blank=True, help_text="As the client said it, cut to a hundred characters.")
    resolved_model = models.CharField(max_length=200, blank=True)
    error_type = models.CharField(max_length=60, blank=True)
    requests = models.BigIntegerField()
    failed_requests = models.BigIntegerField(help_text="Answered with a status of 400 or more.")
    cancelled_requests = models.BigIntegerField()
    byok_requests = models.BigIntegerField()
    unpriced_requests = models.BigIntegerField(help_text="Answered, and nobody knows the price.")
    input_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    cache_read_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    hosted_cost_microdollars = models.BigIntegerField()
    market_cost_microdollars = models.BigIntegerField()
    byok_market_cost_microdollars = models.BigIntegerField()
    duration_ms = models.BigIntegerField(help_text="Of all requests together.")
    first_byte_requests = models.BigIntegerField(help_text="Those of which the time to the first byte is known.")
    first_byte_ms = models.BigIntegerField(help_text="Of those together.")

    class Meta:
        constraints: ClassVar = [
            # In this order: a range of days of one grain is one piece of its index.
            models.UniqueConstraint(
                fields=["organization_id", "grain", "day", "user_id", "mode", "resolved_model", "error_type"],
                name="usage_rollup_unique",
                nulls_distinct=False,
            ),
            models.CheckConstraint(condition=Q(grain__in=UsageGrain.values), name="usage_rollup_grain_known"),
            models.CheckConstraint(condition=Q(requests__gt=0), name="usage_rollup_not_empty"),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["organization_id", "user_id", "day"],
                name="usage_rollup_of_member",
                condition=Q(grain=UsageGrain.DETAIL),
            )
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.grain}"
