"""A session with the client that openapi-python-client generates, as the package `saldo_client`.

It is a program of its own, because the package exists only where the test generates it. It prints what it saw as one
JSON object, like the sessions of the TypeScript clients.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any
from uuid import UUID, uuid4

from saldo_client import Client, models
from saldo_client.api.proofs import get_proof
from saldo_client.api.transactions import (
    create_transaction,
    create_transactions,
    get_transaction,
)
from saldo_client.api.users import create_user, get_balance


def main() -> None:
    """Run the session with the service whose URL is the first argument."""
    client = Client(base_url=sys.argv[1])
    user = create_user.sync_detailed(client=client, body=models.UserRequest(name=f"user {uuid4()}"))
    user_id = user.parsed.id

    def request(kind: models.TransactionType, amount: str) -> models.TransactionRequest:
        return models.TransactionRequest(uuid=uuid4(), type_=kind, amount=amount, user_id=user_id)

    deposit = request(models.TransactionType.DEPOSIT, "30000000.00")
    withdrawal = request(models.TransactionType.WITHDRAW, "30000000.01")
    first = create_transaction.sync_detailed(client=client, body=deposit)
    second = create_transaction.sync_detailed(client=client, body=deposit)
    refused = create_transaction.sync_detailed(client=client, body=withdrawal)
    bulk = create_transactions.sync_detailed(
        client=client,
        body=[
            request(models.TransactionType.DEPOSIT, "0.05"),
            request(models.TransactionType.WITHDRAW, "40000000.00"),
        ],
    )
    balance = get_balance.sync_detailed(user_id, client=client)
    recorded = get_transaction.sync_detailed(withdrawal.uuid, client=client)
    missing = get_transaction.sync_detailed(uuid4(), client=client)
    print(
        json.dumps(
            {
                "created": user.status_code,
                "posted": [first.status_code, is_replayed(first), first.parsed.balance],
                "repeated": [second.status_code, is_replayed(second)],
                "equal": first.parsed == second.parsed,
                "refused": [refused.status_code, refused.parsed.code],
                "bulk": [bulk.status_code, [outcome.code for outcome in bulk.parsed]],
                "balance": balance.parsed.balance,
                "recorded": recorded.parsed.outcome,
                "missing": [missing.status_code, missing.parsed.code],
                "proven": read_proof(client, deposit.uuid),
            }
        )
    )


def is_replayed(response: Any) -> bool:
    """Return whether an earlier request recorded the outcome."""
    return bool(response.headers.get("Idempotent-Replayed") == "true")


def read_proof(client: Client, uuid: UUID) -> int:
    """Return the amount of a proven entry. The entry is sealed soon after it is recorded; until then the answer is
    409."""
    while True:
        proof = get_proof.sync_detailed(uuid, client=client)
        if proof.status_code != 409:
            amount: int = proof.parsed.entry.amount
            return amount
        time.sleep(0.1)


main()
