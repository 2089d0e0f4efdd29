INSERT INTO saldo.ledger (currency_decimals, decimals_at_creation, max_lateness, lateness_bound)
VALUES (%(currency_decimals)s, %(currency_decimals)s, %(max_lateness)s, %(max_lateness)s)
