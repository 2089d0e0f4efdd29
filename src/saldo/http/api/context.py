"""The dependencies of the routes' handlers."""

from __future__ import annotations

from dataclasses import dataclass, field

from litestar.di import NamedDependency

from saldo.auth.authenticator import Authenticator
from saldo.auth.key_cache import KeyCache
from saldo.engine.engine import Engine
from saldo.http.api.bulk import Bulk
from saldo.http.api.event_stream import LiveStream
from saldo.http.api.fast_reads import FastReads
from saldo.http.api.post_transaction import Transactions
from saldo.http.readiness import Readiness
from saldo.parsing.transactions import ParserOptions
from saldo.settings.model import Settings
from saldo.store.audit.progress import AuditProgress
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
    reading: ParserOptions
    engine: Engine
    reader: Reader
    transactions: Transactions
    bulk: Bulk
    events: LiveStream
    questions: FastReads
    sinks: Sinks
    webhooks: Webhooks
    totals: Totals
    audits: AuditProgress
    seals: SealStore
    gate: Authenticator
    keyring: KeyCache
    keys: Keys
    readiness: Readiness = field(default_factory=Readiness)


InjectedContext = NamedDependency[AppContext]
"""Annotation of a handler's parameter `service`, which gets the context."""
