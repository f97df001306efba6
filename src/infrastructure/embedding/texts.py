"""What a model wants to read in place of the bare text."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """Some models were trained with words before questions and before passages, such as `query: ` and `passage: `.

    `longest`: characters of a text that are sent, prefix included; the rest is cut off.
    """

    query_prefix: str = ""
    document_prefix: str = ""
    longest: int | None = None

    def of_query(self, text: str) -> str:
        return self._worded(self.query_prefix, text)

    def of_document(self, text: str) -> str:
        return self._worded(self.document_prefix, text)

    def _worded(self, prefix: str, text: str) -> str:
        """What is blank stays blank: there is nothing to embed."""
        return (prefix + text)[: self.longest] if text.strip() else text
