"""Folding with Unicode normalisation and OpenCC."""

from functools import cached_property
from typing import TYPE_CHECKING
from unicodedata import normalize

if TYPE_CHECKING:
    from opencc import OpenCC


class OpenCcFolding:
    """Implements `Folding`: NFKC, lower case, traditional Chinese to simplified.

    Safe to share between threads. The library and its dictionaries (8 MiB, 10 ms) are loaded when first needed.
    """

    def __call__(self, text: str) -> str:
        # Neither step is idempotent on its own: lower-casing can undo NFKC (U+0130), and OpenCC turns 薴 into 苧 and
        # that into 苎. A second round nearly always only confirms the first; both together take 15 ms a megabyte.
        while (folded := self._fold_once(text)) != text:
            text = folded
        return text

    def _fold_once(self, text: str) -> str:
        folded = normalize("NFKC", text).lower()
        return folded if folded.isascii() else self._converter.convert(folded)

    @cached_property
    def _converter(self) -> "OpenCC":
        from opencc import OpenCC

        return OpenCC("t2s")
