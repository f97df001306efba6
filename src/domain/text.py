"""What every stored text must satisfy."""


def is_storable(text: str) -> bool:
    """No NUL (PostgreSQL refuses it) and no half surrogate pair (UTF-8 cannot carry it)."""
    try:
        return b"\x00" not in text.encode()
    except UnicodeEncodeError:
        return False


def has_control_characters(text: str) -> bool:
    return any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in text)
