-- Keys compare byte by byte, whatever the locale of the database: an upgrade of the system's libraries can change the
-- order of letters, and then an index finds rows no more, or lets a unique one be inserted twice. saldo.users: 0012_users_*.
ALTER TABLE saldo.sinks ALTER COLUMN name TYPE text COLLATE "C";
ALTER TABLE saldo.cursors ALTER COLUMN sink TYPE text COLLATE "C";
ALTER TABLE saldo.console_sessions ALTER COLUMN holder TYPE text COLLATE "C";
ALTER TABLE saldo.audit_faults ALTER COLUMN rule TYPE text COLLATE "C";
