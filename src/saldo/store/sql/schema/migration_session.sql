-- Configure a transaction of a migration. lock_timeout: the timeout of one attempt to get the locks. In the time zone
-- UTC a day of an interval has 24 hours.
SELECT set_config('lock_timeout', %(lock_timeout)s, true),
    set_config('idle_in_transaction_session_timeout', '0', true),
    set_config('timezone', 'UTC', true)
