-- Return whether this version can write to the database: the server is not a standby, and the functions exist.
SELECT NOT pg_is_in_recovery()
    AND to_regproc('saldo.post_on_shard_2') IS NOT NULL
    AND to_regproc('saldo.create_user_on_shard_1') IS NOT NULL
    AND to_regproc('saldo.balance_on_shard_2') IS NOT NULL AS ready
