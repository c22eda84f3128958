import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Of the accounts that there are nobody knows who made them: their addresses count as not proven."""

    dependencies = [
        ("organizations", "0012_sign_in"),
    ]

    operations = [
        migrations.AddField(
            model_name="user",
            name="email_proven_at",
            field=models.DateTimeField(null=True, editable=False),
        ),
        migrations.AlterField(
            model_name="user",
            name="email_proven_at",
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False, null=True),
        ),
    ]
