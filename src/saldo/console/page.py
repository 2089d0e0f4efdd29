"""Building blocks of pages: rendering, texts, cookies, redirects, and the parsing of queries and forms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import HttpMethod, Request, Response, route
from litestar.datastructures import State
from litestar.di import NamedDependency
from markupsafe import Markup

from saldo.auth.grants import NO_GRANT, Grant, Scope
from saldo.console.authentication import (
    SESSION_COOKIE,
    VISITOR_COOKIE,
    Visitor,
    build_cookie_name,
    is_secure,
    parse_cookies,
)
from saldo.console.formatting import Formatter
from saldo.console.i18n.catalog import Messages
from saldo.console.i18n.catalogs import CATALOGS
from saldo.console.preferences import LANGUAGES, PREFERENCES_COOKIE, THEMES, Preferences
from saldo.http.api.context import AppContext
from saldo.http.authorization import CONSOLE_PATH
from saldo.http.request_state import get_request_state
from saldo.parsing.faults import InvalidField, InvalidRequestError

ASSETS_PATH: Final = f"{CONSOLE_PATH}/assets"
SIGN_IN_PATH: Final = f"{CONSOLE_PATH}/sign-in"

PREFERENCES_COOKIE_SECONDS: Final = 31_536_000
FIELDS_MAX: Final = 100
"""Maximum number of fields in a form or a query."""

HttpRequest = Request[Any, Any, State]


@cache
def create_template_environment() -> Environment:
    """Return the template environment, which escapes all text and raises an error for undefined names."""
    return Environment(
        loader=PackageLoader("saldo.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@dataclass(frozen=True, slots=True)
class LocalizedFault(InvalidField):
    """A fault whose message is already in the reader's language."""


@dataclass(frozen=True, slots=True)
class FormFault(InvalidField):
    """A fault of the submitted form or query as a whole, not of a field's value.

    Attributes:
        key: The key of the message in `Messages.form_faults`.
    """

    key: str


