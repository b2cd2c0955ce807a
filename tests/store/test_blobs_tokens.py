"""Blobs belong to users; tokens are known by their hash."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shorepower.model.caller import Scope
from shorepower.store.contract import BlobOwner, Store, Token, Transaction, Unused
from support.store_records import NOW, after

pytestmark = pytest.mark.anyio


async def test_only_who_sent_a_blob_owns_it(store: Store) -> None:
    def fill(tx: Transaction) -> None:
        tx.put_blob(BlobOwner(owner="ada", digest="one", size_bytes=5, used_at=NOW))
        tx.put_blob(BlobOwner(owner="bob", digest="one", size_bytes=5, used_at=NOW))
        tx.put_blob(BlobOwner(owner="bob", digest="two", size_bytes=7, used_at=NOW))

    await store.write(fill)
    asked = ["one", "two", "three", "one"]
    assert await store.read(lambda view: view.blobs_owned("ada", asked)) == {"one"}
    assert await store.read(lambda view: view.blobs_owned("bob", iter(asked))) == {"one", "two"}
    assert await store.read(lambda view: view.blobs_owned("eve", asked)) == set()
    assert await store.read(lambda view: view.blobs_owned("ada", [])) == set()
    assert await store.read(lambda view: view.blob_bytes()) == 12
    await store.write(lambda tx: tx.forget_blobs(["one", "nothing"]))
    assert await store.read(lambda view: view.blobs_owned("bob", asked)) == {"two"}
    assert await store.read(lambda view: view.blob_bytes()) == 7


async def test_use_by_anyone_refreshes_a_blob_and_never_backdates_it(store: Store) -> None:
    for owner, at in (("ada", 10), ("bob", 20), ("ada", 5)):
        owned = BlobOwner(owner=owner, digest="one", size_bytes=5, used_at=after(at))
        await store.write(lambda tx, owned=owned: tx.put_blob(owned))
    assert await store.read(lambda view: view.blobs_unused_since(after(20))) == []
    assert await store.read(lambda view: view.blobs_unused_since(after(20.000001))) == ["one"]
    assert await store.read(lambda view: view.blob_bytes()) == 5


async def test_ones_own_use_of_blobs_may_count_otherwise_than_that_of_others(store: Store) -> None:
    def fill(tx: Transaction) -> None:
        for digest, owner, at in (
            ("mine", "ada", 50),
            ("new", "ada", 95),
            ("leased", "ada", 50),
            ("shared", "ada", 50),
            ("shared", "bob", 50),
            ("shared long ago", "ada", 50),
            ("shared long ago", "bob", 5),
            ("theirs", "bob", 5),
        ):
            tx.put_blob(BlobOwner(owner=owner, digest=digest, size_bytes=1, used_at=after(at)))
        tx.lease_blobs("ada", ["mine"], after(150))
        tx.lease_blobs("ada", ["leased"], after(195))

    await store.write(fill)
    by = Unused(owner="ada", since=after(90), leased_until=after(190))
    found = await store.read(lambda view: view.blobs_unused_since(after(10), by=by))
    assert found == ["mine", "shared long ago"]
    some = await store.read(lambda view: view.blobs_unused_since(after(10), by=by, among=["mine", "new"]))
    assert some == ["mine"]
    assert await store.read(lambda view: view.blobs_unused_since(after(10))) == ["theirs"]
    assert await store.read(lambda view: view.blobs_unused_since(after(10), among=["mine"])) == []


async def test_many_blobs_at_once(store: Store) -> None:
    digests = [f"sha256:{number:064x}" for number in range(10_000)]

    def fill(tx: Transaction) -> None:
        for digest in digests[::2]:
            tx.put_blob(BlobOwner(owner="ada", digest=digest, size_bytes=1, used_at=NOW))
        tx.lease_blobs("ada", digests, after(60))

    await store.write(fill)
    assert await store.read(lambda view: view.blobs_owned("ada", digests)) == set(digests[::2])
    assert await store.read(lambda view: view.blobs_unused_since(after(59), 10_000)) == []
    await store.write(lambda tx: tx.forget_blobs(digests))
    assert await store.read(lambda view: view.blob_bytes()) == 0


async def test_tokens(store: Store) -> None:
    first = Token(id="t1", hash=b"\x00" * 32, user="ada", scope=Scope.READ, name="laptop", created_at=NOW)
    second = replace(first, id="t2", hash=b"\x01" * 32, scope=Scope.FULL, expires_at=after(60))
    other = replace(first, id="t3", hash=b"\x02" * 32, user="bob", scope=Scope.SUBMIT)
    for token in (first, second, other):
        await store.write(lambda tx, token=token: tx.put_token(token))
    assert await store.read(lambda view: view.token(second.hash)) == second
    assert await store.read(lambda view: view.tokens("ada")) == [second, first], "newest first"
    assert await store.read(lambda view: view.tokens()) == [other, second, first]
    revoked = replace(first, revoked_at=after(1), used_at=after(0.5))
    await store.write(lambda tx: tx.put_token(revoked))
    assert await store.read(lambda view: view.token(first.hash)) == revoked
    assert await store.read(lambda view: view.tokens("ada")) == [second, revoked]
