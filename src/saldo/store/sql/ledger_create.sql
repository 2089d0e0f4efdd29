INSERT INTO saldo.ledger (currency_decimals, max_lateness, lateness_bound)
VALUES (%(currency_decimals)s, %(max_lateness)s, %(max_lateness)s)
