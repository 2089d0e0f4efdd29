-- Configure a transaction. lock_timeout: of one attempt. With the time zone UTC a day of an interval has 24 hours.
SELECT set_config('lock_timeout', %(lock_timeout)s, true),
    set_config('idle_in_transaction_session_timeout', '0', true),
    set_config('timezone', 'UTC', true)
