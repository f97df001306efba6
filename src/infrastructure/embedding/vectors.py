"""Numbers that models return, as vectors of length one."""

import math
import sys
from array import array
from collections.abc import Sequence

from llm_backend.application.ports.embedder import Vector
from llm_backend.domain.errors import EmbeddingFailed


def unit(numbers: Sequence[float], dimensions: int) -> Vector:
    """Raises `EmbeddingFailed` when they are too many or too few, not all finite, or all zero."""
    if len(numbers) != dimensions:
        raise EmbeddingFailed("The embedding model returned vectors of another size than is configured")
    length = math.hypot(*numbers)
    if not math.isfinite(length):
        raise EmbeddingFailed("The embedding model returned numbers that are none")
    if not length:
        raise EmbeddingFailed("The embedding model returned a vector that points nowhere")
    return _bytes(array("f", (number / length for number in numbers)))


def nowhere(dimensions: int) -> Vector:
    """The vector of a text with nothing in it."""
    return bytes(4 * dimensions)


def floats(content: bytes) -> "array[float]":
    """Little-endian float32, as servers write them in base64. Raises `ValueError` when their number is not whole."""
    numbers = array("f", content)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _bytes(vector: "array[float]") -> Vector:
    if sys.byteorder == "big":
        vector.byteswap()
    return vector.tobytes()
