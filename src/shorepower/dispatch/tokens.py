"""Credentials for callers who come over the network: only the hash of a secret is kept."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from msgspec.structs import replace

from ..host.contract import Clock
from ..model.caller import Caller, Scope
from ..model.errors import Fault, InvalidRequest, NotAuthenticated, NotFound, ShorepowerError
from ..store.contract import Store, Token, Transaction
from .access import may_change

__all__ = ["Tokens"]

_PREFIX = "shp_"
_USE_NOTED = timedelta(minutes=1)
"""How exactly it is known when a token was last used."""


class Tokens:
    """Makes, knows and revokes tokens."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def create(
        self, caller: Caller, name: str, scope: Scope, expires_at: datetime | None
    ) -> tuple[str, Token]:
        """(secret, token). 256 bits of randomness; a checksum lets a typing error be told apart."""
        may_change(caller)
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest([Fault("expires_at", "a token expires in the future")])
        if not name.isprintable() or len(name) > 100:
            raise InvalidRequest([Fault("name", "a token's name has at most 100 printable characters")])
        body = secrets.token_urlsafe(32)
        secret = f"{_PREFIX}{body}{_checksum(body)}"
        token = Token(
            id=secrets.token_hex(6),
            hash=_hash(secret),
            user=caller.user,
            scope=scope,
            name=name,
            created_at=now,
            expires_at=expires_at,
        )

        def keep(tx: Transaction) -> None:
            tx.put_token(token)
            tx.append_audit(now, caller.user, "token.create", token.id)

        await self._store.write(keep)
        return secret, token

    async def authenticate(self, secret: str) -> Caller:
        """The caller. Raises NotAuthenticated for anything unknown, revoked or expired."""
        body, checksum = secret[len(_PREFIX) : -6], secret[-6:]
        shaped = secret.isascii() and secret.startswith(_PREFIX)
        if not shaped or not hmac.compare_digest(_checksum(body), checksum):
            raise NotAuthenticated("that is no token of ours: a letter is missing or wrong")
        token = await self._store.read(lambda view: view.token(_hash(secret)))
        if token is None or token.revoked_at is not None:
            raise NotAuthenticated("this token is unknown or was revoked")
        if token.expires_at is not None and token.expires_at <= self._clock.now():
            raise NotAuthenticated("this token has expired; make a new one")
        await self._note_use(token)
        return Caller(user=token.user, scope=token.scope, via=f"token:{token.id}")

    async def _note_use(self, token: Token) -> None:
        """Now and then: a write for every request would cost more than the request."""
        now = self._clock.now()
        if token.used_at is not None and now - token.used_at < _USE_NOTED:
            return

        def note(tx: Transaction) -> None:
            known = tx.token(token.hash)  # it may have been revoked meanwhile
            if known is not None:
                tx.put_token(replace(known, used_at=now))

        try:
            await self._store.write(note)
        except ShorepowerError:
            pass  # a full disk keeps nobody out

    async def listed(self, caller: Caller) -> list[Token]:
        """The caller's own, newest first."""
        return await self._store.read(lambda view: view.tokens(caller.user))

    async def revoke(self, token_id: str, caller: Caller) -> None:
        """At once. Raises NotFound for an unknown one and for another user's."""
        may_change(caller)
        now = self._clock.now()

        def end(tx: Transaction) -> None:
            known = [one for one in tx.tokens(caller.user) if one.id == token_id]
            if not known:
                raise NotFound(f"no token {token_id!r} of yours")
            tx.put_token(_revoked(known[0], now))
            tx.append_audit(now, caller.user, "token.revoke", token_id)

        await self._store.write(end)


def _revoked(token: Token, now: datetime) -> Token:
    return replace(token, revoked_at=token.revoked_at or now)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:6]
