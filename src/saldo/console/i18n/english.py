"""The English texts of the console."""

from __future__ import annotations

from typing import Final

from saldo.console.i18n.catalog import Messages, create_english_plural

ENGLISH: Final = Messages(
    to_content="Skip to content",
    navigation="Main navigation",
    overview="Overview",
    users="Users",
    webhooks="Webhooks",
    keys="Keys",
    settings="Display settings",
    find="Find",
    find_placeholder="Name, ID or transaction",
    language="Language",
    theme="Theme",
    theme_names={"auto": "System", "light": "Light", "dark": "Dark"},
    zone="Time zone",
    zone_own="Time zone of the service",
    save="Save",
    cancel="Cancel",
    back="Back",
    times_in="Time zone: {}",
    signed_in_as="Signed in with {}",
    no_keys="No keys yet. Anyone with access to this machine has full access to the ledger.",
    sign_out="Sign out",
    live="Live",
    live_lost="Connection lost. Reconnecting…",
    yes="Yes",
    no="No",
    all="All",
    show="Show",
    copy="Copy",
    copied="Copied",
    show_more="Show more",
    time="Time",
    sign_in="Sign in",
    sign_in_title="Sign in to the console",
    sign_in_lead="Use an API key with the scope read. You see only what the key permits.",
    key="API key",
    key_hint="Usually begins with saldo_. It is not stored in the browser.",
    sign_in_rejected=(
        "This key cannot be used to sign in: it is unknown, expired or revoked, or it is not "
        "valid from this network."
    ),
    sign_in_scope_missing="This key does not have the scope read, which the console requires.",
    signed_out="You are signed out.",
    error_titles={
        400: "Invalid request",
        403: "Access denied",
        404: "Not found",
        409: "Conflict",
        422: "Invalid input",
        429: "Too many requests",
        500: "Internal error",
        503: "Temporarily unavailable",
    },
    not_found="There is nothing at this address.",
    forbidden=(
        "The key that you signed in with does not permit this. An administrator can create a key "
        "that does."
    ),
    forbidden_user="The key that you signed in with has no access to this user.",
    forbidden_all=(
        "The key that you signed in with is limited to certain users. This page requires a key "
        "for all users."
    ),
    form_expired=(
        "This form was opened before you signed in or out. Open the page again and send the form "
        "from there."
    ),
    form_cross_origin="This form was sent by a page of another site. Nothing was changed.",
    rate_limited="The rate limit of the key is reached. Wait a moment and try again.",
    database_down=(
        "The database is not available at the moment. Nothing is lost: try again in a moment."
    ),
    internal_error="The error has been logged with the request ID {}.",
    nothing_changed="Nothing was changed.",
    bad_request="This page cannot process the request.",
    to_start="Go to the start page",
    open_again="Open the page again",
    users_found=create_english_plural("{} user", "{} users"),
    users_none="There are no users yet.",
    users_no_match=(
        "No user name starts with this text, and no user ID or transaction matches it."
    ),
    users_lead="Search by ID or by the beginning of a name",
    name="Name",
    id="ID",
    balance="Balance",
    created="Created",
    new_user="New user",
    new_user_lead="The balance starts at zero. A name is unique and cannot be changed later.",
    create="Create",
    name_taken="This name is taken.",
    user="User",
    balance_now="Current balance",
    balance_at="Balance at a date",
    date_and_time="Date and time",
    inclusive="Includes everything that took effect by then, late entries too.",
    chart="Balance over time",
    chart_hint="Drag to zoom in, double-click to show everything.",
    chart_keys="On the keyboard, + and - zoom, the arrow keys move and 0 shows everything.",
    chart_loading="Loading the chart…",
    chart_failed="The chart cannot be loaded at the moment.",
    chart_empty="The balance has never changed, so there is nothing to draw.",
    chart_ahead="This period is in the future: there is no data yet.",
    chart_all="All",
    chart_ranges={"day": "24 h", "week": "7 days", "month": "30 days", "year": "1 year"},
    chart_exact=create_english_plural("{} change, shown exactly", "{} changes, each shown exactly"),
    chart_thinned=create_english_plural(
        "{} change, reduced to lows and highs",
        "{} changes, reduced to lows and highs",
    ),
    chart_sampled=create_english_plural(
        "{} point at equal distances: zoom in to see every change",
        "{} points at equal distances: zoom in to see every change",
    ),
    chart_table="Show as a table",
    chart_table_part="The last {} points of the range:",
    zoom_in="Zoom in",
    zoom_out="Zoom out",
    earlier="Earlier",
    later="Later",
    changed_to="The balance is now {}.",
    transactions="Transactions",
    transactions_none="There are no transactions yet.",
    transactions_no_match="No transactions match the filter.",
    transactions_short=(
        "None of the transactions checked so far match the filter, but there are older ones."
    ),
    filter="Filter",
    filter_clear="Clear",
    range_start="Start",
    range_end="End (exclusive)",
    kind="Type",
    kinds={"DEPOSIT": "Deposit", "WITHDRAW": "Withdrawal"},
    outcome="Outcome",
    outcomes={"posted": "Posted", "refused": "Refused"},
    outcome_reasons={
        "posted": "Posted",
        "insufficient_funds": "Refused: insufficient funds",
        "balance_above_maximum": "Refused: the balance would exceed the maximum",
        "uuid_conflict": "Another transaction is recorded under this uuid",
        "user_not_found": "This user does not exist",
        "timestamp_in_future": "The effective date is too far in the future",
        "timestamp_too_late": "The effective date is too far in the past",
        "late_check_too_long": "A withdrawal with such an early date takes too long to check",
    },
    posted="Posted",
    late="Late",
    late_hint="Took effect before a transaction that was already posted",
    number="No.",
    amount="Amount",
    balance_after="Balance after",
    balance_unchanged="Balance (unchanged)",
    refused_by_date=(
        "The balance was too low on the effective date, or at some time since. The balance shown "
        "here is not the reason for the refusal."
    ),
    timestamp="Effective date",
    recorded="Recorded",
    older="Older",
    newest="Newest",
    details="Details",
    print="Print",
    uuid="UUID",
    transaction="Transaction",
    deposit="Deposit",
    withdraw="Withdraw",
    amount_hint="For example {}",
    amount_too_large="must be at most {}",
    effective="Effective date",
    effective_hint="Leave empty to use the current time. Time zone: {}.",
    effective_now="The time of posting",
    continue_="Continue",
    confirm={"DEPOSIT": "Deposit {}", "WITHDRAW": "Withdraw {}"},
    confirm_lead="Nothing has been posted yet. Check the details and confirm.",
    confirm_once=(
        "The transaction is posted only once, even if you press the button again, reload this page "
        "or come back to it."
    ),
    before="Before",
    after="After",
    would_be_refused=(
        "The balance is too low for this withdrawal. If you confirm, the withdrawal will be "
        "refused, and the refusal will be recorded."
    ),
    would_be_refused_then=(
        "On the effective date the balance was too low for this withdrawal. If you confirm, the "
        "withdrawal will be refused, and the refusal will be recorded."
    ),
    would_be_in_future=(
        "The effective date is in the future. The transaction cannot be posted before that time."
    ),
    balance_then="Balance on the effective date",
    balance_then_hint="It must be sufficient on that date and at all times since.",
    done={"DEPOSIT": "{} deposited.", "WITHDRAW": "{} withdrawn."},
    done_refused=(
        "The balance has not changed. The refusal is recorded and final. To try again, start a new "
        "transaction."
    ),
    done_before="This transaction had already been processed; nothing was done a second time.",
    done_other=(
        "This page shows the recorded transaction. Your new transaction was not posted. To post "
        "it, start again."
    ),
    send_again="Send again",
    unknown_outcome=(
        "It is not known yet whether the transaction was posted. Send it again: this is safe, "
        "because it is posted at most once."
    ),
    not_posted="Nothing was posted.",
    not_posted_now=(
        "This time nothing was posted. Send the transaction again in a moment: this is safe, "
        "because it is posted at most once."
    ),
    to_user="View user",
    proof="Proof",
    proof_lead="Shows that this entry belongs to a log that has not changed since it was sealed.",
    sealed="Sealed",
    proof_waiting="The entry is not sealed yet. This takes about a second: reload the page.",
    proof_broken=(
        "The entries do not match their seal: somebody has changed the log without the service."
    ),
    proof_download="Download the proof",
    proof_steps=create_english_plural(
        "{} hash from the entry to the root", "{} hashes from the entry to the root"
    ),
    shard="Shard",
    seq="Sequence number",
    seal="Hash of the seal",
    seal_entries="Sealed entries",
    sealed_at="Sealed at",
    root="Merkle root",
    path="Merkle path",
    this_process="This process",
    this_process_hint=(
        "Activity of this process, sampled every {} s. If the service has several processes, each "
        "shows only its own."
    ),
    throughput="Transactions",
    throughput_unit="per second, by outcome",
    latency="API latency",
    queue="Queue",
    queue_hint="Requests waiting for an outcome",
    ledger="Ledger",
    entries_posted="Posted",
    entries_refused="Refused",
    sum_of_balances="Sum of balances",
    relays="Events and webhooks",
    relays_none="No sinks are configured.",
    sink="Sink",
    sink_active="Active",
    events_behind="Events behind",
    lag="Lag",
    failures="Failures",
    last_failure="Last failure",
    seals="Seals",
    seals_sealed="Sealed entries: {}",
    seals_off="Off",
    audit="Audit",
    audit_off="Off",
    audit_round="Current round: {}%",
    audit_rounds="Completed rounds",
    audit_faults=create_english_plural("{} unacknowledged fault", "{} unacknowledged faults"),
    audit_no_faults="No faults",
    audit_active="Running",
    audit_last="Last completed {} ago",
    never="Never",
    largest="Largest recent transactions",
    largest_hint="The list covers the last {} entries of each shard.",
    largest_none="Nothing has been posted yet.",
    database="Database",
    database_up="Responds in {}",
    database_unavailable="Not available",
    durations=("ms", "s", "min", "h", "d"),
    milliseconds="ms",
    per_second="/s",
    posted_line="Posted",
    refused_line="Refused",
    replayed_line="Replayed",
    sampling="Collecting data…",
    keys_lead=(
        "Clients authenticate with API keys. A key is shown only once, when it is created. The "
        "service stores only its hash."
    ),
    keys_none_created="There are no keys except the one in the settings.",
    keys_none=(
        "There are no keys. Once the first key exists, every request requires a key, and so does "
        "this console."
    ),
    new_key="New key",
    scopes="Scopes",
    scope_names={
        "read": "read: users, balances, transactions",
        "write": "write: deposits, withdrawals, new users",
        "metrics": "metrics: metrics for Prometheus",
        "admin": "admin: all of these, webhooks and keys",
    },
    key_users_hint=(
        "User IDs, separated by commas. Leave empty for all users. Possible only with the scopes "
        "read and write."
    ),
    networks="Networks",
    networks_hint="Separated by commas. Leave empty to allow all networks.",
    expires="Expires",
    expires_hint="Leave empty for a key that does not expire. Time zone: {}.",
    state="State",
    valid="Valid",
    revoked="Revoked",
    expired="Expired",
    replaced="Replaced by key {}",
    revoke="Revoke",
    revoke_question="Revoke this key? Its clients lose access immediately.",
    rotate="Rotate",
    rotate_question=(
        "Create a new key with the same rights? The old key remains valid for a while."
    ),
    key_shown_once="Copy the key now. It will not be shown again.",
    too_many_keys="The limit of valid keys is reached: {}. Revoke a key first.",
    own_key="Your key",
    webhooks_lead="Events are sent to these URLs as signed HTTP requests.",
    webhooks_none="There are no webhooks.",
    webhook_users_hint="User IDs, separated by commas. Leave empty for all users.",
    new_webhook="New webhook",
    url="URL",
    events="Events",
    events_hint="Select nothing to receive all events.",
    enabled="Enabled",
    disabled="Disabled",
    webhooks_disabled="Disabled",
    enable="Enable",
    disable="Disable",
    delete="Delete",
    delete_question="Delete this webhook with its pending and dead deliveries?",
    deliveries_pending="Pending",
    deliveries_dead="Dead",
    delivery_states={"pending": "Pending", "dead": "Dead"},
    replay="Retry all",
    replayed=create_english_plural(
        "{} delivery will be retried.",
        "{} deliveries will be retried.",
    ),
    attempts_succeeded="Successful attempts",
    attempts_failed="Failed attempts",
    signing_key_shown_once="Copy the signing secret now. It will not be shown again.",
    too_many_webhooks="The limit of webhooks is reached: {}. Delete a webhook first.",
    deliveries="Pending and dead deliveries",
    deliveries_none="There are no pending or dead deliveries.",
    attempts="Attempts",
    next_attempt="Next attempt",
    range_is_empty="must be later than the start",
    field_fault="{} {}.",
    field_names={
        "amount": "Amount",
        "timestamp": "Effective date",
        "name": "Name",
        "scopes": "Scopes",
        "user_ids": "Users",
        "networks": "Networks",
        "expires_at": "Expiry date",
        "url": "URL",
        "from": "Start",
        "to": "End",
        "date": "Date and time",
        "user_id": "User",
        "uuid": "UUID",
        "outcome": "Outcome",
        "type": "Type",
        "cursor": "Cursor",
        "after": "Cursor",
        "form": "The form",
    },
    unnamed_field="The field “{}”",
    field_faults={
        "timestamp": "must be in the years 1900 to 2200, in the form 2026-10-30T12:30:45",
        "scopes": "must include at least one scope",
        "user_ids": "must be IDs separated by commas (for a key, only with the scopes read and write)",
        "networks": "must be networks such as 192.0.2.0/24 or 2001:db8::/32, separated by commas",
        "expires_at": "must be in the future, in the form 2026-10-30T12:30:45",
        "from": "must be in the years 1900 to 2200, in the form 2026-10-30T12:30:45",
        "to": "must be in the years 1900 to 2200, in the form 2026-10-30T12:30:45",
        "date": "must be in the years 1900 to 2200, in the form 2026-10-30T12:30:45",
        "user_id": "must be a whole number greater than zero",
        "uuid": "must have the form ea3015b1-c25c-47e5-beb7-2679ac7c89a7",
        "outcome": "must be posted or refused",
        "type": "must be DEPOSIT or WITHDRAW",
        "cursor": "must come from a link of this list",
        "after": "must come from a link of this list",
    },
    form_faults={
        "unknown": "is not known on this page",
        "repeated": "is given twice",
        "unreadable": "cannot be read",
    },
)
