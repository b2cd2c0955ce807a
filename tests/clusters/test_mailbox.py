import anyio
import pytest

from shorepower.clusters.local.mailbox import Mailbox
from shorepower.model.lifecycle import Observation, State

pytestmark = pytest.mark.anyio


def seen(name, state, why=""):
    return Observation(submission=name, as_of=0, source="local", state=state, why=why)


async def fetch(mail, count):
    told = []
    with anyio.fail_after(10):
        async for batch in mail.watch():
            told += [(one.submission, one.state.value, one.why) for one in batch]
            if len(told) >= count:
                break
    return told


async def test_every_move_is_told_and_nothing_twice():
    mail = Mailbox()
    for state, why in (
        (State.PENDING, "third"),
        (State.PENDING, "next"),
        (State.RUNNING, ""),
        (State.SUSPENDED, ""),
        (State.RUNNING, "again"),
    ):
        mail.put(seen("a", state, why))
    assert await fetch(mail, 4) == [
        ("a", "PENDING", "next"),
        ("a", "RUNNING", ""),
        ("a", "SUSPENDED", ""),
        ("a", "RUNNING", "again"),
    ]


async def test_an_end_is_told_and_nothing_after_it():
    mail = Mailbox()
    mail.put(seen("a", State.PENDING))
    mail.put(seen("a", State.RUNNING))
    mail.put(seen("a", State.COMPLETED))
    mail.put(seen("a", State.RUNNING))
    mail.put(seen("b", State.PENDING))
    assert await fetch(mail, 2) == [("a", "COMPLETED", ""), ("b", "PENDING", "")]


async def test_thousands_wait_for_a_slow_reader():
    mail = Mailbox()
    for number in range(5000):
        mail.put(seen(f"j{number}", State.PENDING))
    told = await fetch(mail, 5000)
    assert [name for name, _, _ in told] == [f"j{number}" for number in range(5000)]
