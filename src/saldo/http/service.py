"""What the routes work with."""

from __future__ import annotations

from dataclasses import dataclass, field

from saldo.access.gate import Gate
from saldo.access.keyring import Keyring
from saldo.engine.engine import Engine
from saldo.http.bulk import Bulk
from saldo.http.events import Events
from saldo.http.questions import Questions
from saldo.http.transactions import Transactions
from saldo.http.wire import Reading
from saldo.settings import Settings
from saldo.store.audits import Audits
from saldo.store.keys import Keys
from saldo.store.reader import Reader
from saldo.store.seals import Seals
from saldo.store.sinks import Sinks
from saldo.store.totals import Totals
from saldo.store.webhooks import Webhooks


@dataclass(slots=True)
class Readiness:
    """What the service knows of itself that no other part does."""

    draining: bool = False
    """It is about to stop, and is to be sent nothing new."""


@dataclass(frozen=True, slots=True)
class Service:
    """The running parts, wired by `saldo.bootstrap`."""

    settings: Settings
    reading: Reading
    engine: Engine
    reader: Reader
    transactions: Transactions
    bulk: Bulk
    events: Events
    questions: Questions
    sinks: Sinks
    webhooks: Webhooks
    totals: Totals
    audits: Audits
    seals: Seals
    gate: Gate
    keyring: Keyring
    keys: Keys
    readiness: Readiness = field(default_factory=Readiness)
