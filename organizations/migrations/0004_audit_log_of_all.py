from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("organizations", "0003_staff_actions"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditlog",
            index=models.Index(fields=["-created_at"], name="audit_log_all_by_time"),
        ),
        migrations.AddIndex(
            model_name="auditlog",
            index=models.Index(fields=["action", "-created_at"], name="audit_log_all_by_action"),
        ),
        migrations.AddIndex(
            model_name="auditlog",
            index=models.Index(fields=["actor_email", "-created_at"], name="audit_log_all_by_actor"),
        ),
        migrations.AddIndex(
            model_name="auditlog",
            index=models.Index(fields=["target_id", "-created_at"], name="audit_log_all_by_target"),
        ),
    ]
