from __future__ import annotations

import base64
import dataclasses
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byok.encryption import (
    NONCE_BYTES,
    TAG_BYTES,
    BadKeyMaterialError,
    CredentialKeysError,
    DuplicateKeyIdError,
    Keyring,
    MalformedKeyEntryError,
    NoCredentialKeysError,
    OwnerKind,
    SealedSecret,
    SecretOwner,
    Undecryptable,
    UndecryptableSecret,
    generate_key,
)
from kilo_gateway.secret import Secret

CANARY = "sk-canary-7f3a9c51d2e8"
ACME = SecretOwner.organization("6f0b6a52-6f0e-4d8e-9b34-0f6f3f0c2a11")
GLOBEX = SecretOwner.organization("0c0f4b9e-36a7-44d2-8d4e-2ff4b7a4f9d2")
ALICE = SecretOwner.user("6f0b6a52-6f0e-4d8e-9b34-0f6f3f0c2a11")
KEYRING = Keyring.from_text(generate_key("k1"))

texts = st.text(st.characters(exclude_categories=[]))
owners = st.builds(SecretOwner, st.sampled_from(OwnerKind), st.uuids())
# Separators of every kind, so that parts which run into each other would be found.
words = st.text(alphabet="ab-/:|,\x00\x01", max_size=8)


@dataclasses.dataclass(frozen=True)
class Binding:
    owner: SecretOwner
    provider_id: str
    purpose: str

    def seal(self, secret: Secret) -> SealedSecret:
        return KEYRING.encrypt(secret, owner=self.owner, provider_id=self.provider_id, purpose=self.purpose)

    def open(self, sealed: SealedSecret) -> Secret:
        return KEYRING.decrypt(sealed, owner=self.owner, provider_id=self.provider_id, purpose=self.purpose)


bindings = st.builds(Binding, owners, words, words)


def seal(secret: str = CANARY, keyring: Keyring = KEYRING) -> SealedSecret:
    return keyring.encrypt(Secret(secret), owner=ACME, provider_id="openai-byok")


def refusal(sealed: SealedSecret, keyring: Keyring = KEYRING, owner: SecretOwner = ACME) -> Undecryptable:
    with pytest.raises(UndecryptableSecret) as caught:
        keyring.decrypt(sealed, owner=owner, provider_id="openai-byok")
    return caught.value.reason


def with_ciphertext(sealed: SealedSecret, ciphertext: bytes) -> SealedSecret:
    return dataclasses.replace(sealed, ciphertext=ciphertext)


class TestSealing:
    def test_it_works(self) -> None:
        sealed = seal()
        assert sealed.key_id == "k1"
        assert len(sealed.ciphertext) == NONCE_BYTES + len(CANARY) + TAG_BYTES
        assert KEYRING.decrypt(sealed, owner=ACME, provider_id="openai-byok") == Secret(CANARY)

    @given(texts, bindings)
    def test_what_is_sealed_opens_for_whom_it_was_sealed(self, text: str, binding: Binding) -> None:
        sealed = binding.seal(Secret(text))
        assert binding.open(sealed).reveal() == text
        assert binding.open(with_ciphertext(sealed, memoryview(sealed.ciphertext))).reveal() == text  # type: ignore[arg-type]

    @given(bindings, bindings)
    def test_a_moved_ciphertext_does_not_open(self, sealed_for: Binding, opened_by: Binding) -> None:
        sealed = sealed_for.seal(Secret(CANARY))
        if sealed_for == opened_by:
            assert opened_by.open(sealed).reveal() == CANARY
            return
        with pytest.raises(UndecryptableSecret) as caught:
            opened_by.open(sealed)
        assert caught.value.reason is Undecryptable.AUTHENTICATION_FAILED

    @pytest.mark.parametrize(
        "moved",
        [
            Binding(GLOBEX, "openai-byok", "api_key"),
            Binding(ALICE, "openai-byok", "api_key"),
            Binding(ACME, "groq-byok", "api_key"),
            Binding(ACME, "openai-byok", "header:x-team"),
            Binding(ACME, "openai-byokapi_key", ""),
            Binding(ACME, "", "openai-byokapi_key"),
        ],
        ids=["other-organization", "user-of-the-same-id", "other-provider", "other-purpose", "joined", "shifted"],
    )
    def test_each_part_of_the_binding_counts(self, moved: Binding) -> None:
        with pytest.raises(UndecryptableSecret) as caught:
            moved.open(seal())
        assert caught.value.reason is Undecryptable.AUTHENTICATION_FAILED

    def test_the_same_secret_is_sealed_differently_each_time(self) -> None:
        sealed = [seal().ciphertext for _ in range(200)]
        assert len({ciphertext[:NONCE_BYTES] for ciphertext in sealed}) == 200
        assert len({ciphertext[NONCE_BYTES:] for ciphertext in sealed}) == 200

    def test_one_keyring_serves_many_threads(self) -> None:
        def round_trip(number: int) -> bool:
            sealed = seal(f"{CANARY}{number}")
            return KEYRING.decrypt(sealed, owner=ACME, provider_id="openai-byok").reveal() == f"{CANARY}{number}"

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(round_trip, range(2000)))

    def test_an_owner_is_one_whether_given_as_text_or_as_uuid(self) -> None:
        number = uuid4()
        assert SecretOwner.organization(number) == SecretOwner.organization(str(number).upper())
        assert SecretOwner.user(number) != SecretOwner.organization(number)
        with pytest.raises(ValueError, match="UUID"):
            SecretOwner.user("alice")


