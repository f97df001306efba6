"""Bytes to text, by what is in them."""

import codecs
import re
from itertools import islice

from llm_backend.domain.errors import DocumentUnreadable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROLS = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f\ufffe\uffff]")
_SAMPLE = 20_000
_PLAUSIBLE = 0.8


def _two_byte(encoding: str, leads: range, trails: range) -> frozenset[str]:
    return frozenset("".join(bytes((lead, trail)).decode(encoding, "ignore") for lead in leads for trail in trails))


_TRAILS = range(0x40, 0xFF)
_KANA = frozenset(map(chr, range(0x3040, 0x3100)))
_PUNCTUATION = _two_byte("gb2312", range(0xA1, 0xA4), range(0xA1, 0xFF))
# The characters that each old encoding was ordered by: the frequent ones come first.
_FREQUENT = {
    "gb18030": _two_byte("gb2312", range(0xB0, 0xD8), _TRAILS) | _PUNCTUATION,
    "big5": _two_byte("big5", range(0xA4, 0xC7), _TRAILS) | _PUNCTUATION,
    "shift_jis": _two_byte("shift_jis", range(0x88, 0x98), _TRAILS) | _KANA | _PUNCTUATION,
}
_LATIN = frozenset("ÀÁÂÄÅÆÇÈÉÊËÍÎÑÓÔÖØÙÚÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüœŒŠšŽž–—‘’“”„…•«»€£§©®°±·¡¿ªº´¹²³½¼¾µ×÷™\xa0")
_CYRILLIC = frozenset("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґў«»—№")
# Alphabets of one byte a letter: those of other letters make up most of a text, accents on Latin ones never do.
_OTHER_LETTERS = {"cp1251": _CYRILLIC, "koi8_r": _CYRILLIC}
_HANGUL = _two_byte("euc_kr", range(0xB0, 0xC9), _TRAILS)
_SURELY = 20  # characters after which Chinese would have had some that are no Hangul in Korean's encoding
_HAN = frozenset().union(*(_FREQUENT[name] for name in ("gb18030", "big5", "shift_jis")))


def decoded(data: bytes, declared: str = "") -> str:
    """The text: byte order marks, UTF-8, UTF-16, what the file declares, GB18030 and some older encodings.

    Raises `DocumentUnreadable`.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _strictly(data, encoding)
    text = _utf16(data) if b"\x00" in data else None
    if text is None:
        text = _utf8(data)
    if text is None:
        text = _tried(data, declared) if declared else None
    if text is None:
        text = _legacy(data)
    if text is None or looks_binary(text):
        raise DocumentUnreadable("The file is neither text nor any known document format")
    return text


def looks_binary(text: str) -> bool:
    """More than one control character in a hundred. NULs alone do not count: some programs pad with them."""
    return len(_CONTROLS.findall(text)) * 100 > len(text)


def _strictly(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DocumentUnreadable("The file claims to be Unicode text but is damaged") from error


def _utf8(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        # Cut off in the middle of its last character, by a tool that counts bytes.
        whole = error.start >= len(data) - 3 and error.reason == "unexpected end of data" and error.start > 0
        return data[: error.start].decode() if whole else None


def _utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: the more plausible of the two byte orders, if either is."""
    candidates = (
        (_plausibility(text, _HAN), text) for text in (_tried(data, "utf-16-le"), _tried(data, "utf-16-be")) if text
    )
    share, text = max(candidates, default=(0.0, ""), key=lambda candidate: candidate[0])
    return text if share > 0.9 and "\x00" not in text else None


def _legacy(data: bytes) -> str | None:
    """The older encoding in which the most characters are frequent ones; Chinese wins a draw."""
    if korean := _korean(data):
        return korean
    best, best_share = None, _PLAUSIBLE
    single = {"cp1252": _LATIN} if _is_mostly_latin(data) else _OTHER_LETTERS
    for encoding, frequent in {**_FREQUENT, **single}.items():
        text = _tried(data, encoding)
        share = _plausibility(text, frequent, ascii_counts=False) if text is not None else 0.0
        if share > best_share:
            best, best_share = text, share
    return best


def _is_mostly_latin(data: bytes) -> bool:
    """More letters without accents than bytes that could be anything."""
    sample = data[:_SAMPLE]
    return sum(65 <= byte <= 90 or 97 <= byte <= 122 for byte in sample) >= sum(byte >= 128 for byte in sample)


def _korean(data: bytes) -> str | None:
    """Its syllables have the bytes of frequent Chinese characters, but Chinese has others beside them."""
    text = _tried(data, "euc_kr")
    foreign = [c for c in (text or "")[:_SAMPLE] if not c.isascii()]
    return text if len(foreign) >= _SURELY and sum(c in _HANGUL for c in foreign) > 0.95 * len(foreign) else None


def _tried(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeDecodeError, LookupError):  # the latter: a declared name that nobody knows
        return None


def _plausibility(text: str, frequent: frozenset[str], *, ascii_counts: bool = True) -> float:
    """The share of characters that one expects, of the first twenty thousand that count."""
    counted = list(islice((c for c in text if ascii_counts or not c.isascii()), _SAMPLE))
    usual = sum(c in frequent or (c.isascii() and (c.isprintable() or c.isspace())) for c in counted)
    return usual / len(counted) if counted else 0.0
