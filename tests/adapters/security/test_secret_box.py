import pytest

from llm_backend.application.ports.secret_box import SecretBox, SecretUnreadable
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.security.secret_box import AesGcmSecretBox
from llm_backend.testing.contracts.secret_box import SecretBoxContract

OLD, NEW = b"o" * 32, b"n" * 32


class TestAesGcmSecretBox(SecretBoxContract):
    @pytest.fixture
    def box(self) -> SecretBox:
        return AesGcmSecretBox([NEW, OLD])


def test_a_new_key_in_front_seals_and_the_old_one_still_opens() -> None:
    sealed = AesGcmSecretBox([OLD]).seal(Secret("s"), bound_to="x")
    rotated = AesGcmSecretBox([NEW, OLD])

    again = rotated.seal(rotated.open(sealed, bound_to="x"), bound_to="x")

    assert AesGcmSecretBox([NEW]).open(again, bound_to="x") == Secret("s")
    assert again.key_id != sealed.key_id


def test_without_the_old_key_old_secrets_are_gone() -> None:
    sealed = AesGcmSecretBox([OLD]).seal(Secret("s"), bound_to="x")

    with pytest.raises(SecretUnreadable):
        AesGcmSecretBox([NEW]).open(sealed, bound_to="x")


@pytest.mark.parametrize("keys", [[], [b""], [b"k" * 31], [b"k" * 33], [NEW, b"k"]])
def test_keys_of_the_wrong_size_or_none_are_refused(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        AesGcmSecretBox(keys)
