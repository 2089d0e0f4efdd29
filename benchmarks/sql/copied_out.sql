-- What clients posted, in the order in which it was recorded.
COPY (SELECT * FROM saldo.transactions WHERE kind <> 0) TO STDOUT
