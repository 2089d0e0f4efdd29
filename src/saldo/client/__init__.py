"""What runs at a client's, without the rest of Saldo: each module is a program of the standard library alone."""
