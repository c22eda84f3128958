"""Rows of the audit log and of the settings history are only ever added: the database itself refuses anything else."""

from __future__ import annotations

from django.db import migrations

TABLES = ("organizations_auditlog", "organizations_settingsversion")

CREATE = """
CREATE FUNCTION kilo_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are append-only: % is refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
""" + "".join(
    f"""
CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION kilo_refuse_change();
CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION kilo_refuse_change();
"""
    for table in TABLES
)

DROP = (
    "".join(
        f"DROP TRIGGER {table}_append_only ON {table}; DROP TRIGGER {table}_no_truncate ON {table};" for table in TABLES
    )
    + "DROP FUNCTION kilo_refuse_change();"
)


class Migration(migrations.Migration):
    dependencies = [("organizations", "0001_initial")]
    operations = [migrations.RunSQL(CREATE, DROP)]
