"""Going on with a text that broke off: what a model is told, and what of its continuation is new.

Told to go on, models like to repeat the last words, the last paragraph, or everything from the beginning.
"""

GO_ON = """\
Your last message was cut off by a technical fault. Continue it from exactly where it stops: what you write now is \
appended directly to its last character, even in the middle of a word, a sentence, a list, a table or a block of code. \
Begin with the very next character, which may be a blank or a line break.

Repeat nothing of it, do not start over, and do not mention the interruption. Keep its language, style, numbering and \
indentation. If it stops inside a block of code, continue the code and do not open the block again."""

# An overlap counts from this many different characters on, wide ones counting twice: fewer meet by chance, as in rules
# of dashes, indentations, `1,000,000` and "ha ha ha".
LEAST_VARIETY = 5
LONGEST_OVERLAP = 4096  # characters of the end that are looked for at the beginning
SHORTEST_RESTART = 64  # characters from the very beginning on, of a model that starts over and then goes its own way

_WIDE = "\u2e80"  # from here on one character says as much as two letters


class Continuation:
    """Leaves out of a continuation, while it arrives, what `so_far` says already.

    That is the longest end of `so_far` that the continuation begins with; or, when it repeats `so_far` from its first
    character, as much as is the same. Of the rest nothing is lost. Text is held back only while it may still turn
    out to be a repetition. How it is chopped makes no difference.
    """

    def __init__(self, so_far: str) -> None:
        self.decided = not so_far
        """Whether all that comes from now on is new."""
        self._so_far = so_far
        self._end = so_far[-LONGEST_OVERLAP:]
        self._held = ""
        self._repeated = 0  # how much of `so_far` has come again, once it is sure that the model starts over

    def feed(self, text: str) -> str:
        """What is new, as far as that is known by now."""
        if self.decided:
            return text
        if self._repeated:
            return self._without_repetition(text)
        self._held += text
        if self._held in self._end[:-1]:
            return ""  # more of it may still reach the end
        same = self._same_beginning()
        if same < len(self._held) or same == len(self._so_far) or self._overlap():
            return self.finish()
        if same >= SHORTEST_RESTART:
            self._repeated, self._held = same, ""  # gone in any case, so there is no need to hold it
        return ""

    def finish(self) -> str:
        """Nothing more will come, or nothing more is needed: what of the text held back is new after all."""
        same = self._same_beginning()
        repeated = self._overlap() or (same if same >= SHORTEST_RESTART else 0)
        new = self._held[repeated:]
        self._held, self.decided = "", True
        return new

    def _without_repetition(self, text: str) -> str:
        same = _shared(text, self._so_far[self._repeated : self._repeated + len(text)])
        self._repeated += same
        self.decided = same < len(text) or self._repeated == len(self._so_far)
        return text[same:]

    def _overlap(self) -> int:
        """The length of the longest end of `so_far` that what is held begins with."""
        longest = min(len(self._held), len(self._end))
        lengths = (length for length in range(longest, 0, -1) if self._end.endswith(self._held[:length]))
        length = next(lengths, 0)
        return length if _variety(self._held[:length]) >= LEAST_VARIETY else 0

    def _same_beginning(self) -> int:
        return _shared(self._held, self._so_far[: len(self._held)])


def _shared(one: str, other: str) -> int:
    """How many characters the two have in common at their beginnings. By halves: they may have millions."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _variety(text: str) -> int:
    return sum(2 if character >= _WIDE else 1 for character in set(text))