class TestDamage:
    def test_no_truncation_opens(self) -> None:
        sealed = seal()
        for length in range(len(sealed.ciphertext)):
            expected = (
                Undecryptable.TRUNCATED if length < NONCE_BYTES + TAG_BYTES else Undecryptable.AUTHENTICATION_FAILED
            )
            assert refusal(with_ciphertext(sealed, sealed.ciphertext[:length])) is expected

    def test_no_truncation_from_the_front_opens(self) -> None:
        sealed = seal()
        for start in range(1, len(sealed.ciphertext) + 1):
            assert refusal(with_ciphertext(sealed, sealed.ciphertext[start:])) in {
                Undecryptable.TRUNCATED,
                Undecryptable.AUTHENTICATION_FAILED,
            }

    def test_no_flipped_bit_opens(self) -> None:
        sealed = seal()
        for bit in range(len(sealed.ciphertext) * 8):
            flipped = bytearray(sealed.ciphertext)
            flipped[bit // 8] ^= 1 << bit % 8
            assert refusal(with_ciphertext(sealed, bytes(flipped))) is Undecryptable.AUTHENTICATION_FAILED

    @given(st.binary(min_size=1, max_size=64))
    def test_nothing_may_follow(self, extra: bytes) -> None:
        sealed = seal()
        refused = refusal(with_ciphertext(sealed, sealed.ciphertext + extra))
        assert refused is Undecryptable.AUTHENTICATION_FAILED

    @given(st.binary(max_size=200))
    def test_noise_does_not_open(self, noise: bytes) -> None:
        refused = refusal(SealedSecret("k1", noise))
        assert refused is (Undecryptable.TRUNCATED if len(noise) < 28 else Undecryptable.AUTHENTICATION_FAILED)

    def test_an_unknown_key_id_is_said(self) -> None:
        assert refusal(dataclasses.replace(seal(), key_id="k9")) is Undecryptable.UNKNOWN_KEY_ID

    def test_another_key_under_the_same_id_is_refused(self) -> None:
        other = Keyring.from_text(generate_key("k1"))
        assert refusal(seal(), keyring=other) is Undecryptable.AUTHENTICATION_FAILED

    def test_a_wrong_known_key_id_is_refused(self) -> None:
        keyring = Keyring.from_text(f"{generate_key('k1')},{generate_key('k2')}")
        sealed = dataclasses.replace(seal(keyring=keyring), key_id="k2")
        assert refusal(sealed, keyring=keyring) is Undecryptable.AUTHENTICATION_FAILED

    def test_a_hostile_key_id_cannot_forge_a_log_line(self) -> None:
        with pytest.raises(UndecryptableSecret) as caught:
            KEYRING.decrypt(SealedSecret("k\nERROR " + "x" * 99, b""), owner=ACME, provider_id="openai-byok")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 120


class TestRotation:
    def test_the_first_key_encrypts_and_all_decrypt(self) -> None:
        old, new = generate_key("2025"), generate_key("2026")
        before, during, after = (Keyring.from_text(text) for text in (old, f"{new},{old}", new))
        sealed = seal(keyring=before)

        assert not before.needs_rotation(sealed)
        assert during.needs_rotation(sealed)
        secret = during.decrypt(sealed, owner=ACME, provider_id="openai-byok")
        rotated = during.encrypt(secret, owner=ACME, provider_id="openai-byok")

        assert rotated.key_id == during.primary_key_id == "2026"
        assert not during.needs_rotation(rotated)
        assert after.decrypt(rotated, owner=ACME, provider_id="openai-byok").reveal() == CANARY
        assert refusal(sealed, keyring=after) is Undecryptable.UNKNOWN_KEY_ID
        assert refusal(rotated, keyring=before) is Undecryptable.UNKNOWN_KEY_ID

    @given(st.integers(1, 6), st.data())
    def test_every_key_of_the_ring_decrypts(self, count: int, data: st.DataObject) -> None:
        entries = [generate_key(f"k{number}") for number in range(count)]
        sealed = [seal(keyring=Keyring.from_text(entry)) for entry in entries]
        order = data.draw(st.permutations(entries))
        keyring = Keyring.from_text(",".join(order))
        assert keyring.key_ids == tuple(entry.partition(":")[0] for entry in order)
        for each in sealed:
            assert keyring.decrypt(each, owner=ACME, provider_id="openai-byok").reveal() == CANARY
        assert sum(not keyring.needs_rotation(each) for each in sealed) == 1


MATERIAL = base64.b64encode(bytes(range(32))).decode()
HEX = bytes(range(32)).hex()


class TestKeysText:
    @pytest.mark.parametrize(
        "text",
        [f"a:{MATERIAL}", f" a:{MATERIAL} ,\n b:{MATERIAL}\n", f"2026-01.a_B:{MATERIAL}", f"{'i' * 32}:{MATERIAL}"],
    )
    def test_it_works(self, text: str) -> None:
        assert Keyring.from_text(text).primary_key_id == text.strip().partition(":")[0]

    def test_the_url_safe_alphabet_means_the_same_key(self) -> None:
        material = b"\xfb\xff" * 16
        plain, url_safe = base64.b64encode(material).decode(), base64.urlsafe_b64encode(material).decode()
        assert plain != url_safe
        sealed = seal(keyring=Keyring.from_text(f"a:{plain}"))
        keyring = Keyring.from_text(f"a:{url_safe}")
        assert keyring.decrypt(sealed, owner=ACME, provider_id="openai-byok").reveal() == CANARY

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ("", NoCredentialKeysError, "CREDENTIAL_KEYS is empty: at least one id:key is needed"),
            (" \n", NoCredentialKeysError, "CREDENTIAL_KEYS is empty: at least one id:key is needed"),
            (MATERIAL, MalformedKeyEntryError, "CREDENTIAL_KEYS: entry 1 is not id:key"),
            (f"a:{MATERIAL},", MalformedKeyEntryError, "CREDENTIAL_KEYS: entry 2 is empty"),
            (f"a:{MATERIAL},,b:{MATERIAL}", MalformedKeyEntryError, "CREDENTIAL_KEYS: entry 2 is empty"),
            (
                f":{MATERIAL}",
                MalformedKeyEntryError,
                "entry 1 has a bad id: 1 to 32 letters, digits, dots, underscores or hyphens before the colon",
            ),
            (f"{MATERIAL}:a", MalformedKeyEntryError, "entry 1 has a bad id"),
            (f"{HEX}:a", MalformedKeyEntryError, "entry 1 has a bad id"),
            (f"schlüssel:{MATERIAL}", MalformedKeyEntryError, "entry 1 has a bad id"),
            (f"a b:{MATERIAL}", MalformedKeyEntryError, "entry 1 has a bad id"),
            ("a:", BadKeyMaterialError, "CREDENTIAL_KEYS: entry 1 has a key of 0 bytes; it must be 32"),
            (f"a:{HEX}", BadKeyMaterialError, "CREDENTIAL_KEYS: entry 1 has a key of 48 bytes; it must be 32"),
            (
                f"a:{MATERIAL[:-4]}",
                BadKeyMaterialError,
                "CREDENTIAL_KEYS: entry 1 has a key of 30 bytes; it must be 32",
            ),
            (f"a:{MATERIAL[:-1]}", BadKeyMaterialError, "CREDENTIAL_KEYS: entry 1 has a key that is not valid base64"),
            (f"a:{MATERIAL[:20]} {MATERIAL[20:]}", BadKeyMaterialError, "entry 1 has a key that is not valid base64"),
            (f"a:b:{MATERIAL}", BadKeyMaterialError, "entry 1 has a key that is not valid base64"),
            (f"a:{MATERIAL},b:ключ", BadKeyMaterialError, "entry 2 has a key that is not valid base64"),
            (
                f"a:{MATERIAL},b:{MATERIAL},a:{MATERIAL}",
                DuplicateKeyIdError,
                "CREDENTIAL_KEYS: entries 1 and 3 have the same id",
            ),
        ],
    )
    def test_malformed_text_is_refused(self, text: str, error: type[CredentialKeysError], message: str) -> None:
        with pytest.raises(error) as caught:
            Keyring.from_text(text)
        assert message in str(caught.value)
        assert isinstance(caught.value, ValueError)

    @given(st.text(alphabet="abAB01:,+/=- \n\x00é", max_size=60).map(lambda tail: f"{HEX[:40]}{tail}"))
    def test_errors_are_one_line_and_show_nothing_of_the_text(self, text: str) -> None:
        with pytest.raises(CredentialKeysError) as caught:
            Keyring.from_text(text)
        shown = "".join(traceback.format_exception(caught.value))
        assert "\n" not in str(caught.value)
        assert HEX[:8] not in shown

    def test_a_keyring_made_of_nothing_is_refused(self) -> None:
        with pytest.raises(NoCredentialKeysError):
            Keyring({})

    def test_generated_keys_are_random_and_accepted(self) -> None:
        entries = {generate_key("k") for _ in range(100)}
        assert len(entries) == 100
        for entry in entries:
            assert len(base64.b64decode(entry.partition(":")[2])) == 32
            Keyring.from_text(entry)

    @pytest.mark.parametrize("key_id", ["", "a b", "a,b", "a:b", "x" * 33, "é", "a\n"])
    def test_no_key_is_generated_for_a_bad_id(self, key_id: str) -> None:
        with pytest.raises(MalformedKeyEntryError):
            generate_key(key_id)


