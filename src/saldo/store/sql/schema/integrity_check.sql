-- Count the entries and users, and those that violate a rule of the ledger: one row, which is readable in psql, too.
-- The statement reads everything without a lock, and does not see entries that are appended meanwhile.
WITH entry AS (
    SELECT t.shard, t.seq, t.user_id, t.number, t.balance, t.recorded_at,
        sum(CASE WHEN t.outcome = 0 THEN t.amount ELSE 0 END) OVER of_user AS posted,
        lag(t.number, 1, -1::bigint) OVER of_user AS number_before
    FROM saldo.transactions AS t
    WINDOW of_user AS (PARTITION BY t.user_id ORDER BY t.number)
), shard AS (
    SELECT count(*) AS entries, min(t.seq) AS first, max(t.seq) AS last
    FROM saldo.transactions AS t
    GROUP BY t.shard
)
SELECT
    (SELECT count(*) FROM saldo.users) AS users,
    count(*) AS entries,
    max(entry.recorded_at) AS last_recorded_at,
    count(*) FILTER (WHERE entry.balance <> entry.posted) AS balances_wrong,
    count(*) FILTER (WHERE entry.number <> entry.number_before + 1) AS numbers_missing,
    (SELECT count(*) FROM shard WHERE shard.first <> 1 OR shard.last <> shard.entries) AS shards_with_gaps,
    (SELECT count(*) FROM saldo.users AS u WHERE NOT EXISTS (
        SELECT FROM saldo.transactions AS t WHERE t.user_id = u.id AND t.number = 0
    )) AS users_without_entries,
    count(DISTINCT entry.user_id) FILTER (WHERE NOT EXISTS (
        SELECT FROM saldo.users AS u WHERE u.id = entry.user_id
    )) AS users_missing
FROM entry
