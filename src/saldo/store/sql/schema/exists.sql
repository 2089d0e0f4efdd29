SELECT to_regclass('saldo.migrations') IS NOT NULL
