"""`python -m saldo` is `saldo`."""

from saldo.cli import main

main()
