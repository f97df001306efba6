"""What every secret box must keep."""

import pytest

from llm_backend.application.ports.secret_box import SecretBox, SecretUnreadable
from llm_backend.domain.secrets import SealedSecret, Secret

SECRET = Secret("sk-0123456789")
PLACE = "user 1, conversation 2"


class SecretBoxContract:
    """Needs a fixture `box`."""

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
