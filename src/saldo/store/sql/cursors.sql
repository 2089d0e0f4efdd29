SELECT shard, seq FROM saldo.cursors WHERE sink = $1
