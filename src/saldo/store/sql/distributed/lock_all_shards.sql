-- No batch decides while this is held: on whichever node, it could not write.
LOCK TABLE saldo.transactions IN SHARE ROW EXCLUSIVE MODE
