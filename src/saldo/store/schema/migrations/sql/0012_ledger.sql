-- Time zones, past balances of any size, and what was known at a moment.

-- A day has 24 hours in these functions, whatever the zone of the session. Older processes call them, too.
ALTER FUNCTION saldo.create_user_1(text) SET timezone = 'UTC';
ALTER FUNCTION saldo.number_at_1(bigint, timestamptz, bigint) SET timezone = 'UTC';
ALTER FUNCTION saldo.number_known_1(bigint, timestamptz, bigint) SET timezone = 'UTC';
ALTER FUNCTION saldo.balance_1(bigint, timestamptz, timestamptz) SET timezone = 'UTC';
ALTER FUNCTION saldo.post_1(uuid[], bigint[], bigint[], timestamptz[], bigint, interval, bigint) SET timezone = 'UTC';
ALTER FUNCTION saldo.post_2(uuid[], bigint[], bigint[], timestamptz[], bigint, interval, bigint, boolean)
    SET timezone = 'UTC';
ALTER FUNCTION saldo.refuse_to_alter_history() SET timezone = 'UTC';
ALTER FUNCTION saldo.refuse_to_alter_seals() SET timezone = 'UTC';
