-- Lock the table against writes on all nodes, so that no batch is decided meanwhile.
LOCK TABLE saldo.transactions IN SHARE ROW EXCLUSIVE MODE
