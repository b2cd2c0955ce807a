"""The only file that knows every room: makes a server out of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import anyio
import structlog
from anyio import create_task_group
from msgspec import Struct
from msgspec.structs import replace

from . import __version__
from .client.settings import Places as UserPlaces
from .client.settings import places_of
from .clusters.contract import Cluster
from .clusters.local.cluster import LocalCluster
from .clusters.local.machine import Machine, detect
from .config.convert import dispatch_settings, local_limits, serve_settings
from .config.find import Config, load
from .dispatch.dispatcher import Dispatcher
from .dispatch.places import Places
from .host.contract import Clock, Host
from .host.lease import RULES, AlreadyServed, Lease, LeaseRules, Surroundings, surroundings
from .host.own import OwnHost, SystemClock
from .model.errors import ShorepowerError
from .server.app import make_app
from .server.life import Life
from .server.logs import LogFile, describe, set_up
from .server.serve import serve
from .server.settings import ServerFacts
from .server.sockets import OwnSocket, answers, point_to
from .store.sqlite import open_store
from .wire.places import socket_path

__all__ = ["run_private", "serve_private"]

log = structlog.get_logger(__name__)

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def run_private(environ: Mapping[str, str] = os.environ, *, take_over: bool = False) -> int:
    """Be the private server of this user until stopped; the exit code. Says what it must on stderr."""
    places = places_of(environ)
    try:
        config = load(environ)
        for note in config.notes:
            _say(note)
        anyio.run(partial(serve_private, places, config, take_over=take_over, signals=_heeded()))
    except BaseException as error:
        return _explain(_alone(error), places)
    return 0


async def serve_private(
    places: UserPlaces,
    config: Config,
    *,
    take_over: bool = False,
    rules: LeaseRules = RULES,
    signals: Sequence[signal.Signals] = (),
    say: Callable[[str], None] | None = None,
) -> None:
    """Serve one state directory until stopped, by one of ``signals`` too, or idle; jobs live on.

    Raises AlreadyServed when another server does, StateDirectoryFault, LeaseLost.
    """
    clock, host, around = SystemClock(), OwnHost(), surroundings()
    lease = await Lease.take(
        places.state_dir,
        partial(socket_path, runtime_dir=places.runtime_dir or None, uid=around.uid),
        around=around,
        clock=clock,
        rules=rules,
        answers=answers,
        take_over=take_over,
        say=say or _say,
    )
    try:
        file = LogFile(lease.state_dir / "server.log")
        set_up(file)
        await _serve_leased(_Server(lease, config, around, host, clock, rules, tuple(signals)))
        log.info("stopped")
    except BaseException:
        log.exception("ended")
        raise
    finally:
        lease.release()


class _Server(Struct, frozen=True):
    """What one server is made of, before it has a store."""

    lease: Lease
    config: Config
    around: Surroundings
    host: Host
    clock: Clock
    rules: LeaseRules
    signals: tuple[signal.Signals, ...]


async def _serve_leased(server: _Server) -> None:
    """Open the store, make the dispatcher over it, and serve that."""
    lease, host, clock = server.lease, server.host, server.clock
    store = await open_store(lease.state_dir / "store.db", exclusive=lease.network)
    try:
        places = Places(state_dir=lease.state_dir)
        dispatcher = Dispatcher(
            store=store,
            clusters=_clusters(server.config, places, host, clock),
            host=host,
            clock=clock,
            places=places,
            settings=dispatch_settings(server.config),
        )
        async with create_task_group() as tg:
            tg.start_soon(lease.keep, clock, server.rules, _lease_trouble)
            await tg.start(dispatcher.run)
            await _listen(server, dispatcher)
            tg.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await store.aclose()


async def _listen(server: _Server, dispatcher: Dispatcher) -> None:
    settings = serve_settings(server.config)
    around, record = server.around, server.lease.record
    facts = ServerFacts(
        version=__version__,
        host=around.host,
        pid=around.pid,
        user=server.host.user,
        uid=around.uid,
        private=True,
        state_dir=str(server.lease.state_dir),
        started_at=record.started_at,
    )
    life = Life(server.clock, settings.bounds)
    own = OwnSocket(Path(record.socket), around.uid)
    log.info("started", version=__version__, pid=around.pid, port=settings.listen is not None)
    await serve(
        make_app(dispatcher, facts, life, settings),
        life,
        own,
        settings,
        idle_for_s=dispatcher.idle_for_s,
        signals=server.signals,
    )


def _clusters(config: Config, places: Places, host: Host, clock: Clock) -> dict[str, Cluster]:
    """The local one, always."""
    return {"local": LocalCluster("local", places.spool, host, clock, machine=_machine(config))}


def _machine(config: Config) -> Machine:
    """What this machine has, less what the configuration keeps from jobs."""
    machine = detect()
    cpus, memory_mib = local_limits(config)
    return replace(
        machine,
        cpu_count=min(machine.cpu_count, cpus or machine.cpu_count),
        memory_mib=min(machine.memory_mib, memory_mib or machine.memory_mib),
    )


def _heeded() -> list[signal.Signals]:
    """What ends a server: not what it was started ignoring (``nohup``, ``&`` in a script)."""
    return [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]


def _lease_trouble(error: OSError) -> None:
    log.warning("lease not renewed; trying again", **describe(error))


def _alone(error: BaseException) -> BaseException:
    """The one exception that a group of groups holds, as far as it is one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _explain(error: BaseException, places: UserPlaces) -> int:
    """Say why the server ended; the exit code."""
    if isinstance(error, AlreadyServed):
        _say(str(error))
        return _lead_there(error, places)
    if isinstance(error, ShorepowerError):
        _say(str(error))
        return 1
    if isinstance(error, KeyboardInterrupt):
        return 130
    if isinstance(error, SystemExit):
        raise error
    _say(f"the server failed: {type(error).__name__}; {places.state_dir / 'server.log'} tells where")
    return 1


def _lead_there(error: AlreadyServed, places: UserPlaces) -> int:
    """Let the socket's usual place lead to a server that was started from another kind of login."""
    if not error.answers or error.record is None:
        return 1
    try:
        point_to(Path(places.socket), Path(error.record.socket), os.getuid())
    except ShorepowerError as fault:
        _say(str(fault))
        return 1
    return 0


def _say(sentence: str) -> None:
    print(f"shore serve: {sentence}", file=sys.stderr, flush=True)  # noqa: T201 - no terminal, no log yet
