"""What every ring of keys that can be changed must keep."""

from datetime import timedelta

from llm_backend.application.ports.key_ring import KeyRing


class KeyRingContract:
    """A new key comes first, a dropped one is gone, for everybody. Needs the fixtures `ring`, as it is made, and
    `same_ring`, as another process sees it."""

    def test_there_is_a_key_from_the_beginning(self, ring: KeyRing) -> None:
        assert ring.is_ours
        assert len(ring.key_ids()) == 1
        assert ring.unchanged_for() >= timedelta(0)

    def test_a_new_key_is_the_first_for_everybody(self, ring: KeyRing, same_ring: KeyRing) -> None:
        before = list(ring.key_ids())

        new = ring.add()

        assert list(ring.key_ids()) == list(same_ring.key_ids()) == [new, *before]

    def test_dropped_keys_are_gone_for_everybody(self, ring: KeyRing, same_ring: KeyRing) -> None:
        oldest = ring.key_ids()[0]
        middle, newest = ring.add(), ring.add()

        same_ring.drop([oldest, "nobody's"])

        assert list(ring.key_ids()) == list(same_ring.key_ids()) == [newest, middle]

    def test_the_newest_key_cannot_be_dropped(self, ring: KeyRing) -> None:
        newest = ring.add()

        ring.drop(ring.key_ids())

        assert list(ring.key_ids()) == [newest]
