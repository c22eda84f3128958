import uuid

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("organizations", "0011_byok_discovered_in_audit_log"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="sessions_ended",
            field=models.PositiveIntegerField(default=0, editable=False),
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("count", models.PositiveIntegerField()),
                ("ends_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["ends_at"], name="attempt_by_end")],
            },
        ),
        migrations.CreateModel(
            name="DeviceAuthorization",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("code_hash", models.BinaryField(max_length=32)),
                ("address", models.GenericIPAddressField(null=True)),
                ("network", models.CharField(max_length=50)),
                ("client", models.CharField(blank=True, help_text="What the program calls itself.", max_length=200)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("expires_at", models.DateTimeField()),
                ("approved_at", models.DateTimeField(blank=True, null=True)),
                ("denied_at", models.DateTimeField(blank=True, null=True)),
                ("taken_at", models.DateTimeField(blank=True, null=True)),
                (
                    "api_key",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="organizations.apikey",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        blank=True,
                        help_text="Who approved or denied it.",
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="device_authorizations",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["network", "expires_at"], name="device_authorization_pending"),
                    models.Index(fields=["expires_at"], name="device_authorization_by_end"),
                    models.Index(fields=["-created_at"], name="device_authorization_by_time"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("code_hash",), name="device_authorization_code_unique"),
                    models.CheckConstraint(
                        condition=models.Q(("approved_at__isnull", True), ("denied_at__isnull", True), _connector="OR"),
                        name="device_authorization_one_answer",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("approved_at__isnull", True), ("denied_at__isnull", True)),
                            ("user__isnull", False),
                            _connector="OR",
                        ),
                        name="device_authorization_answered_by",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("taken_at__isnull", True), ("approved_at__isnull", False), _connector="OR"),
                        name="device_authorization_taken_approved",
                    ),
                ],
            },
        ),
    ]
