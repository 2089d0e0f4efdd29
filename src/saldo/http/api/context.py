"""The dependencies of the routes' handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from litestar.di import NamedDependency

from saldo.auth.authenticator import Authenticator
from saldo.auth.key_cache import KeyCache
from saldo.engine.engine import Engine
from saldo.http.api.bulk import BulkHandler
from saldo.http.api.event_stream import EventStreamHandler
from saldo.http.api.fast_reads import FastReadHandler
from saldo.http.api.post_transaction import PostTransactionHandler
from saldo.http.readiness import Readiness
from saldo.parsing.transactions import ParserOptions
from saldo.settings.model import Settings
from saldo.store.audit.progress import AuditProgress
from saldo.store.heads import HeadStore
from saldo.store.keys import Keys
from saldo.store.reader import Reader
from saldo.store.seals import SealStore
from saldo.store.sinks import Sinks
from saldo.store.totals import Totals
from saldo.store.webhooks import Webhooks


@dataclass(frozen=True, slots=True)
class AppContext:
    """The parts of the running service that handlers use. `saldo.bootstrap` creates them."""

    settings: Settings
    parser_options: ParserOptions
    engine: Engine
    reader: Reader
    post_transaction_handler: PostTransactionHandler
    bulk_handler: BulkHandler
    event_stream_handler: EventStreamHandler
    fast_read_handler: FastReadHandler
    sinks: Sinks
    webhooks: Webhooks
    totals: Totals
    audits: AuditProgress
    seals: SealStore
    heads: HeadStore
    authenticator: Authenticator
    key_cache: KeyCache
    keys: Keys
    wakeup_path: Path | None = None
    """The wakeup socket of the relay's process; None if the service has no such process."""
    readiness: Readiness = field(default_factory=Readiness)


InjectedContext = NamedDependency[AppContext]
"""Annotation of a handler's parameter `service`, which gets the context."""
