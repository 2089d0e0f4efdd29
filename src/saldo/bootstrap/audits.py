"""The audit: in the background, as it is asked about, and as a walk of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from saldo.bootstrap.pools import relay_pool
from saldo.relay.auditing import AuditLimits, Auditor
from saldo.relay.pace import Beside
from saldo.settings import Settings
from saldo.store.audits import Audits
from saldo.store.connection import open_pool
from saldo.store.verify import Verification
from saldo.store.walk import LogReader

if TYPE_CHECKING:
    pass


async def auditing(settings: Settings, pool: Any, beside: Beside) -> None:
    """Audits in the background, unless the settings say that it shall not."""
    if settings.audit_entries_per_second == 0:
        return
    limits = AuditLimits(settings.audit_entries_per_second, settings.relay_lease_seconds)
    await Auditor(audits_of(settings, pool), LogReader(pool), beside, limits).run()


def audits_of(settings: Settings, pool: Any) -> Audits:
    """Where the position of the audit is kept, and what it has found."""
    return Audits(pool, lease_seconds=settings.relay_lease_seconds)


@asynccontextmanager
async def audits_in(settings: Settings, database_url: str) -> AsyncIterator[Audits]:
    """The same, for one who asks and goes."""
    async with relay_pool(settings, database_url) as pool:
        yield audits_of(settings, pool)


@asynccontextmanager
async def verification(settings: Settings, database_url: str) -> AsyncIterator[Verification]:
    """A walk over the whole ledger that has not begun."""
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
