"""Making pages: what every page has, the words, the cookies, and the answers that are no page."""

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

from saldo.access.grant import NOBODY, Grant, Scope
from saldo.console.entry import SESSION_COOKIE, VISITOR_COOKIE, Visitor, cookies_of
from saldo.console.formats import Formats
from saldo.console.languages import WORDS
from saldo.console.look import LANGUAGES, LOOK_COOKIE, THEMES, Look
from saldo.console.words import Words
from saldo.http.access import CONSOLE_PATH
from saldo.http.service import Service
from saldo.http.wire import Fault, InvalidError

ASSETS_PATH: Final = f"{CONSOLE_PATH}/assets"
SIGN_IN_PATH: Final = f"{CONSOLE_PATH}/sign-in"

LOOK_SECONDS: Final = 31_536_000
FIELDS_MAX: Final = 100
"""Fields of a form or a query."""

Asked = Request[Any, Any, State]


@cache
def templates() -> Environment:
    """All text that they are given is escaped, and a name that nobody gave is a fault."""
    return Environment(
        loader=PackageLoader("saldo.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )


@dataclass(frozen=True, slots=True)
class SaidFault(Fault):
    """One whose message is in the reader's language already."""


class Page:
    """One request's: who asks, how that one sees it, and what it is answered with."""

    def __init__(self, request: Asked, visitor: Visitor, service: Service) -> None:
        self.request = request
        self.visitor = visitor
        self.service = service
        self.look = _look_of(request)
        self._stands_at = ""
        self.words: Words = WORDS[self.look.language]
        zone = self.look.tzinfo(service.settings.tzinfo)
        self.formats = Formats(
            self.look.language, zone, service.reading.decimals, self.words.durations
        )

    @property
    def grant(self) -> Grant:
        """What the one who asks may do."""
        return self.visitor.grant or NOBODY

    @property
    def is_form(self) -> bool:
        """Whether something is to be done; else it is only looked at."""
        return self.request.method not in {"GET", "HEAD"}

    @property
    def is_part(self) -> bool:
        """Whether a script asks for a part of a page that is there already."""
        return "hx-request" in self.request.headers

    def show(self, template: str, status: int = 200, **values: Any) -> Response[bytes]:
        """A page, or a part of one."""
        text = (
            templates()
            .get_template(template)
            .render(page=self, t=self.words, f=self.formats, grant=self.grant, **values)
        )
        answer = Response(text.encode(), status_code=status, media_type="text/html")
        answer.headers["vary"] = "cookie, accept-language, hx-request"
        if self.visitor.new:
            self.set_cookie(answer, VISITOR_COOKIE, self.visitor.secret)
        return answer

    def go(self, path: str, **query: str) -> Response[bytes]:
        """To another page. A script that asked for a part is told, since it would put that page into this one."""
        target = f"{path}?{urlencode(query)}" if query else path
        if self.is_part:
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
        """Sets a cookie that no script reads and no other site's page sends. seconds: how long it is kept; None: until
        the browser is closed."""
        answer.set_cookie(
            name,
            value,
            path=path,
            max_age=seconds,
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )

    def keep_look(self, answer: Response[Any], look: Look) -> None:
        """Keeps what was chosen."""
        self.set_cookie(answer, LOOK_COOKIE, quote(look.written, safe=""), seconds=LOOK_SECONDS)

    def keep_session(self, answer: Response[Any], secret: str | None) -> None:
        """Signs this browser in; None: out."""
        self.set_cookie(answer, SESSION_COOKIE, secret or "", seconds=None if secret else 0)

    @property
    def _secure(self) -> bool:
        """Whether the browser came by TLS. That of a proxy is believed whoever says it: it only makes us stricter."""
        forwarded = self.request.headers.get("x-forwarded-proto", "")
        return self.request.scope["scheme"] == "https" or forwarded == "https"

    def stands_at(self, path: str, **query: str) -> None:
        """Where a page is opened again: one that answers a form has another address, or not all of it."""
        self._stands_at = f"{path}?{urlencode(query)}" if query else path

    # --- what templates ask ---------------------------------------------------------------------

    @property
    def here(self) -> str:
        """Path and query, to come back to."""
        if self._stands_at:
            return self._stands_at
        query = self.request.scope["query_string"].decode("latin-1")
        path = self.request.scope["path"]
        return f"{path}?{query}" if query else path

    @property
    def origin(self) -> str:
        """The page to open again after this request was not done: that which a form was sent from."""
        if not self.is_form or self.request.scope["query_string"]:
            return self.here
        return local_path(_path_of(self.request.headers.get("referer", ""))) or CONSOLE_PATH

    @property
    def path(self) -> str:
        return self.request.scope["path"]

    def asset(self, name: str) -> str:
        """Where a file is. The browser asks each time whether it is still the same one."""
        return f"{ASSETS_PATH}/{name}"

    @property
    def form(self) -> Markup:
        """The field that each form carries."""
        return Markup('<input type="hidden" name="form" value="{}">').format(
            self.visitor.form_token
        )

    @property
    def next_theme(self) -> str:
        """What the switch changes to."""
        return THEMES[(THEMES.index(self.look.theme) + 1) % len(THEMES)]

    @property
    def zone_key(self) -> str:
        """The zone's name as browsers know it."""
        return getattr(self.formats.zone, "key", None) or "UTC"

    @property
    def places(self) -> list[tuple[str, str, bool]]:
        """The parts of the console: path, name, and whether the key opens it."""
        words = self.words
        return [
            (f"{CONSOLE_PATH}/overview", words.overview, self.sees_all),
            (f"{CONSOLE_PATH}/users", words.users, True),
            (f"{CONSOLE_PATH}/webhooks", words.webhooks, self.may("admin")),
            (f"{CONSOLE_PATH}/keys", words.keys, self.may("admin")),
        ]

    def faults(self, error: InvalidError) -> dict[str, str]:
        """What is wrong, by field, in the reader's language."""
        words = self.words

        def what(fault: Fault) -> str:
            if isinstance(fault, SaidFault):
                return fault.message
            return words.field_faults.get(fault.field, fault.message)

        return {
            fault.field: f"{words.field_names.get(fault.field, fault.field)} {what(fault)}."
            for fault in error.faults
        }

    def may(self, scope: str) -> bool:
        return self.grant.allows(Scope(scope))

    @property
    def sees_all(self) -> bool:
        """Whether it is about all users."""
        return self.grant.user_ids is None

    languages = LANGUAGES
    themes = THEMES


Given = NamedDependency[Page]


def shows(path: str) -> route:
    """The route of a page, or of what a page asks for. Who wants its head only is answered with that."""
    return route(path, http_method=[HttpMethod.GET, HttpMethod.HEAD])


def query_of(request: Asked, *names: str) -> dict[str, str]:
    """The query's parameters that are there and not empty.

    Raises:
        InvalidError: there are others, or one is given twice.
    """
    return _fields(request.scope["query_string"].decode("latin-1"), names)


async def form_of(request: Asked, *names: str, empty: bool = False) -> dict[str, str]:
    """The fields of a form.

    Args:
        names: those there are, beside the token.
        empty: those too that are empty.

    Raises:
        InvalidError: see `query_of`.
    """
    body = (await request.body()).decode("latin-1")
    return _fields(body, ("form", *names), empty=empty)


async def list_of(request: Asked, name: str) -> list[str]:
    """All values of a form's field.

    Raises:
        InvalidError: it can't be read.
    """
    body = (await request.body()).decode("latin-1")
    return [value for key, value in _pairs(body) if key == name]


def listed(text: str | None) -> list[str] | None:
    """What was typed with commas; None: nothing was."""
    return [part.strip() for part in (text or "").split(",") if part.strip()] or None


def local_path(text: str | None) -> str | None:
    """A path of the console to go to, if it is one: nobody is sent elsewhere."""
    if text is None or "\\" in text or any(ord(character) < 33 for character in text):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    inside = parts.path == CONSOLE_PATH or parts.path.startswith(f"{CONSOLE_PATH}/")
    return text if inside and not parts.scheme and not parts.netloc else None


def _path_of(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _fields(text: str, names: tuple[str, ...], *, empty: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _pairs(text):
        if name not in names:
            raise InvalidError([Fault(name[:100], "is not a field of this page")])
        if name in found:
            raise InvalidError([Fault(name, "is given twice")])
        found[name] = value
    return {name: value for name, value in found.items() if empty or value.strip()}


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError:
        raise InvalidError([Fault("form", "can't be read")]) from None


def _look_of(request: Asked) -> Look:
    cookie = cookies_of(dict(request.scope["headers"])).get(LOOK_COOKIE, "")
    return Look.read(unquote(cookie), request.headers.get("accept-language", ""))
