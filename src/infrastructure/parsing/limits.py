"""What reading one file may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsingLimits:
    """Sizes in bytes, times in seconds. A file that needs more is refused with `DocumentTooLarge`."""

    wall_seconds: float = 8
    cpu_seconds: int = 8
    memory: int = 600 * 2**20  # address space; about 100 MiB of it are mapped but never touched
    unpacked: int = 256 * 2**20
    parts: int = 10_000  # files in an archive
    characters: int = 20_000_000
