"""Roll-ups are kept by a trigger, and those of the records that are there already are made in the same transaction.

Creating the trigger keeps everybody from inserting until the commit, so that no record is left out or counted twice.
"""

from __future__ import annotations

from django.db import migrations

COLUMNS = """organization_id, grain, day, user_id, mode, resolved_model, error_type,
    requests, failed_requests, cancelled_requests, byok_requests, unpriced_requests,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens,
    hosted_cost_microdollars, market_cost_microdollars, byok_market_cost_microdollars,
    duration_ms, first_byte_requests, first_byte_ms"""

# `grouping` tells the grain: a bit for each of member, mode, model and error that the row is not about.
SUMMED_UP = """
SELECT organization_id,
    CASE grouping(user_id, record_mode, resolved_model, error)
        WHEN 1 THEN 'detail' WHEN 6 THEN 'error' WHEN 7 THEN 'member' WHEN 11 THEN 'mode' WHEN 13 THEN 'model'
        WHEN 15 THEN 'day' END,
    day, user_id, coalesce(record_mode, ''), coalesce(resolved_model, ''), coalesce(error, ''),
    count(*), count(*) FILTER (WHERE status >= 400), count(*) FILTER (WHERE cancelled),
    count(*) FILTER (WHERE is_byok), count(*) FILTER (WHERE status < 400 AND market_cost_microdollars IS NULL),
    coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), coalesce(sum(cache_read_tokens), 0),
    coalesce(sum(cache_write_tokens), 0), coalesce(sum(reasoning_tokens), 0),
    coalesce(sum(hosted_cost_microdollars), 0), coalesce(sum(market_cost_microdollars), 0),
    coalesce(sum(market_cost_microdollars) FILTER (WHERE is_byok), 0),
    sum(duration_ms), count(time_to_first_byte_ms), coalesce(sum(time_to_first_byte_ms), 0)
FROM (
    SELECT *, (created_at AT TIME ZONE 'UTC')::date AS day, left(mode, 100) AS record_mode,
        CASE WHEN status >= 400 OR error_type <> '' THEN error_type END AS error FROM {source}) AS records
GROUP BY organization_id, day, GROUPING SETS (
    (), (record_mode), (resolved_model), (user_id), (user_id, error), (user_id, record_mode, resolved_model))
HAVING grouping(error) = 1 OR error IS NOT NULL
"""

# Rows are locked in the one order that all writers have, so that they wait for each other and never in a circle.
TRIGGER = f"""
CREATE FUNCTION kilo_roll_up_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO routing_usagerollup AS kept ({COLUMNS})
    {SUMMED_UP.format(source="added")}
    ORDER BY 1, 2, 3, 4, 5, 6, 7
    ON CONFLICT (organization_id, grain, day, user_id, mode, resolved_model, error_type) DO UPDATE SET
        requests = kept.requests + excluded.requests,
        failed_requests = kept.failed_requests + excluded.failed_requests,
        cancelled_requests = kept.cancelled_requests + excluded.cancelled_requests,
        byok_requests = kept.byok_requests + excluded.byok_requests,
        unpriced_requests = kept.unpriced_requests + excluded.unpriced_requests,
        input_tokens = kept.input_tokens + excluded.input_tokens,
        output_tokens = kept.output_tokens + excluded.output_tokens,
        cache_read_tokens = kept.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_tokens = kept.cache_write_tokens + excluded.cache_write_tokens,
        reasoning_tokens = kept.reasoning_tokens + excluded.reasoning_tokens,
        hosted_cost_microdollars = kept.hosted_cost_microdollars + excluded.hosted_cost_microdollars,
        market_cost_microdollars = kept.market_cost_microdollars + excluded.market_cost_microdollars,
        byok_market_cost_microdollars = kept.byok_market_cost_microdollars + excluded.byok_market_cost_microdollars,
        duration_ms = kept.duration_ms + excluded.duration_ms,
        first_byte_requests = kept.first_byte_requests + excluded.first_byte_requests,
        first_byte_ms = kept.first_byte_ms + excluded.first_byte_ms;
    RETURN NULL;
END
$$;
CREATE TRIGGER routing_usagerecord_rolled_up AFTER INSERT ON routing_usagerecord
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION kilo_roll_up_usage();
-- Today's rows are updated again and again: with room on their pages, no index has to know.
ALTER TABLE routing_usagerollup SET (fillfactor = 60);
"""
BACKFILL = f"INSERT INTO routing_usagerollup ({COLUMNS}) {SUMMED_UP.format(source='routing_usagerecord')}"
BACK = """
DROP TRIGGER routing_usagerecord_rolled_up ON routing_usagerecord;
DROP FUNCTION kilo_roll_up_usage();
TRUNCATE routing_usagerollup;
"""


class Migration(migrations.Migration):
    dependencies = [("routing", "0005_usage_rollup")]
    operations = [migrations.RunSQL([TRIGGER, BACKFILL], BACK)]
