-- Make the session read-only, for commands that only read: they can't write, nor take locks that block writers.
SET default_transaction_read_only = on
