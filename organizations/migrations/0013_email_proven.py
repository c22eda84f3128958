import django.utils.timezone
from django.apps.registry import Apps
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F, OuterRef, Subquery
from django.db.models.functions import Cast


def note_known(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Proven are the addresses of those whom the issuer has let in, and for whom staff answers, having made them.

    Of all other accounts nobody knows who made them: whoever had the link of an invitation could.
    """
    users = apps.get_model("organizations", "User").objects.filter(email_proven_at=None)
    connected = apps.get_model("socialaccount", "SocialAccount").objects.order_by("date_joined")
    since = connected.filter(user=OuterRef("pk")).values("date_joined")[:1]
    users.filter(pk__in=connected.values("user")).update(email_proven_at=Subquery(since))
    made = apps.get_model("organizations", "AuditLog").objects.filter(
        organization=None, action="user.created", target_kind="user", via__in=["admin", "command"]
    )
    by_staff = made.values_list(Cast("target_id", models.UUIDField()))
    users.filter(pk__in=by_staff).update(email_proven_at=F("created_at"))


class Migration(migrations.Migration):
    dependencies = [
        ("organizations", "0012_sign_in"),
        ("socialaccount", "0006_alter_socialaccount_extra_data"),
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
        migrations.RunPython(note_known, migrations.RunPython.noop),
    ]
