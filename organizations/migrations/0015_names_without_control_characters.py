from django.db import migrations, models

from organizations.models.names import without_control_characters


class Migration(migrations.Migration):
    dependencies = [
        ("organizations", "0014_hosted_balance_in_audit_log"),
    ]

    operations = [
        migrations.AlterField(
            model_name="apikey",
            name="name",
            field=models.CharField(max_length=100, validators=[without_control_characters]),
        ),
        migrations.AlterField(
            model_name="organization",
            name="name",
            field=models.CharField(max_length=100, validators=[without_control_characters]),
        ),
        migrations.AlterField(
            model_name="user",
            name="name",
            field=models.CharField(blank=True, max_length=150, validators=[without_control_characters]),
        ),
    ]
