"""Tokens: what they open, and when they stop to."""

from datetime import timedelta

import pytest

from shorepower.model.caller import Scope
from shorepower.model.errors import InvalidRequest, NotAllowed, NotAuthenticated, NotFound
from support.dispatching import ALICE, BOB, READER, SUBMITTER

pytestmark = pytest.mark.anyio


@pytest.fixture
def dispatcher(bench):
    return bench.dispatcher()


async def _made(dispatcher, scope=Scope.FULL, expires_at=None):
    return await dispatcher.create_token(ALICE, "laptop", scope, expires_at)


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_stands_for_its_maker_with_its_scope(dispatcher, scope):
    secret, token = await _made(dispatcher, scope)
    caller = await dispatcher.authenticate(secret)
    assert (caller.user, caller.scope, caller.via) == ("alice", scope, f"token:{token.id}")


async def test_only_a_hash_is_kept(dispatcher, store):
    secret, _ = await _made(dispatcher)
    (token,) = await store.read(lambda view: view.tokens())
    assert secret.startswith("shp_")
    assert len(secret) >= 47
    assert secret not in f"{token}"
    assert secret not in f"{await dispatcher.tokens(ALICE)}"


async def test_its_owner_sees_when_it_was_last_used(dispatcher, clock):
    secret, made = await _made(dispatcher)
    assert made.used_at is None
    for seconds, noted_s in ((5, 5), (10, 5), (90, 105)):
        clock.advance(seconds)
        await dispatcher.authenticate(secret)
        (token,) = await dispatcher.tokens(ALICE)
        assert token.used_at == made.created_at + timedelta(seconds=noted_s)


async def test_a_token_expires(dispatcher, clock):
    secret, _ = await _made(dispatcher, expires_at=clock.now() + timedelta(hours=1))
    await dispatcher.authenticate(secret)
    clock.advance(3600)
    with pytest.raises(NotAuthenticated, match="expired"):
        await dispatcher.authenticate(secret)


async def test_a_revoked_token_opens_nothing_at_once(dispatcher):
    secret, token = await _made(dispatcher)
    await dispatcher.revoke_token(token.id, ALICE)
    with pytest.raises(NotAuthenticated, match="revoked"):
        await dispatcher.authenticate(secret)
    await dispatcher.revoke_token(token.id, ALICE)
    assert (await dispatcher.tokens(ALICE))[0].revoked_at is not None


@pytest.mark.parametrize("change", ["", "shp_", "shp_x", "Bearer", "shp_ü", "x" * 5000])
async def test_nonsense_is_no_token(dispatcher, change):
    with pytest.raises(NotAuthenticated):
        await dispatcher.authenticate(change)


async def test_a_typing_error_is_told_as_one(dispatcher):
    secret, _ = await _made(dispatcher)
    wrong = secret[:10] + ("a" if secret[10] != "a" else "b") + secret[11:]
    with pytest.raises(NotAuthenticated, match="a letter is missing or wrong"):
        await dispatcher.authenticate(wrong)


async def test_a_well_formed_token_of_another_server_is_unknown(dispatcher, store):
    secret, _ = await _made(dispatcher)
    other = (await dispatcher.create_token(ALICE, "b", Scope.FULL, None))[0]
    assert other != secret
    from shorepower.dispatch.tokens import _checksum

    body = "A" * 43
    with pytest.raises(NotAuthenticated, match="unknown"):
        await dispatcher.authenticate(f"shp_{body}{_checksum(body)}")


@pytest.mark.parametrize("caller", [READER, SUBMITTER])
async def test_a_lesser_scope_makes_and_revokes_none(dispatcher, caller):
    _, token = await _made(dispatcher)
    with pytest.raises(NotAllowed):
        await dispatcher.create_token(caller, "more", Scope.FULL, None)
    with pytest.raises(NotAllowed):
        await dispatcher.revoke_token(token.id, caller)


async def test_nobody_sees_or_revokes_anothers(dispatcher):
    secret, token = await _made(dispatcher)
    assert await dispatcher.tokens(BOB) == []
    with pytest.raises(NotFound):
        await dispatcher.revoke_token(token.id, BOB)
    await dispatcher.authenticate(secret)


async def test_what_is_wrong_with_a_new_token_is_told(dispatcher, clock):
    for name, expires_at in (("a\n", None), ("a" * 101, None), ("a", clock.now())):
        with pytest.raises(InvalidRequest):
            await dispatcher.create_token(ALICE, name, Scope.FULL, expires_at)
    assert await dispatcher.tokens(ALICE) == []