class ConsolePage:
    """A request to the console. It has the visitor and the preferences, and its methods build the response."""

    def __init__(self, request: HttpRequest, visitor: Visitor, service: AppContext) -> None:
        self.request = request
        self.visitor = visitor
        self.service = service
        self.root = get_request_state(request.scope).path_prefix
        """The prefix of all paths in links, redirects and cookies. Paths within the console are without it."""
        self.preferences = _parse_preferences(request)
        self._canonical_url = ""
        self.messages: Messages = CATALOGS[self.preferences.language]
        zone = self.preferences.resolve_zone(service.settings.tzinfo)
        self.formatter = Formatter(
            self.preferences.language,
            zone,
            service.parser_options.decimals,
            self.messages.durations,
        )

    @property
    def grant(self) -> Grant:
        """The grant of the visitor."""
        return self.visitor.grant or NO_GRANT

    @property
    def is_form(self) -> bool:
        """True if the request submits a form, false if it only reads a page."""
        return self.request.method not in {"GET", "HEAD"}

    @property
    def is_partial(self) -> bool:
        """True if a script requests a part of a page that the browser already shows."""
        return "hx-request" in self.request.headers

    def render(self, template: str, status: int = 200, **values: Any) -> Response[bytes]:
        """Render a template as the response."""
        text = (
            create_template_environment()
            .get_template(template)
            .render(page=self, t=self.messages, f=self.formatter, grant=self.grant, **values)
        )
        answer = Response(text.encode(), status_code=status, media_type="text/html")
        answer.headers["vary"] = "cookie, accept-language, hx-request"
        if self.visitor.is_new:
            self._set_identity(answer, VISITOR_COOKIE, self.visitor.secret)
        return answer

    def redirect(self, path: str, **query: str) -> Response[bytes]:
        """Return a redirect to another page.

        A script gets the header `hx-redirect` instead of status 303. It would follow a 303 and insert the other page
        into the current one.
        """
        target = f"{self.root}{path}?{urlencode(query)}" if query else f"{self.root}{path}"
        if self.is_partial:
            return Response(b"", status_code=200, headers={"hx-redirect": target})
        return Response(b"", status_code=303, headers={"location": target})

    def set_cookie(
        self,
        answer: Response[Any],
        name: str,
        value: str,
        *,
        seconds: int | None = None,
        path: str = CONSOLE_PATH,
    ) -> None:
        """Set a cookie that scripts cannot read and that the browser does not send with requests from other sites.

        Args:
            seconds: The lifetime of the cookie. With None it lasts until the browser is closed.
            path: The path within the service, which gets the prefix; `/` means all paths of the host.
        """
        answer.set_cookie(
            name,
            value,
            path=path if path == "/" else f"{self.root}{path}",
            max_age=seconds,
            secure=self.is_secure,
            httponly=True,
            samesite="strict",
        )

    def save_preferences(self, answer: Response[Any], preferences: Preferences) -> None:
        """Store the preferences in a cookie."""
        self.set_cookie(
            answer,
            PREFERENCES_COOKIE,
            quote(preferences.serialize(), safe=""),
            seconds=PREFERENCES_COOKIE_SECONDS,
        )

    def set_session_cookie(self, answer: Response[Any], secret: str | None) -> None:
        """Set the session cookie to a secret, or delete it if the secret is None."""
        self._set_identity(answer, SESSION_COOKIE, secret or "", seconds=None if secret else 0)
        if secret is None and self.is_secure:
            # The value "cookies" would delete the cookies of all sites under the same domain.
            answer.headers["clear-site-data"] = '"cache"'

    def _set_identity(
        self, answer: Response[Any], name: str, value: str, *, seconds: int | None = None
    ) -> None:
        """Set a cookie that identifies the browser. With TLS, the prefix of its name requires the path `/`."""
        path = "/" if self.is_secure else CONSOLE_PATH
        name = build_cookie_name(name, secure=self.is_secure, path_prefix=self.root)
        self.set_cookie(answer, name, value, seconds=seconds, path=path)

    @property
    def is_secure(self) -> bool:
        """True if the browser uses TLS."""
        return is_secure(self.request.scope)

    def set_canonical_url(self, path: str, **query: str) -> None:
        """Set the address at which this page can be opened again.

        A page that is the response to a form needs this method, because the address of the request is a different one
        or is incomplete.
        """
        self._canonical_url = f"{path}?{urlencode(query)}" if query else path

    # --- values for templates -------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The path and query at which this page can be opened again."""
        if self._canonical_url:
            return self._canonical_url
        query = self.request.scope["query_string"].decode("latin-1")
        path = self.request.scope["path"]
        return f"{path}?{query}" if query else path

    @property
    def return_path(self) -> str:
        """The path of the page to return to if this request fails. For a form, it is the page that contains the
        form."""
        if not self.is_form or self.request.scope["query_string"]:
            return self.url
        return (
            parse_console_path(_extract_path(self.request.headers.get("referer", ""), self.root))
            or CONSOLE_PATH
        )

    @property
    def path(self) -> str:
        return self.request.scope["path"]

    def build_asset_path(self, name: str) -> str:
        """Return the path of a static file. The browser revalidates the file each time it is used."""
        return f"{self.root}{ASSETS_PATH}/{name}"

    @property
    def form_token_field(self) -> Markup:
        """The hidden field with the token that every form must contain."""
        return Markup('<input type="hidden" name="form" value="{}">').format(
            self.visitor.form_token
        )

    @property
    def next_theme(self) -> str:
        """The theme that the theme switch selects next."""
        return THEMES[(THEMES.index(self.preferences.theme) + 1) % len(THEMES)]

    @property
    def zone_key(self) -> str:
        """The IANA name of the time zone, for scripts; `UTC` if the zone has none."""
        return getattr(self.formatter.zone, "key", None) or "UTC"

    @property
    def navigation(self) -> list[tuple[str, str, bool]]:
        """The navigation entries: path, label, and whether the visitor is allowed to open the page."""
        messages = self.messages
        return [
            (f"{CONSOLE_PATH}/overview", messages.overview, self.covers_all_users),
            (f"{CONSOLE_PATH}/users", messages.users, True),
            (f"{CONSOLE_PATH}/webhooks", messages.webhooks, self.allows("admin")),
            (f"{CONSOLE_PATH}/keys", messages.keys, self.allows("admin")),
        ]

    def describe_faults(self, error: InvalidRequestError) -> dict[str, str]:
        """Return the messages of a validation error by field, in the reader's language."""
        return {fault.field: describe_fault(self.messages, fault) for fault in error.faults}

    def allows(self, scope: str) -> bool:
        """Return whether the grant includes a scope, given by its name."""
        return self.grant.allows(Scope(scope))

    @property
    def covers_all_users(self) -> bool:
        """True if the grant is not limited to some users."""
        return self.grant.user_ids is None

    languages = LANGUAGES
    themes = THEMES


