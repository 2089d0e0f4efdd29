"""Comparison of the schema's functions, indexes, triggers and fixed settings with what the migrations create."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from saldo.ledger.audit.rules import LedgerFault, Rule
from saldo.store.connections.connection import fetch

UNIQUE_INDEXES: Final = frozenset(
    {
        "audit_faults_once",
        "audit_faults_pkey",
        "audit_pkey",
        "console_sessions_pkey",
        "cursors_pkey",
        "head_publication_pkey",
        "keys_hash_unique",
        "keys_pkey",
        "keys_version_pkey",
        "ledger_pkey",
        "migrations_pkc",
        "notices_pkey",
        "seals_pkey",
        "sinks_pkey",
        "totals_pkey",
        "transactions_pkey",
        "transactions_user_number_unique",
        "transactions_uuid_unique",
        "users_name_unique",
        "users_pkey",
        "webhook_deliveries_pages",
        "webhook_deliveries_pkey",
        "webhooks_pkey",
    }
)
OTHER_INDEXES: Final = frozenset(
    {
        "console_sessions_of_holder",
        "transactions_late",
        "users_name_prefix",
        "webhook_deliveries_waiting",
    }
)
TRIGGERS: Final = frozenset({"transactions_append_only", "seals_append_only"})

_FUNCTION: Final = re.compile(
    r"^CREATE FUNCTION saldo\.(\w+)\((.*?)\bAS \$\$(.*?)\$\$;", re.MULTILINE | re.DOTALL
)
_SETTING: Final = re.compile(r"^SET (\w+) = '?([\w ]+)'?$", re.MULTILINE)


class FunctionDefinition(NamedTuple):
    """The body of a function as a migration creates it, and the function's settings in lower case."""

    body: str
    settings: frozenset[str]


class SchemaCheckResult(NamedTuple):
    """The faults of the schema, and warnings about the system for the operator."""

    faults: list[LedgerFault]
    warnings: list[str]


async def check_schema(pool: Any) -> SchemaCheckResult:
    """Compare the schema with what the migrations create.

    Raises:
        StoreError: The database can't be read.
    """
    rows = await fetch(pool, "schema/ledger_properties")
    if not rows:
        return SchemaCheckResult([_build_fault(Rule.DECIMALS, "no row in saldo.ledger", "one")], [])
    decimals, created_with, revision, collation, collation_of_system, triggers = rows[0]
    distributed = await _is_distributed(pool)
    faults = []
    if created_with is not None and decimals != created_with:
        faults.append(
            _build_fault(Rule.DECIMALS, f"currency_decimals {decimals}", str(created_with))
        )
    faults += await _find_function_faults(
        pool, newer=revision != find_newest_revision(), distributed=distributed
    )
    if revision == find_newest_revision():
        faults += await _find_index_faults(pool)
        if not distributed:
            faults += [
                _build_fault(Rule.TRIGGER, f"no enabled trigger {name}", "it to be there")
                for name in sorted(TRIGGERS - {*triggers})
            ]
    warnings = []
    if collation != collation_of_system:
        warnings.append(
            f"the database's collation has the version {collation}, the system's library {collation_of_system}: as the "
            "owner, REINDEX DATABASE and ALTER DATABASE ... REFRESH COLLATION VERSION; see docs/howto/postgresql.md"
        )
    return SchemaCheckResult(faults, warnings)


@cache
def find_newest_revision() -> str:
    """Return the number of the last migration of this version.

    If the schema has a newer migration, only the parts that a later migration must not change are compared.
    """
    versions = files("saldo.store.schema.migrations") / "versions"
    names = [file.name for file in versions.iterdir() if file.name.endswith(".py")]
    return max(name.partition("_")[0] for name in names if name[0].isdigit())


@cache
def read_expected_functions(*, distributed: bool) -> dict[str, FunctionDefinition]:
    """Return the functions that the migrations create, by name, as parsed from their SQL files."""
    store = files("saldo.store")
    folders = [store / "schema" / "migrations" / "sql"]
    if distributed:
        folders.append(store / "citus" / "sql")
    functions = {}
    for folder in folders:
        for file in folder.iterdir():
            if file.name.endswith(".sql"):
                for name, head, body in _FUNCTION.findall(file.read_text("utf-8")):
                    settings = {f"{key}={value}".lower() for key, value in _SETTING.findall(head)}
                    # Migration 0012 sets the time zone of older functions.
                    functions[name] = FunctionDefinition(
                        body, frozenset(settings | {"timezone=utc"})
                    )
    return functions


async def _is_distributed(pool: Any) -> bool:
    async with pool.acquire() as connection:
        return bool(connection.distributed)


async def _find_function_faults(pool: Any, *, newer: bool, distributed: bool) -> list[LedgerFault]:
    expected = read_expected_functions(distributed=distributed)
    faults = []
    found = set()
    for name, body, settings, as_owner in await fetch(pool, "schema/functions"):
        made = expected.get(name)
        again = name in found
        found.add(name)
        if made is None or again:
            # A ledger that was distributed by an older version has the functions of that version.
            if not newer and not distributed:
                faults.append(
                    _build_fault(
                        Rule.FUNCTION, f"a function saldo.{name}", "none that no migration made"
                    )
                )
        elif body != made.body:
            faults.append(
                _build_fault(Rule.FUNCTION, f"another saldo.{name}", "that of the migrations")
            )
        elif as_owner or not made.settings <= {each.lower() for each in settings}:
            faults.append(
                _build_fault(
                    Rule.FUNCTION,
                    f"saldo.{name} with the settings {', '.join(settings) or 'none'}"
                    + (" and its owner's rights" if as_owner else ""),
                    ", ".join(sorted(made.settings)),
                )
            )
    if not newer and not distributed:
        faults += [
            _build_fault(Rule.FUNCTION, f"no saldo.{name}", "that of the migrations")
            for name in sorted(expected.keys() - found)
        ]
    return faults


async def _find_index_faults(pool: Any) -> list[LedgerFault]:
    faults = []
    found = {}
    for name, valid, unique in await fetch(pool, "schema/indexes"):
        found[name] = unique
        # Other invalid indexes belong to the operator, or to a REINDEX CONCURRENTLY in progress.
        if not valid and name in UNIQUE_INDEXES | OTHER_INDEXES:
            faults.append(
                _build_fault(Rule.INDEX, f"{name} invalid", "it to be valid: REINDEX INDEX")
            )
    missing = sorted((UNIQUE_INDEXES | OTHER_INDEXES) - found.keys())
    weak = sorted(UNIQUE_INDEXES & {each for each, unique in found.items() if not unique})
    return [
        *faults,
        *(_build_fault(Rule.INDEX, f"no index {name}", "it to be there") for name in missing),
        *(_build_fault(Rule.INDEX, f"{name} without UNIQUE", "it to be unique") for name in weak),
    ]


def _build_fault(rule: Rule, found: str, expected: str) -> LedgerFault:
    return LedgerFault(rule, 0, 0, 0, found, expected)
