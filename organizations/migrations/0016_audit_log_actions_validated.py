from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):
    """Reads the whole audit log under a lock that lets others read and write."""

    atomic = False

    dependencies = [
        ("organizations", "0015_names_without_control_characters"),
    ]

    operations = [
        ValidateConstraint(model_name="auditlog", name="audit_log_action_known"),
    ]
