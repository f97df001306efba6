"""Whole databases, read as they were at one moment and written into others, whichever of the two kinds they are."""

from llm_backend.infrastructure.sql.moving.copying import Copied, Difference, copy_tables, differences
from llm_backend.infrastructure.sql.moving.snapshot import Snapshot
from llm_backend.infrastructure.sql.moving.tables import (
    Page,
    Tally,
    Tallying,
    UnknownTable,
    decode_rows,
    encode_rows,
    moved_table,
    moved_tables,
)
from llm_backend.infrastructure.sql.moving.target import Target, TargetNotEmpty
from llm_backend.infrastructure.sql.moving.use import Beats, beats, living

__all__ = [
    "Beats",
    "Copied",
    "Difference",
    "Page",
    "Snapshot",
    "Tally",
    "Tallying",
    "Target",
    "TargetNotEmpty",
    "UnknownTable",
    "beats",
    "copy_tables",
    "decode_rows",
    "differences",
    "encode_rows",
    "living",
    "moved_table",
    "moved_tables",
]
