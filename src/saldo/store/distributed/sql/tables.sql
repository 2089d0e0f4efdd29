-- On Citus: the tables of the write path by shard, beside saldo.shards. In one transaction with the functions, which Citus lets
-- be made after tables only if it has gone through their shards one by one.
SET LOCAL citus.multi_shard_modify_mode = 'sequential';

INSERT INTO saldo.shards SELECT generate_series(0, 63);

-- A key must hold the column that the rows are distributed by. Exactly once is then per shard and uuid. At the end of each key,
-- for within a Citus shard it is always the same: at the beginning it would make any key look fit for any question.
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

-- Citus has no triggers on distributed tables. What keeps history as it is are the service's rights.
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

-- Those of one machine: a process that thinks itself on one must fail, and not post past the locks.
DROP FUNCTION saldo.post_1;
DROP FUNCTION saldo.post_2;
DROP FUNCTION saldo.create_user_1;
DROP FUNCTION saldo.balance_1;
DROP FUNCTION saldo.number_known_1;
DROP FUNCTION saldo.number_at_1;
