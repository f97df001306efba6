"""Making ports fail on purpose.

Wrap the ports of a use case with one `Faults`, and the n-th call among all of them fails. Going through n = 1, 2, 3 …
until nothing fails any more visits every way in which the use case can be cut off:

    for faults in faults_at_every_call(DatabaseUnavailable):
        try:
            await SendMessage(journal=faults.wrap(store.journal), …)(…)
        except DatabaseUnavailable:
            …  # look at what is left behind
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from inspect import isasyncgenfunction, iscoroutinefunction, isroutine
from itertools import count
from types import TracebackType
from typing import Any, TypeVar, cast

P = TypeVar("P")
MakeError = Callable[[], BaseException]


@dataclass(slots=True, kw_only=True)
class Faults:
    """Raise an error at call number `at` (from 1) of the wrapped ports, and only there; or, with `lasting`, at all that
    come after it as well, until `lasting` is taken back.

    Calls are those of methods; opening a unit of work counts as one. With `only`, methods of other names are not
    counted. With `afterwards`, the call is carried out and its result lost: the answer of a
    server that did commit, but never got to say so.
    """

    error: MakeError
    at: int = 1
    only: Collection[str] | None = None
    afterwards: bool = False
    lasting: bool = False
    calls: list[str] = field(default_factory=list)

    @property
    def struck(self) -> bool:
        """Whether there were enough calls for the error to be raised."""
        return len(self.calls) >= self.at

    def wrap(self, port: P) -> P:
        """The port, failing. What it hands out (repositories, units of work) fails under the same count."""
        return cast(P, Faulty(port, self))

    def counts(self, method: str) -> bool:
        return self.only is None or method in self.only

    def before(self, method: str) -> bool:
        """Count a call; raise here and now if it is the one, or return whether to raise once it is done."""
        if not self.counts(method):
            return False
        self.calls.append(method)
        strikes = len(self.calls) == self.at or (self.lasting and self.struck)
        if strikes and not self.afterwards:
            raise self.error()
        return strikes


def faults_at_every_call(
    error: MakeError, *, only: Collection[str] | None = None, afterwards: bool = False, most: int = 1000
) -> Iterator[Faults]:
    """Faults at the first call, the second, … each for one run, until a run ended before its fault came up.

    Raises `AssertionError` when a run still makes more than `most` calls.
    """
    for at in count(1):
        assert at <= most, f"Still failing at call {at}"
        faults = Faults(error=error, at=at, only=only, afterwards=afterwards)
        yield faults
        if not faults.struck:
            return


class Faulty:
    """Looks like the port it wraps. Get one from `Faults.wrap`."""

    def __init__(self, port: object, faults: Faults) -> None:
        self._port = port
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._port, name)
        if callable(value):
            return _faulty_method(value, name, self._faults)
        return Faulty(value, self._faults) if _is_port(value) else value

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        call = cast(Callable[..., Any], self._port)
        return _faulty_method(call, "__call__", self._faults)(*arguments, **named)


class _FaultyContext(AbstractAsyncContextManager[Any]):
    """What it yields fails too. `strikes`: entering it succeeds, but nobody hears of that."""

    def __init__(self, context: AbstractAsyncContextManager[Any], faults: Faults, *, strikes: bool) -> None:
        self._context = context
        self._faults = faults
        self._strikes = strikes

    async def __aenter__(self) -> Any:
        inside = await self._context.__aenter__()
        if self._strikes:
            error = self._faults.error()
            await self._context.__aexit__(type(error), error, None)
            raise error
        return Faulty(inside, self._faults) if _is_port(inside) else inside

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._context.__aexit__(kind, error, traceback)


def _faulty_method(method: Callable[..., Any], name: str, faults: Faults) -> Callable[..., Any]:
    kind = type(method).__call__ if name == "__call__" and not isroutine(method) else method
    if isasyncgenfunction(kind):
        return _faulty_stream(method, name, faults)
    if iscoroutinefunction(kind):
        return _faulty_coroutine(method, name, faults)
    return _faulty_function(method, name, faults)


def _faulty_stream(method: Callable[..., Any], name: str, faults: Faults) -> Callable[..., Any]:
    """Fails at the first step; `afterwards`: after the last."""

    async def stream(*arguments: Any, **named: Any) -> AsyncIterator[Any]:
        strikes = faults.before(name)
        source = method(*arguments, **named)
        try:
            async for item in source:
                yield item
        finally:
            await source.aclose()
        if strikes:
            raise faults.error()

    return stream


def _faulty_coroutine(method: Callable[..., Any], name: str, faults: Faults) -> Callable[..., Any]:
    async def coroutine(*arguments: Any, **named: Any) -> Any:
        strikes = faults.before(name)
        result = await method(*arguments, **named)
        if strikes:
            raise faults.error()
        return result

    return coroutine


def _faulty_function(method: Callable[..., Any], name: str, faults: Faults) -> Callable[..., Any]:
    def function(*arguments: Any, **named: Any) -> Any:
        strikes = faults.before(name)
        result = method(*arguments, **named)
        if isinstance(result, AbstractAsyncContextManager):
            return _FaultyContext(result, faults, strikes=strikes)
        if strikes:
            raise faults.error()
        return result

    return function


def _is_port(value: object) -> bool:
    """Whether it has anything to wait for; plain values have not."""
    methods = (getattr(type(value), name, None) for name in dir(type(value)) if not name.startswith("__"))
    return any(iscoroutinefunction(method) or isasyncgenfunction(method) for method in methods)
