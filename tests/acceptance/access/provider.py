"""An identity provider: keys at a URL, tokens signed with them, and forged tokens."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://id.example"
AUDIENCE = "saldo"


class Provider:
    """A provider: its keys by name, and the names of those that it publishes."""

    def __init__(self) -> None:
        self.url = ""
        self.asked = 0
        self.instead: tuple[int, str] | None = (
            None  # status and text of an answer that is no JWK set
        )
        self.keys: dict[str, tuple[str, Any]] = {}
        self.published: set[str] = set()
        self.add("rsa", "RS256", rsa.generate_private_key(65537, 2048))
        self.add("ec", "ES256", ec.generate_private_key(ec.SECP256R1()))
        self.add("ed", "EdDSA", ed25519.Ed25519PrivateKey.generate())

    def add(self, name: str, algorithm: str, key: Any, *, published: bool = True) -> None:
        """Add a key."""
        self.keys[name] = (algorithm, key)
        if published:
            self.published.add(name)

    def jwks(self) -> dict[str, Any]:
        """Return the JWK set of the published keys."""
        return {"keys": [self._jwk(name) for name in sorted(self.published)]}

    def token(
        self, name: str = "rsa", *, headers: dict[str, Any] | None = None, **claims: Any
    ) -> str:
        """Return a signed token. Claims that are None are left out."""
        algorithm, key = self.keys[name]
        return jwt.encode(self.claims(**claims), key, algorithm, {"kid": name, **(headers or {})})

    def claims(self, **given: Any) -> dict[str, Any]:
        """Return the claims of a valid token, changed as given."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "somebody",
            "exp": int(time.time()) + 3600,
            "scope": "read write",
        }
        return {name: value for name, value in (claims | given).items() if value is not None}

    def make_unsigned_token(self) -> str:
        """Return a token with `alg: none`."""
        return f"{_part({'alg': 'none', 'kid': 'rsa'})}.{_part(self.claims())}."

    def signed_with_the_public_key(self) -> str:
        """Return a token signed with HS256, with the public key as the secret."""
        public = self.keys["rsa"][1].public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signer = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
        signed = f"{_part({'alg': 'HS256', 'kid': 'rsa'})}.{_part(self.claims())}"
        return f"{signed}.{_write_json(signer.sign(signed.encode(), pem))}"

    def make_altered_token(self) -> str:
        """Return a token whose claims were changed after signing."""
        head, _, signature = self.token().split(".")
        return f"{head}.{_part(self.claims(scope='admin'))}.{signature}"

    def _jwk(self, name: str) -> dict[str, Any]:
        algorithm, key = self.keys[name]
        own = jwt.get_algorithm_by_name(algorithm)
        jwk: dict[str, Any] = json.loads(own.to_jwk(key.public_key()))
        return jwk | {"kid": name, "alg": algorithm, "use": "sig"}


@asynccontextmanager
async def run_provider() -> AsyncIterator[Provider]:
    """Yield a provider that listens on a port of this machine."""
    provider = Provider()

    async def answer(_: web.Request) -> web.Response:
        provider.asked += 1
        if provider.instead is not None:
            status, text = provider.instead
            headers = {"location": provider.url} if status == 302 else {}
            return web.Response(status=status, text=text, headers=headers)
        return web.json_response(provider.jwks())

    application = web.Application()
    application.router.add_get("/jwks", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        provider.url = f"http://127.0.0.1:{port}/jwks"
        yield provider
    finally:
        await runner.cleanup()


def _part(value: dict[str, Any]) -> str:
    return _write_json(json.dumps(value).encode())


def _write_json(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
