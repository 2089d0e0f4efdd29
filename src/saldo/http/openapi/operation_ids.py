"""The operation ids of the OpenAPI document. Generated clients name their methods after them, so they never change."""

from __future__ import annotations

from typing import Final

from litestar.handlers import HTTPRouteHandler

OPERATION_IDS: Final = {
    "post_transaction": "createTransaction",
    "post_transactions": "createTransactions",
    "get_transaction": "getTransaction",
    "get_transactions": "listUserTransactions",
    "get_log": "readLog",
    "get_events": "streamEvents",
    "post_user": "createUser",
    "get_user": "getUser",
    "get_users": "listUsers",
    "get_balance": "getBalance",
    "get_proof": "getProof",
    "get_seals": "listSeals",
    "post_webhook": "createWebhook",
    "get_webhooks": "listWebhooks",
    "get_webhook": "getWebhook",
    "patch_webhook": "updateWebhook",
    "delete_webhook": "deleteWebhook",
    "get_deliveries": "listDeliveries",
    "post_replay": "replayDeliveries",
    "post_key": "createKey",
    "get_keys": "listKeys",
    "get_key": "getKey",
    "delete_key": "revokeKey",
    "post_rotation": "rotateKey",
    "get_liveness": "getLiveness",
    "get_readiness": "getReadiness",
    "get_startup": "getStartup",
    "get_metrics": "getMetrics",
}
"""The operation id by the name of the handler. A handler can be renamed here without a change of the id."""


def find_operation_id(handler: HTTPRouteHandler, _method: object, _components: object) -> str:
    """Return the operation id of a handler.

    Raises:
        LookupError: The table has no id for the handler.
    """
    operation_id = OPERATION_IDS.get(handler.handler_name)
    if operation_id is None:
        raise LookupError(
            f"OPERATION_IDS has no operation id for the handler {handler.handler_name}"
        )
    return operation_id
