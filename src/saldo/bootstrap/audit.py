"""The audit: its background task, its status, and a verification of the whole ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saldo.background.audit_worker import AuditLimits, Auditor
from saldo.background.throttle import PostingActivity
from saldo.bootstrap.pools import open_relay_pool
from saldo.settings.model import Settings
from saldo.store.audit.progress import AuditProgress
from saldo.store.audit.shard_scan import AuditReader
from saldo.store.audit.verification import Verification
from saldo.store.connections.connection import open_pool


async def run_audit(settings: Settings, pool: Any, activity: PostingActivity) -> None:
    """Run the audit until it is cancelled. If the settings disable the audit, return immediately."""
    if settings.audit_entries_per_second == 0:
        return
    limits = AuditLimits(settings.audit_entries_per_second, settings.relay_lease_seconds)
    await Auditor(create_audit_store(settings, pool), AuditReader(pool), activity, limits).run()


def create_audit_store(settings: Settings, pool: Any) -> AuditProgress:
    """Return the store of the audit's progress and faults."""
    return AuditProgress(pool, lease_seconds=settings.relay_lease_seconds)


@asynccontextmanager
async def open_audit_store(settings: Settings, database_url: str) -> AsyncIterator[AuditProgress]:
    """Open the store of the audit's progress and faults for a short-lived command."""
    async with open_relay_pool(settings, database_url) as pool:
        yield create_audit_store(settings, pool)


@asynccontextmanager
async def open_verification(settings: Settings, database_url: str) -> AsyncIterator[Verification]:
    """Yield a verification of the whole ledger. The caller runs the verification."""
    pool = await open_pool(
        database_url,
        connections=1,
        statement_timeout_seconds=settings.batch_timeout_seconds,
        application_name="saldo verify",
    )
    try:
        yield Verification(pool)
    finally:
        pool.terminate()
