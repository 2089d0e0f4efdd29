SELECT created, id, created_at FROM saldo.create_user_1($1)
