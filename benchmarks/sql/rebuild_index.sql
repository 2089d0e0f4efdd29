ALTER INDEX saldo.{index} SET (fillfactor = {fill_factor});
REINDEX INDEX saldo.{index}
