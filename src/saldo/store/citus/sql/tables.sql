-- On Citus: distribute the tables of the write path by shard, colocated with saldo.shards. The functions are created in
-- the same transaction, which Citus allows after the distribution of tables only in sequential mode.
SET LOCAL citus.multi_shard_modify_mode = 'sequential';

INSERT INTO saldo.shards SELECT generate_series(0, 63);

-- A key must include the column by which the rows are distributed. Uuids are therefore unique for each shard. The
-- column is the last one of each key, because it is constant within a Citus shard. If it were the first column, the
-- planner would take every key as suitable for every query.
ALTER TABLE saldo.transactions
    DROP CONSTRAINT transactions_pkey,
    DROP CONSTRAINT transactions_uuid_unique,
    DROP CONSTRAINT transactions_user_number_unique,
    ADD CONSTRAINT transactions_pkey PRIMARY KEY (seq, shard),
    ADD CONSTRAINT transactions_uuid_unique UNIQUE (uuid, shard),
    ADD CONSTRAINT transactions_user_number_unique UNIQUE (user_id, number, shard);
ALTER TABLE saldo.seals
    DROP CONSTRAINT seals_pkey,
    ADD CONSTRAINT seals_pkey PRIMARY KEY (first_seq, shard);

-- Citus does not support triggers on distributed tables. The service's rights protect history instead.
DROP TRIGGER transactions_append_only ON saldo.transactions;
DROP TRIGGER seals_append_only ON saldo.seals;
DROP FUNCTION saldo.refuse_to_alter_history();
DROP FUNCTION saldo.refuse_to_alter_seals();

SELECT create_distributed_table('saldo.transactions', 'shard', colocate_with := 'saldo.shards');
SELECT create_distributed_table('saldo.seals', 'shard', colocate_with := 'saldo.shards');
SELECT create_reference_table('saldo.ledger');
SELECT truncate_local_data_after_distributing_table('saldo.transactions');
SELECT truncate_local_data_after_distributing_table('saldo.seals');
SELECT truncate_local_data_after_distributing_table('saldo.ledger');

-- Drop the functions for one server: a process that does not know of the distribution must fail, and not post without
-- the locks.
DROP FUNCTION saldo.post_1;
DROP FUNCTION saldo.post_2;
DROP FUNCTION saldo.post_3;
DROP FUNCTION saldo.create_user_1;
DROP FUNCTION saldo.balance_1;
DROP FUNCTION saldo.balance_2;
DROP FUNCTION saldo.number_known_1;
DROP FUNCTION saldo.number_at_1;
