"""Applications that serve one test after the other. To make one takes a quarter of a second of CPU time, which is
several times what most tests do with it; to put another backend behind it takes none.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from litestar.types import ASGIApp

from llm_backend.application.backend import Backend
from llm_backend.interface.http.app import create_app
from llm_backend.interface.http.options import HttpOptions


class _Application:
    """One that is told with each test which backend it has."""

    def __init__(self, options: HttpOptions) -> None:
        self.backend: Backend | None = None
        use_cases: dict[str, Any] = {field.name: _UseCase(self, field.name) for field in fields(Backend)}
        self.asgi = create_app(Backend(**use_cases), options)


class _UseCase:
    """The one of this name in the backend that is there at the time of the call."""

    def __init__(self, application: _Application, name: str) -> None:
        self._application = application
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._actual(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._actual, name)

    @property
    def _actual(self) -> Any:
        return getattr(self._application.backend, self._name)


_idle: defaultdict[str, list[_Application]] = defaultdict(list)


@contextmanager
def app_over(backend: Backend, options: HttpOptions | None = None) -> Iterator[ASGIApp]:
    """An application that nobody else has in the meantime, made by `create_app` with these options."""
    options = options or HttpOptions()
    idle = _idle[repr(options)]
    application = idle.pop() if idle else _Application(options)
    application.backend = backend
    try:
        yield application.asgi
    finally:
        application.backend = None
        idle.append(application)
