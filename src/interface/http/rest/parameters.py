"""What handlers are given, and what several of them answer."""

from typing import TypeAlias, TypeVar

import msgspec
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

T = TypeVar("T")

# A use case, by its name in the `Backend`. It needs no look at every request: `create_app` put it there.
Asked: TypeAlias = NamedDependency[SkipValidation[T]]

# A body. `ApiRequest.json` has already made it what it should be.
Body: TypeAlias = JSONBody[T]


class MessageOut(msgspec.Struct):
    message: str