InjectedPage = NamedDependency[ConsolePage]


def describe_fault(messages: Messages, fault: InvalidField) -> str:
    """Return the sentence about an invalid field in the language of a catalog."""
    match fault:
        case LocalizedFault():
            predicate = fault.message
        case FormFault():
            predicate = messages.form_faults[fault.key]
        case _:
            predicate = messages.field_faults.get(fault.field, fault.message)
    name = messages.field_names.get(fault.field)
    if name is None:
        name = messages.unnamed_field.format(fault.field)
    return messages.field_fault.format(name, predicate)


def page_route(path: str) -> route:
    """Return a route decorator for a page or for data that a page loads. The route answers GET and HEAD."""
    return route(path, http_method=[HttpMethod.GET, HttpMethod.HEAD])


def parse_query(request: HttpRequest, *names: str) -> dict[str, str]:
    """Return the query parameters that are present and not empty.

    Args:
        names: The allowed parameters.

    Raises:
        InvalidRequestError: The query contains another parameter, or one parameter twice.
    """
    return _select_fields(request.scope["query_string"].decode("latin-1"), names)


async def parse_form(request: HttpRequest, *names: str, keep_empty: bool = False) -> dict[str, str]:
    """Return the fields of a form.

    Args:
        names: The allowed fields, without the form token.
        keep_empty: Whether to return empty fields, too.

    Raises:
        InvalidRequestError: The form contains another field, or one field twice.
    """
    body = (await request.body()).decode("latin-1")
    return _select_fields(body, ("form", *names), keep_empty=keep_empty)


async def parse_field_values(request: HttpRequest, name: str) -> list[str]:
    """Return all values of a form field.

    Raises:
        InvalidRequestError: The form cannot be parsed.
    """
    body = (await request.body()).decode("latin-1")
    return [value for key, value in _parse_pairs(body) if key == name]


def split_commas(text: str | None) -> list[str] | None:
    """Split a comma-separated input. Return None if it contains no values."""
    return [part.strip() for part in (text or "").split(",") if part.strip()] or None


def parse_console_path(text: str | None) -> str | None:
    """Return the text if it is a path of the console; otherwise None. The check prevents redirects to other sites."""
    if text is None or "\\" in text or any(ord(character) < 33 for character in text):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    is_inside = parts.path == CONSOLE_PATH or parts.path.startswith(f"{CONSOLE_PATH}/")
    return text if is_inside and not parts.scheme and not parts.netloc else None


def _extract_path(url: str, path_prefix: str) -> str | None:
    """Return the path and the query of a URL, without the prefix that a proxy removes."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    path = parts.path.removeprefix(path_prefix)
    return f"{path}?{parts.query}" if parts.query else path


def _select_fields(
    text: str, names: tuple[str, ...], *, keep_empty: bool = False
) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in _parse_pairs(text):
        if name not in names:
            raise InvalidRequestError(
                [FormFault(name[:100], "is not a field of this page", "unknown")]
            )
        if name in fields:
            raise InvalidRequestError([FormFault(name, "is given twice", "repeated")])
        fields[name] = value
    return {name: value for name, value in fields.items() if keep_empty or value.strip()}


def _parse_pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise InvalidRequestError([FormFault("form", "cannot be read", "unreadable")]) from None


def _parse_preferences(request: HttpRequest) -> Preferences:
    cookie = parse_cookies(request.scope).get(PREFERENCES_COOKIE, "")
    return Preferences.parse(unquote(cookie), request.headers.get("accept-language", ""))
