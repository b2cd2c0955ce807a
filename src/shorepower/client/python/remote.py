"""``@remote``: a function that can also be called somewhere else."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

if TYPE_CHECKING:
    from ..client import Client
    from ..handle import JobHandle
    from .calls import Calls
    from .mapjob import MapJob

__all__ = ["RemoteFunction", "default_client", "remote"]

P = ParamSpec("P")
T = TypeVar("T")

_lock = threading.Lock()
_client: Client | None = None


def default_client() -> Client:
    """One for the whole process, made when it is first needed."""
    global _client
    with _lock:
        if _client is None:
            from ..client import Client

            _client = Client()
        return _client


class RemoteFunction(Generic[P, T]):
    """Called as it is, the function runs here; ``f.remote(...)`` starts a job and returns its handle,
    ``f.call(...)`` waits for its value, ``f.map(...)`` runs many."""

    def __init__(self, function: Callable[P, T], client: Client | None, options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function, self._client, self._options = function, client, options
        self._made: Calls | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.function(*args, **kwargs)

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Start a job; ``.result()`` of what it returns is the function's value."""
        return self._calls().spawn(self.function, *args, **kwargs)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """The value, from a job."""
        return self._calls().call(self.function, *args, **kwargs)

    def map(self, *iterables: Iterable[Any], chunksize: int | None = None) -> MapJob:
        """See `Client.map`."""
        return self._calls().map(self.function, *iterables, chunksize=chunksize)

    def with_options(self, **options: Any) -> RemoteFunction[P, T]:
        """The same function with other options on top."""
        return RemoteFunction(self.function, self._client, self._options | options)

    def __get__(self, instance: object, owner: type | None = None) -> Any:
        if instance is None:
            return self
        return RemoteFunction(functools.partial(self.function, instance), self._client, self._options)  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        # A job knows nothing of shorepower: there it is the function alone.
        return functools.partial, (self.function,)

    def _calls(self) -> Calls:
        if self._made is None:
            client = self._client or default_client()
            self._made = client.with_options(**self._options)
        return self._made


@overload
def remote(function: Callable[P, T], /) -> RemoteFunction[P, T]: ...


@overload
def remote(
    *, client: Client | None = None, **options: Any
) -> Callable[[Callable[P, T]], RemoteFunction[P, T]]: ...


def remote(function: Any = None, /, *, client: Client | None = None, **options: Any) -> Any:
    """Let a function be called elsewhere: ``@remote`` or ``@remote(cpus=4, memory="8G")``.

    Options are those of `Client.with_options`. ``client`` is the server to ask; without one, the one that
    `shore` itself would use, asked for when it is first needed.
    """
    if function is not None:
        return RemoteFunction(function, client, options)
    return lambda wrapped: RemoteFunction(wrapped, client, options)
