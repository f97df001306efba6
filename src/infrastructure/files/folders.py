"""Folders that only their owner can look into."""

from pathlib import Path


def make_private(folder: Path) -> None:
    """Make it if it is missing, and what is missing above it, for its owner alone.

    What is there already keeps its mode: that was somebody's decision.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)  # with `parents=True` the mode would not count for them
