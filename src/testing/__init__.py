"""For those who test against this product, or write an adapter for it.

`contracts` holds what every adapter must keep, as classes to subclass; `faults` makes any port fail; `clock` puts time
under control; `ScriptedChatModel` says what it is told to. Adapters that keep everything in this process are in
`llm_backend.infrastructure.memory`. Needs no web framework; the contracts need pytest.
"""

from llm_backend.testing.clock import CountingIds, ManualClock
from llm_backend.testing.faults import Faults, Faulty, faults_at_every_call
from llm_backend.testing.scripted_chat_model import FOREVER, ScriptedChatModel

__all__ = [
    "FOREVER",
    "CountingIds",
    "Faults",
    "Faulty",
    "ManualClock",
    "ScriptedChatModel",
    "faults_at_every_call",
]
