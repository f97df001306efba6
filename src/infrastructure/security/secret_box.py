"""Secrets sealed with AES-256-GCM, each under a key of its own, which is sealed with a key of the ring."""

from secrets import token_bytes

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from llm_backend.application.ports.secret_box import SecretUnreadable
from llm_backend.domain.secrets import SealedSecret, Secret
from llm_backend.infrastructure.security.key_ring import Keys, Ring, key_id

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
WRAPPED_BYTES = NONCE_BYTES + KEY_BYTES + TAG_BYTES
DATA_KEY = "data key\0"  # so that a sealed key can never be taken for a sealed secret


class AesGcmSecretBox:
    """The first key of the ring seals, all of them open.

    What is stored is the data key, sealed with a key of the ring, and then the secret, sealed with the data key. So a
    rotation seals data keys only, and sees no secret. What was sealed before there were data keys opens as well.

    The ring is looked at whenever something is sealed, and when something is to be opened with an unknown key.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._keys: Keys = ()
        self._ciphers: dict[str, AESGCM] = {}
        self._newest = ""
        self._heed(ring.known)

    def seal(self, secret: Secret, *, bound_to: str) -> SealedSecret:
        self._heed(self._ring.current())
        data_key = token_bytes(KEY_BYTES)
        return self._sealed(data_key, _encrypted(AESGCM(data_key), _as_bytes(secret.reveal()), bound_to), bound_to)

    def open(self, sealed: SealedSecret, *, bound_to: str) -> Secret:
        try:
            data_key, text = self._unwrapped(sealed, bound_to)
            plain = _decrypted(AESGCM(data_key), text, bound_to) if data_key else text
        except (ValueError, InvalidTag) as error:  # ValueError: too short to be anything
            raise SecretUnreadable("A stored secret cannot be opened") from error
        return Secret(plain.decode("utf-8", "surrogatepass"))

    def seal_anew(self, sealed: SealedSecret, *, bound_to: str) -> SealedSecret:
        self._heed(self._ring.current())
        if sealed.key_id == self._newest:
            return sealed
        try:
            data_key, text = self._unwrapped(sealed, bound_to)
        except (ValueError, InvalidTag) as error:
            raise SecretUnreadable("A stored secret cannot be opened") from error
        if data_key is None:
            return self.seal(Secret(text.decode("utf-8", "surrogatepass")), bound_to=bound_to)
        return self._sealed(data_key, text, bound_to)

    def _sealed(self, data_key: bytes, text: bytes, bound_to: str) -> SealedSecret:
        wrapped = _encrypted(self._ciphers[self._newest], data_key, DATA_KEY + bound_to)
        return SealedSecret(key_id=self._newest, sealed=wrapped + text)

    def _unwrapped(self, sealed: SealedSecret, bound_to: str) -> tuple[bytes | None, bytes]:
        """The data key and what is sealed with it; or no key, and the secret itself."""
        cipher = self._cipher(sealed.key_id)
        try:
            data_key = _decrypted(cipher, sealed.sealed[:WRAPPED_BYTES], DATA_KEY + bound_to)
        except (ValueError, InvalidTag):
            return None, _decrypted(cipher, sealed.sealed, bound_to)
        return data_key, sealed.sealed[WRAPPED_BYTES:]

    def _cipher(self, name: str) -> AESGCM:
        if name not in self._ciphers:
            self._heed(self._ring.current())
        try:
            return self._ciphers[name]
        except KeyError as error:
            raise SecretUnreadable("The key of a stored secret is not known") from error

    def _heed(self, keys: Keys) -> None:
        if keys is not self._keys:
            self._ciphers = {key_id(key): AESGCM(key) for key in keys}
            self._newest = key_id(keys[0])
            self._keys = keys


def _encrypted(cipher: AESGCM, text: bytes, bound_to: str) -> bytes:
    nonce = token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, text, _as_bytes(bound_to))


def _decrypted(cipher: AESGCM, text: bytes, bound_to: str) -> bytes:
    return cipher.decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], _as_bytes(bound_to))


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
