-- Copies out the entries that clients posted, in the order of the table's pages, which is the order of recording.
COPY (SELECT * FROM saldo.transactions WHERE kind <> 0) TO STDOUT
