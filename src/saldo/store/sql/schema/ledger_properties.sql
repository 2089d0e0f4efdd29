-- Return the settings with which the ledger was created, the last migration, and the versions of the collation in the
-- database and in the system library. A newer library may have another version.
-- triggers: the enabled triggers that prevent the owner from altering history.
SELECT l.currency_decimals, l.decimals_at_creation,
    (SELECT m.version_num FROM saldo.migrations AS m) AS revision,
    d.datcollversion AS collation_version,
    pg_database_collation_actual_version(d.oid) AS collation_version_of_the_system,
    (
        SELECT coalesce(array_agg(t.tgname::text), '{}')
        FROM pg_trigger AS t
        WHERE t.tgrelid IN ('saldo.transactions'::regclass, 'saldo.seals'::regclass)
            AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
    ) AS triggers
FROM saldo.ledger AS l
CROSS JOIN pg_database AS d
WHERE l.only_row AND d.datname = current_database()
