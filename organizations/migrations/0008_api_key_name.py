from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("organizations", "0007_audit_log_in_sequence")]

    operations = [migrations.AlterModelOptions(name="apikey", options={"verbose_name": "API key"})]
