SELECT currency_decimals, max_lateness, lateness_bound FROM saldo.ledger WHERE only_row
