"""What runs around Saldo."""
