"""Hashes of bcrypt as they are stored, told from others."""

import re

# A step more of cost doubles the time: 14 is a second, 31 would be a day, for anybody who tries to log in.
_FORM = re.compile(r"\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}")


def is_bcrypt(stored: str) -> bool:
    """Whether it is one, of moderate cost."""
    return _FORM.fullmatch(stored) is not None
