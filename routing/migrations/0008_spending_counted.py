"""What was spent in the current month of UTC before it was counted, so that a limit which is set now counts it too.

Usage that is written while this runs, by a process of the former version, is not counted.
"""

from __future__ import annotations

from django.db import migrations

# The latest day of the month on which something was spent, with what was spent on it, and the month.
SPENT = """
SELECT {owner}, day,
    coalesce(sum(cost) FILTER (WHERE spent_on = day), 0), date_trunc('month', day)::date, sum(cost)
FROM (
    SELECT organization_id, user_id, hosted_cost_microdollars AS cost,
        (created_at AT TIME ZONE 'UTC')::date AS spent_on,
        max((created_at AT TIME ZONE 'UTC')::date) OVER (PARTITION BY {owner}) AS day
    FROM routing_usagerecord
    WHERE hosted_cost_microdollars > 0
        AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
) AS records
JOIN organizations_organization ON id = organization_id
GROUP BY {owner}, day
"""
COUNTED = "day, day_spent_microdollars, month, month_spent_microdollars"
TAKEN = """
day = excluded.day, day_spent_microdollars = excluded.day_spent_microdollars,
month = excluded.month, month_spent_microdollars = excluded.month_spent_microdollars
"""
COUNT = f"""
INSERT INTO routing_hostedbalance (organization_id, {COUNTED}, updated_at)
SELECT *, now() FROM ({SPENT.format(owner="organization_id")}) AS spent
ON CONFLICT (organization_id) DO UPDATE SET {TAKEN};

INSERT INTO routing_memberspending (organization_id, user_id, {COUNTED})
{SPENT.format(owner="organization_id, user_id")}
ON CONFLICT (organization_id, user_id) DO UPDATE SET {TAKEN};
"""


class Migration(migrations.Migration):
    dependencies = [("routing", "0007_spending_limits")]

    operations = [migrations.RunSQL(COUNT, migrations.RunSQL.noop)]
