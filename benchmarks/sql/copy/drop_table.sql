DROP TABLE saldo.copied
