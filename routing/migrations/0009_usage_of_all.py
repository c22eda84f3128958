"""One index of the records of all organizations that no list of one organization's can be read by."""

from __future__ import annotations

from django.db import migrations, models
from django.db.models.functions import Greatest


class Migration(migrations.Migration):
    dependencies = [("routing", "0008_spending_counted")]

    operations = [
        migrations.RemoveIndex(model_name="usagerecord", name="usage_record_created"),
        migrations.AddIndex(
            model_name="usagerecord",
            index=models.Index(Greatest("created_at", "created_at"), name="usage_record_of_all"),
        ),
    ]
