"""What commands that take a while show on the terminal."""

import sys


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def say_count(name: str, text: str, *, final: bool = True) -> None:
    """A line for one table or the like. Until it is final it is written over, and shown on a terminal only."""
    line = f"  {name:<22} {text}"
    if final:
        say(line)
    elif sys.stdout.isatty():
        sys.stdout.write(f"{line}\r")
        sys.stdout.flush()
