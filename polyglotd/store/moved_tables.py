"""Which tables of the SQLite databases go where in PostgreSQL, but for the events. Data for `moving`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString


@dataclass(frozen=True, slots=True)
class Moved:
    select: str  # in SQLite
    insert: LiteralString  # a row of it, in PostgreSQL
    moments: Sequence[int] = ()  # columns that are µs there and timestamptz here
    after: LiteralString = ""


REGISTRY_TABLES = (
    Moved(
        "SELECT app_id, name, suspended, limits, kinds, created_us FROM apps",
        "INSERT INTO polyglot.apps (app_id, name, suspended, limits, kinds, created) "
        "VALUES (%s, %s, %s::int::boolean, %s::jsonb, %s::jsonb, %s)",
        (5,),
    ),
    Moved("SELECT app_id, deleted_us FROM deleted_apps", "INSERT INTO polyglot.deleted_apps VALUES (%s, %s)", (1,)),
    Moved(
        "SELECT key_id, app_id, digest, scopes, name, created_us, expires_us, revoked_us FROM keys",
        "INSERT INTO polyglot.keys (key_id, app_id, digest, scopes, name, created, expires, revoked) "
        "VALUES (%s, %s, %s, %s::jsonb, %s, %s, %s, %s)",
        (5, 6, 7),
    ),
    Moved(
        "SELECT secret_id, app_id, algorithm, material, created_us, revoked_us FROM secrets",
        "INSERT INTO polyglot.secrets (secret_id, app_id, algorithm, material, created, revoked) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (4, 5),
    ),
    Moved(
        "SELECT endpoint_id, app_id, url, types, channels, event_types, secrets, name, enabled, disabled_why, "
        "created_us, since_us FROM webhooks",
        "INSERT INTO polyglot.webhooks (endpoint_id, app_id, url, types, channels, event_types, secrets, name, "
        "enabled, disabled_why, created, since) VALUES "
        "(%s, %s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s::jsonb, %s, %s::int::boolean, %s, %s, %s)",
        (10, 11),
    ),
    Moved(
        "SELECT cursor, app_id, what, subject, at_us, keep_until_us FROM revocations ORDER BY cursor",
        "INSERT INTO polyglot.revocations (cursor, app_id, what, subject, at, keep_until) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (4, 5),
    ),
    Moved(
        "SELECT seq FROM sqlite_sequence WHERE name = 'revocations' AND seq > 0",
        "SELECT setval(pg_get_serial_sequence('polyglot.revocations', 'cursor'), %s)",
    ),
    Moved(
        "SELECT digest, name, created_us FROM admin_tokens",
        "INSERT INTO polyglot.admin_tokens VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
        (2,),
    ),
    Moved(
        "SELECT version FROM version",
        "UPDATE polyglot.registry_version SET version = greatest(version, %s) + 1",
    ),
)

STORE_TABLES = (
    Moved("SELECT app_id, month, events, bytes FROM usage", "INSERT INTO polyglot.usage VALUES (%s, %s, %s, %s)"),
    Moved(
        "SELECT log_id, batch_end, at_us, why, record FROM set_aside ORDER BY set_aside_no",
        "INSERT INTO polyglot.set_aside (log_id, batch_end, at, why, record) VALUES (%s, %s, %s, %s, %s)",
        (2,),
    ),
    Moved(
        "SELECT app_id, month, quota, percent, ts_us FROM quotas_reached",
        "INSERT INTO polyglot.quotas_reached VALUES (%s, %s, %s, %s, %s)",
        (4,),
    ),
    # Nothing that they had came along; what is left to do is to say so.
    Moved("SELECT app_id FROM forgotten", "INSERT INTO polyglot.forgotten (app_id, batch_max) VALUES (%s, 0)"),
    Moved("SELECT log_id, position FROM cursors", "INSERT INTO polyglot.cursors VALUES (%s, %s)"),
)

WEBHOOK_TABLES = (
    Moved("SELECT app_id, next_n, bytes FROM apps", "INSERT INTO polyglot.webhook_apps VALUES (%s, %s, %s)"),
    Moved(
        "SELECT a.app_id, i.item_no - (a.app_no << 40), i.type, i.channel, i.event_type, i.epoch, i.seq, "
        "i.user_id, i.ts_us, i.at_us, i.size, i.body FROM items AS i JOIN apps AS a ON a.app_no = i.item_no >> 40",
        "INSERT INTO polyglot.webhook_items (app_id, n, type, channel, event_type, epoch, seq, user_id, ts, at, "
        "size, body) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (8, 9),
    ),
    Moved(
        "SELECT e.endpoint_id, a.app_id, e.active, e.cursor, e.failures, e.resume_us, e.lost "
        "FROM endpoints AS e JOIN apps AS a USING (app_no)",
        "INSERT INTO polyglot.webhook_endpoints (endpoint_id, app_id, active, cursor, failures, resume_us, lost) "
        "VALUES (%s, %s, %s::int::boolean, %s, %s, %s, %s)",
    ),
    Moved(
        "SELECT m.message_id, m.endpoint_id, a.app_id, m.dead, m.runs, m.first_n, m.items, m.created_us, m.until_us, "
        "m.attempts, m.answered, m.replayed, m.next_us, m.ended_us, m.why "
        "FROM messages AS m JOIN apps AS a USING (app_no) ORDER BY m.message_no",
        "INSERT INTO polyglot.webhook_messages (message_id, endpoint_id, app_id, dead, runs, first_n, items, "
        "created, until, attempts, answered, replayed, next_us, ended, why) VALUES (%s, %s, %s, %s::int::boolean, "
        "%s::jsonb, %s, %s, %s, %s, %s, %s::int::boolean, %s::int::boolean, %s, %s, %s)",
        (7, 8, 13),
    ),
    Moved(
        "SELECT endpoint_id, message_id, at_us, attempt, items, duration_ms, status, error FROM tries "
        "ORDER BY try_no",
        "INSERT INTO polyglot.webhook_tries (endpoint_id, message_id, at, attempt, items, duration_ms, status, "
        "error) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (2,),
    ),
    Moved(
        "SELECT app_id, channel, user_id, generation FROM present",
        "INSERT INTO polyglot.webhook_present VALUES (%s, %s, %s, %s)",
    ),
    Moved(
        "SELECT app_id, generation FROM generations",
        "INSERT INTO polyglot.webhook_generations VALUES (%s, %s)",
    ),
    Moved(
        "SELECT log_id, batch_end, at_us, why, record FROM set_aside ORDER BY set_aside_no",
        "INSERT INTO polyglot.webhook_set_aside (log_id, batch_end, at, why, record) VALUES (%s, %s, %s, %s, %s)",
        (2,),
    ),
    Moved("SELECT log_id, position FROM cursors", "INSERT INTO polyglot.webhook_cursors VALUES (%s, %s)"),
)

ROLLUP_TABLES = (
    Moved(
        "SELECT a.app_id, r.level, r.ts * 1000000, r.events, r.bytes, r.deliveries, r.connections_peak, "
        "r.latency ->> '$[0]', r.latency -> '$[1]', r.publishers, r.unique_users, r.users "
        "FROM app_rollups AS r JOIN apps AS a USING (app_no)",
        "INSERT INTO polyglot.app_rollups (app_id, level, ts, events, bytes, deliveries, connections_peak, "
        "latency_sum_us, latency, publishers, unique_users, users) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s)",
        (2,),
    ),
    Moved(
        "SELECT a.app_id, c.channel, r.level, r.ts * 1000000, r.events, r.bytes, r.publishers, r.unique_users, "
        "r.users FROM channel_rollups AS r JOIN channels AS c USING (channel_no) JOIN apps AS a USING (app_no)",
        "INSERT INTO polyglot.channel_rollups (app_id, channel, level, ts, events, bytes, publishers, unique_users, "
        "users) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (3,),
    ),
    Moved(
        "SELECT a.app_id, n.level, n.ts * 1000000, n.channels FROM channel_counts AS n JOIN apps AS a USING (app_no)",
        "INSERT INTO polyglot.channel_rollup_counts (app_id, level, ts, channels) VALUES (%s, %s, %s, %s)",
        (2,),
    ),
    Moved("SELECT app_id FROM forgotten", "INSERT INTO polyglot.rollups_forgotten VALUES (%s)"),
    Moved(
        "SELECT log_id, batch_end, at_us, why, record FROM set_aside ORDER BY set_aside_no",
        "INSERT INTO polyglot.rollups_set_aside (log_id, batch_end, at, why, record) VALUES (%s, %s, %s, %s, %s)",
        (2,),
    ),
    Moved(
        "SELECT log_id, position, newest_us FROM cursors", "INSERT INTO polyglot.rollup_cursors VALUES (%s, %s, %s)"
    ),
)
