"""The message catalog of the console. Every language must define every field, or the program does not start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluralText:
    """The plural forms of a text that contains a number. `{}` stands for the number.

    Russian has three forms (Unicode's plural rules): 1, 21 запись; 2, 23 записи; 5, 11, 12 записей.
    """

    one: str
    few: str
    many: str

    def format(self, number: int, text: str) -> str:
        """Return the text for a number. `text` is the formatted number."""
        return self._choose_form(number).format(text)

    def _choose_form(self, number: int) -> str:
        if self.few == self.many:  # English
            return self.one if number == 1 else self.many
        last, last_two = number % 10, number % 100
        if last == 1 and last_two != 11:
            return self.one
        if 2 <= last <= 4 and not 12 <= last_two <= 14:
            return self.few
        return self.many


def create_english_plural(one: str, other: str) -> PluralText:
    """Return a text with the two plural forms of English."""
    return PluralText(one, other, other)


@dataclass(frozen=True, slots=True)
class Messages:
    """The texts of the console in one language, grouped by page."""

    # Every page
    to_content: str
    navigation: str
    overview: str
    users: str
    webhooks: str
    keys: str
    settings: str
    find: str
    find_placeholder: str
    language: str
    theme: str
    theme_names: Mapping[str, str]
    zone: str
    zone_own: str
    save: str
    cancel: str
    back: str
    times_in: str
    signed_in_as: str
    no_keys: str
    sign_out: str
    live: str
    live_lost: str
    yes: str
    no: str
    all: str
    show: str
    copy: str
    copied: str
    show_more: str
    time: str

    # Sign-in
    sign_in: str
    sign_in_title: str
    sign_in_lead: str
    key: str
    key_hint: str
    sign_in_rejected: str
    sign_in_scope_missing: str
    signed_out: str

    # Errors
    error_titles: Mapping[int, str]
    not_found: str
    forbidden: str
    forbidden_user: str
    forbidden_all: str
    form_expired: str
    form_cross_origin: str
    rate_limited: str
    database_down: str
    internal_error: str
    nothing_changed: str
    bad_request: str
    to_start: str
    open_again: str

    # Users
    users_found: PluralText
    users_none: str
    users_no_match: str
    users_lead: str
    name: str
    id: str
    balance: str
    created: str
    new_user: str
    new_user_lead: str
    create: str
    name_taken: str

    # One user
    user: str
    balance_now: str
    balance_at: str
    date_and_time: str
    inclusive: str
    chart: str
    chart_hint: str
    chart_keys: str
    chart_loading: str
    chart_failed: str
    chart_empty: str
    chart_ahead: str
    chart_all: str
    chart_ranges: Mapping[str, str]
    chart_exact: PluralText
    chart_thinned: PluralText
    chart_sampled: PluralText
    chart_table: str
    chart_table_part: str
    zoom_in: str
    zoom_out: str
    earlier: str
    later: str
    changed_to: str

    # Transactions
    transactions: str
    transactions_none: str
    transactions_no_match: str
    transactions_short: str
    filter: str
    filter_clear: str
    range_start: str
    range_end: str
    kind: str
    kinds: Mapping[str, str]
    outcome: str
    outcomes: Mapping[str, str]
    outcome_reasons: Mapping[str, str]
    posted: str
    late: str
    late_hint: str
    number: str
    amount: str
    balance_after: str
    balance_unchanged: str
    refused_by_date: str
    timestamp: str
    recorded: str
    older: str
    newest: str
    details: str
    print: str
    uuid: str
    transaction: str

    # Deposit and withdraw
    deposit: str
    withdraw: str
    amount_hint: str
    amount_too_large: str
    effective: str
    effective_hint: str
    effective_now: str
    continue_: str
    confirm: Mapping[str, str]
    confirm_lead: str
    confirm_once: str
    before: str
    after: str
    would_be_refused: str
    would_be_refused_then: str
    would_be_in_future: str
    balance_then: str
    balance_then_hint: str
    done: Mapping[str, str]
    done_refused: str
    done_before: str
    done_other: str
    send_again: str
    unknown_outcome: str
    not_posted: str
    not_posted_now: str
    to_user: str

    # A proof
    proof: str
    proof_lead: str
    sealed: str
    proof_waiting: str
    proof_broken: str
    proof_download: str
    proof_steps: PluralText
    shard: str
    seq: str
    seal: str
    seal_entries: str
    sealed_at: str
    root: str
    path: str

    # The overview
    this_process: str
    this_process_hint: str
    throughput: str
    throughput_unit: str
    latency: str
    queue: str
    queue_hint: str
    ledger: str
    entries_posted: str
    entries_refused: str
    sum_of_balances: str
    relays: str
    relays_none: str
    sink: str
    sink_active: str
    events_behind: str
    lag: str
    failures: str
    last_failure: str
    seals: str
    seals_sealed: str
    seals_off: str
    audit: str
    audit_off: str
    audit_round: str
    audit_rounds: str
    audit_faults: PluralText
    audit_no_faults: str
    audit_active: str
    audit_last: str
    never: str
    largest: str
    largest_hint: str
    largest_none: str
    database: str
    database_up: str
    database_unavailable: str
    durations: tuple[str, str, str, str, str]
    """The units of durations: milliseconds, seconds, minutes, hours, days."""
    milliseconds: str
    per_second: str
    posted_line: str
    refused_line: str
    replayed_line: str
    sampling: str

    # Keys
    keys_lead: str
    keys_none: str
    keys_none_created: str
    new_key: str
    scopes: str
    scope_names: Mapping[str, str]
    key_users_hint: str
    networks: str
    networks_hint: str
    expires: str
    expires_hint: str
    state: str
    valid: str
    revoked: str
    expired: str
    replaced: str
    revoke: str
    revoke_question: str
    rotate: str
    rotate_question: str
    key_shown_once: str
    too_many_keys: str
    own_key: str

    # Webhooks
    webhooks_lead: str
    webhooks_none: str
    webhook_users_hint: str
    new_webhook: str
    url: str
    events: str
    events_hint: str
    enabled: str
    disabled: str
    webhooks_disabled: str
    enable: str
    disable: str
    delete: str
    delete_question: str
    deliveries_pending: str
    deliveries_dead: str
    delivery_states: Mapping[str, str]
    replay: str
    replayed: PluralText
    attempts_succeeded: str
    attempts_failed: str
    signing_key_shown_once: str
    too_many_webhooks: str
    deliveries: str
    deliveries_none: str
    attempts: str
    next_attempt: str

    # Faults of fields
    range_is_empty: str
    field_fault: str
    """The sentence about an invalid field. The placeholders are the field's name and what is wrong with the field."""
    field_names: Mapping[str, str]
    unnamed_field: str
    """The name of a field that is not in `field_names`."""
    field_faults: Mapping[str, str]
    """The messages about invalid fields. For fields that are not in this mapping, the API's message is shown."""
    form_faults: Mapping[str, str]
    """The messages about fields that are `unknown` or `repeated`, and about an `unreadable` form."""