def refused_opening() -> None:
    KEYRING.decrypt(seal(), owner=GLOBEX, provider_id="openai-byok")


def failed_sealing() -> None:
    KEYRING.encrypt(Secret(CANARY), owner=None, provider_id="openai-byok")  # type: ignore[arg-type]


class TestNothingShows:
    @pytest.mark.parametrize("failing", [refused_opening, failed_sealing])
    def test_tracebacks_with_locals_do_not_show_the_secret(self, failing: Callable[[], None]) -> None:
        try:
            failing()
        except (UndecryptableSecret, AttributeError) as error:
            report = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        # The test's own frame names the constant; everything below it must not.
        assert "sk-canary" not in report.replace(f"CANARY = '{CANARY}'", "")

    def test_reprs_show_neither_keys_nor_ciphertext(self) -> None:
        material = os.urandom(32)
        keyring = Keyring({"k1": material})
        sealed = seal(keyring=keyring)
        shown = repr(keyring) + repr(sealed) + str(keyring)
        assert shown.startswith("Keyring(key_ids=('k1',))SealedSecret(key_id='k1')")
        assert base64.b64encode(material).decode() not in shown
        assert repr(sealed.ciphertext)[2:-1] not in shown

    @pytest.mark.parametrize("reason", Undecryptable)
    def test_refusals_say_why_and_nothing_else(self, reason: Undecryptable) -> None:
        error = UndecryptableSecret(reason, "k1")
        assert error.reason is reason
        assert "'k1'" in str(error)


PINNED = "000102030405060708090a0b3469fb6bac8bac7ee913359f715a98ec18626a96589260b1c8"


def test_the_encoding_of_the_binding_is_pinned() -> None:
    """Stored credentials were sealed with it: a change of it would lock every organization out of its own keys."""
    keyring = Keyring({"k1": bytes(range(32))})
    owner = SecretOwner.organization(UUID("6f0b6a52-6f0e-4d8e-9b34-0f6f3f0c2a11"))
    stored = bytes.fromhex(PINNED)
    assert keyring.decrypt(SealedSecret("k1", stored), owner=owner, provider_id="openai-byok").reveal() == "sk-pinned"


def test_the_reason_words_are_distinct_from_each_other() -> None:
    explanations = [str(UndecryptableSecret(reason, "k1")) for reason in Undecryptable]
    assert all(left != right for left, right in combinations(explanations, 2))
