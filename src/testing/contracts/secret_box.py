"""What every secret box must keep."""

from collections.abc import Callable

import pytest

from llm_backend.application.ports.secret_box import RotatableSecretBox, SecretBox, SecretUnreadable
from llm_backend.domain.secrets import SealedSecret, Secret

SECRET = Secret("sk-0123456789")
PLACE = "user 1, conversation 2"


class SecretBoxContract:
    """What was sealed opens in its place, and nowhere else. Needs the fixture `box`."""

    @pytest.mark.parametrize("text", ["", "k", "sk-0123456789", "密钥🔑\x00", "x" * 10_000])
    @pytest.mark.parametrize("place", ["", PLACE, "位置"])
    def test_what_was_sealed_opens_in_its_place(self, box: SecretBox, text: str, place: str) -> None:
        sealed = box.seal(Secret(text), bound_to=place)

        assert box.open(sealed, bound_to=place) == Secret(text)

    @pytest.mark.parametrize("elsewhere", ["", PLACE + " ", "user 12, conversation 2"])
    def test_it_opens_nowhere_else(self, box: SecretBox, elsewhere: str) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)

        with pytest.raises(SecretUnreadable):
            box.open(sealed, bound_to=elsewhere)

    def test_no_single_altered_byte_goes_unnoticed(self, box: SecretBox) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)

        for index in range(len(sealed.sealed)):
            altered = bytearray(sealed.sealed)
            altered[index] ^= 1
            with pytest.raises(SecretUnreadable):
                box.open(SealedSecret(key_id=sealed.key_id, sealed=bytes(altered)), bound_to=PLACE)

    def test_a_shortened_or_lengthened_secret_does_not_open(self, box: SecretBox) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)
        others = [sealed.sealed[:length] for length in range(len(sealed.sealed))] + [sealed.sealed + b"\x00"]

        for other in others:
            with pytest.raises(SecretUnreadable):
                box.open(SealedSecret(key_id=sealed.key_id, sealed=other), bound_to=PLACE)

    @pytest.mark.parametrize("key_id", ["", "nobody's", "\x00"])
    def test_without_its_key_it_does_not_open(self, box: SecretBox, key_id: str) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)

        with pytest.raises(SecretUnreadable):
            box.open(SealedSecret(key_id=key_id, sealed=sealed.sealed), bound_to=PLACE)

    def test_the_same_secret_looks_different_each_time(self, box: SecretBox) -> None:
        assert box.seal(SECRET, bound_to=PLACE).sealed != box.seal(SECRET, bound_to=PLACE).sealed

    def test_the_secret_shows_neither_in_the_sealed_bytes_nor_in_an_error(self, box: SecretBox) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)

        with pytest.raises(SecretUnreadable) as caught:
            box.open(sealed, bound_to="elsewhere")

        assert SECRET.reveal().encode() not in sealed.sealed
        assert SECRET.reveal() not in f"{caught.value}{caught.value!r}"


class RotatableSecretBoxContract(SecretBoxContract):
    """What was sealed opens after a rotation, too. Needs the fixtures `box` and `rotate`, which gives the box a new key
    from outside, as another process does."""

    def test_what_was_sealed_before_a_rotation_opens_after_it(
        self, box: RotatableSecretBox, rotate: Callable[[], None]
    ) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)

        rotate()

        assert box.open(sealed, bound_to=PLACE) == SECRET

    def test_the_next_secret_is_sealed_with_the_new_key(
        self, box: RotatableSecretBox, rotate: Callable[[], None]
    ) -> None:
        before = box.seal(SECRET, bound_to=PLACE)

        rotate()

        assert box.seal(SECRET, bound_to=PLACE).key_id != before.key_id

    def test_a_secret_is_moved_to_the_new_key(self, box: RotatableSecretBox, rotate: Callable[[], None]) -> None:
        before = box.seal(SECRET, bound_to=PLACE)
        rotate()

        after = box.seal_anew(before, bound_to=PLACE)

        assert after.key_id == box.seal(SECRET, bound_to=PLACE).key_id
        assert box.open(after, bound_to=PLACE) == SECRET

    def test_what_has_the_newest_key_stays_as_it_is(self, box: RotatableSecretBox) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)

        assert box.seal_anew(sealed, bound_to=PLACE) is sealed

    @pytest.mark.parametrize("index", [0, 20, 59])
    def test_what_was_altered_or_belongs_elsewhere_is_not_moved(
        self, box: RotatableSecretBox, rotate: Callable[[], None], index: int
    ) -> None:
        sealed = box.seal(SECRET, bound_to=PLACE)
        altered = bytearray(sealed.sealed)
        altered[index] ^= 1
        rotate()

        with pytest.raises(SecretUnreadable):
            box.seal_anew(SealedSecret(key_id=sealed.key_id, sealed=bytes(altered)), bound_to=PLACE)
        with pytest.raises(SecretUnreadable):
            box.seal_anew(sealed, bound_to="elsewhere")
