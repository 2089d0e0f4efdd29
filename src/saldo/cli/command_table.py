"""The table of commands: their modules, one-line descriptions and examples.

The module imports nothing else of the program, because `saldo --help` prints the table without loading any command.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class CommandEntry(NamedTuple):
    """The location and the description of a command.

    Attributes:
        summary: The first line of the command's own help.
        name: The name of the command's function; None if the command has subcommands, which are in the module's `app`.
    """

    panel: str
    summary: str
    module: str
    name: str | None = None
    examples: tuple[str, ...] = ()


MONEY, USERS, FILES, OPERATE = "Money", "Users", "Files", "Operate"

COMMANDS: Final[dict[str, CommandEntry]] = {
    "deposit": CommandEntry(
        *(MONEY, "Post a deposit to a user's balance.", "deposit_withdraw", "deposit"),
        (
            "saldo deposit 1 100.50",
            "saldo deposit 1 20 --timestamp 2026-01-31T12:00:00Z",
        ),
    ),
    "withdraw": CommandEntry(
        *(MONEY, "Post a withdrawal from a user's balance.", "deposit_withdraw", "withdraw"),
        ("saldo withdraw 1 50",),
    ),
    "balance": CommandEntry(
        *(MONEY, "Show a user's balance, now or at a past time.", "balance", "balance"),
        (
            "saldo balance 1",
            "saldo balance 1 --date 2026-01-31",
            "saldo balance 1 --plot",
        ),
    ),
    "transactions": CommandEntry(
        *(MONEY, "List a user's transactions, newest first.", "transactions", "transactions"),
        (
            "saldo transactions 1 --from 2026-01-01 --type withdraw",
            "saldo transactions 1 --json",
        ),
    ),
    "watch": CommandEntry(
        *(MONEY, "Print events as they are recorded, until Ctrl-C.", "watch", "watch"),
        ("saldo watch --from start --user 1 --count 1 --json",),
    ),
    "user": CommandEntry(USERS, "Create users and show them with their balances.", "user"),
    "statement": CommandEntry(
        *(USERS, "Show a user's account statement for a period.", "statement", "statement"),
        (
            "saldo statement 1 --month 2026-01",
            "saldo statement 1 --month 2026-01 -o 2026-01.pdf",
        ),
    ),
    "import": CommandEntry(
        *(FILES, "Post every row of a file as a transaction.", "import_", "import_"),
        (
            "saldo import transactions.csv --dry-run",
            "saldo import transactions.csv",
            "saldo import bank.csv --id bank-2026-01 --signed --map amount=Sum --map user_id=Account",
        ),
    ),
    "export": CommandEntry(
        *(FILES, "Write all transactions to a file.", "export", "export"),
        (
            "saldo export transactions.csv",
            "saldo export transactions.csv --columns uuid,type,amount,user_id,timestamp",
            "saldo export 2026-01.parquet --from 2026-01-01 --to 2026-02-01",
        ),
    ),
    "bench": CommandEntry(
        *(OPERATE, "Measure the throughput and latency of a service.", "bench", "bench"),
        ("saldo bench --local --seconds 5",),
    ),
    "serve": CommandEntry(
        *(OPERATE, "Run the service until it is stopped.", "serve", "serve"),
        ("saldo serve --port 8000",),
    ),
    "keys": CommandEntry(OPERATE, "Create, rotate and revoke API keys.", "keys"),
    "webhooks": CommandEntry(OPERATE, "Manage webhooks, which deliver events to URLs.", "webhooks"),
    "verify": CommandEntry(
        *(OPERATE, "Verify all entries, balances and seals of the ledger.", "verify", "verify"),
        ("saldo verify --state verify.json",),
    ),
    "seals": CommandEntry(OPERATE, "Manage the key that signs heads of the ledger.", "seals.key"),
    "audit": CommandEntry(
        OPERATE, "Show and acknowledge findings of the background audit.", "audit"
    ),
    "backup": CommandEntry(
        *(OPERATE, "Back up the embedded database and verify the copy.", "backup", "backup"),
        ("saldo backup backups/2026-01-31",),
    ),
    "restore": CommandEntry(
        *(OPERATE, "Restore a backup into a new data directory.", "backup", "restore"),
        ("saldo restore backups/2026-01-31 --data-dir restored",),
    ),
    "upgrade": CommandEntry(
        *(OPERATE, "Upgrade the embedded database to a newer PostgreSQL.", "backup", "upgrade"),
        ("saldo upgrade",),
    ),
    "db": CommandEntry(OPERATE, "Migrate and set up the database.", "db"),
    "relay": CommandEntry(OPERATE, "Run the relay, and manage its sinks.", "relay"),
}
"""Each command by name, in the order of the help."""
