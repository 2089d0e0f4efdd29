-- The replica's lag in seconds. It is 0 if everything that the replica has received is replayed, since the time of the
-- last replayed transaction would otherwise grow while nothing is written. A replica that receives nothing lags.
SELECT CASE
    WHEN NOT pg_is_in_recovery() THEN 0
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())
END::double precision AS lag_seconds
