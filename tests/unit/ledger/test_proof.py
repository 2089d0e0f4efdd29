"""The stand-alone verifier with the service's proofs: it accepts valid ones, and rejects any changed bit."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.client import proof as verifier
from saldo.client.proof import InvalidProofError, verify_proof
from saldo.http.api.proofs import build_proof, convert_seal
from saldo.ledger.model import Entry, Kind, Outcome
from saldo.ledger.seals import (
    FIRST_PREVIOUS,
    compute_merkle_root,
    encode_entry,
    hash_leaf,
    hash_seal,
)
from saldo.store.seals import RecordedSeal

MOMENT = datetime(2026, 11, 25, 12, 0, 0, 123000, tzinfo=UTC)
DAY = timedelta(days=1)
SHARD = 5

instants = st.datetimes(
    datetime(1900, 1, 1), datetime(2200, 12, 31), timezones=st.just(UTC)
)  # fmt: skip
entries = st.builds(
    Entry,
    shard=st.integers(0, 63),
    seq=st.integers(1, 2**63 - 1),
    user_id=st.integers(1, 2**63 - 1),
    number=st.integers(0, 2**63 - 1),
    uuid=st.uuids(),
    kind=st.sampled_from(Kind),
    outcome=st.sampled_from([outcome for outcome in Outcome if outcome.is_recorded]),
    amount=st.integers(-(10**15), 10**15),
    balance=st.integers(0, 10**17),
    timestamp=st.none() | instants,
    horizon=st.none() | instants,
    recorded_at=instants,
)


def entry(seq: int, **given: Any) -> Entry:
    """Return a deposit with the given changes."""
    deposit = Entry(
        *(
            SHARD,
            seq,
            SHARD,
            seq - 1,
            UUID(int=seq),
            Kind.DEPOSIT,
            Outcome.POSTED,
            1000,
            1000 * seq,
        ),
        *(MOMENT, MOMENT, MOMENT),
    )
    return replace(deposit, **given)


KINDS = {
    "opening": entry(
        7, kind=Kind.OPENING, number=0, amount=0, balance=0, timestamp=None, horizon=None
    ),
    "posted": entry(7),
    "refused": entry(
        7, kind=Kind.WITHDRAWAL, outcome=Outcome.INSUFFICIENT_FUNDS, amount=-99, horizon=None
    ),
    "late": entry(7, timestamp=MOMENT - 400 * DAY, horizon=MOMENT + DAY),
}


def make_seal(some: Sequence[Entry], previous: bytes = FIRST_PREVIOUS) -> RecordedSeal:
    """Return the seal of these entries."""
    root = compute_merkle_root([hash_leaf(encode_entry(each)) for each in some])
    shard, first_seq, last_seq = some[0].shard, some[0].seq, some[-1].seq
    hash_ = hash_seal(previous, shard, first_seq, last_seq, root)
    return RecordedSeal(shard, first_seq, last_seq, previous, root, hash_, MOMENT)


def proof(of: Entry, some: Sequence[Entry], seal: RecordedSeal | None = None) -> Any:
    """Return a proof as the service answers it and its client parses it."""
    leaves = [hash_leaf(encode_entry(each)) for each in some]
    return _as_json(build_proof(of, seal or make_seal(some), leaves))


def around(of: Entry, size: int) -> tuple[list[Entry], RecordedSeal]:
    """Return `size` entries from 4 on, with `of` at 7, and their seal, which is not the first one."""
    some = [entry(seq) for seq in range(4, 4 + size)]
    some[3] = of
    return some, make_seal(some, b"\x07" * 32)


def answer(*seals: RecordedSeal) -> Any:
    return {"items": [_as_json(convert_seal(seal)) for seal in seals], "next_after": None}


def chain(*sizes: int) -> tuple[list[list[Entry]], list[RecordedSeal]]:
    """Return seals over `sizes` entries each from the first entry on, and their entries."""
    parts: list[list[Entry]] = []
    seals: list[RecordedSeal] = []
    for size in sizes:
        first_seq = seals[-1].last_seq + 1 if seals else 1
        parts.append([entry(seq) for seq in range(first_seq, first_seq + size)])
        seals.append(make_seal(parts[-1], seals[-1].hash if seals else FIRST_PREVIOUS))
    return parts, seals


def _as_json(value: Any) -> Any:
    return json.loads(msgspec.json.encode(value))


@given(entries)
def test_verifier_encodes_entries_like_the_service(of: Entry) -> None:
    seal = make_seal([of])
    # The entry is the only one of its seal: its bytes are the leaf, and the leaf is the root.
    written = _as_json(build_proof(of, seal, [seal.root]))["entry"]
    assert verifier.encode_entry(written) == encode_entry(of)


@given(st.integers(1, 70), st.data())
def test_every_entry_of_a_seal_is_proven(size: int, data: st.DataObject) -> None:
    some = [entry(seq) for seq in range(1, size + 1)]
    of = data.draw(st.sampled_from(some))
    checked = verify_proof(proof(of, some))
    assert "is entry" in checked.line and not checked.anchored


@given(st.integers(2, 1024), st.data())
def test_path_with_a_changed_bit_does_not_lead_to_the_root(size: int, data: st.DataObject) -> None:
    leaves = [hash_leaf(seq.to_bytes(2, "big")) for seq in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = verifier_path(leaves, index)
    root = compute_merkle_root(leaves)
    assert verifier.compute_merkle_root(leaves[index], index, size, path) == root
    changed = bytearray(b"".join(path))
    bit = data.draw(st.integers(0, len(changed) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    wrong = [bytes(changed[start : start + 32]) for start in range(0, len(changed), 32)]
    assert verifier.compute_merkle_root(leaves[index], index, size, wrong) != root


def verifier_path(leaves: list[bytes], index: int) -> list[bytes]:
    """Return an inclusion path by RFC 6962, section 2.1.1, recursively."""
    if len(leaves) == 1:
        return []
    half = 1 << (len(leaves) - 1).bit_length() - 1
    if index < half:
        return [*verifier_path(leaves[:half], index), compute_merkle_root(leaves[half:])]
    return [*verifier_path(leaves[half:], index - half), compute_merkle_root(leaves[:half])]


@pytest.mark.parametrize("kind", KINDS)
def test_proof_with_any_changed_bit_is_invalid(kind: str, tmp_path: Path) -> None:
    """Change every bit of the file, except the sealing time, which the proof doesn't cover."""
    some, seal = around(KINDS[kind], 6)
    given = proof(KINDS[kind], some, seal)
    written = json.dumps(given, separators=(",", ":"), ensure_ascii=False).encode()
    path = tmp_path / "proof.json"
    path.write_bytes(written)
    assert verifier.main([str(path)]) == verifier.NOT_ANCHORED
    assert verifier.main([str(path), "--self-consistent"]) == 0
    unproven = written.index(b',"sealed_at"'), written.index(b"}", written.index(b'"sealed_at"'))
    passed = []
    for position in range(len(written)):
        if unproven[0] < position < unproven[1]:
            continue
        for bit in range(8):
            changed = bytearray(written)
            changed[position] ^= 1 << bit
            try:
                verify_proof(json.loads(bytes(changed)))
            except (InvalidProofError, ValueError):
                continue
            passed.append((position, bit))
    assert passed == []


@pytest.mark.parametrize("kind", KINDS)
def test_proof_with_a_changed_value_is_rejected_with_a_reason(kind: str) -> None:
    some, seal = around(KINDS[kind], 9)
    given = proof(KINDS[kind], some, seal)
    assert verify_proof(given)
    for name, value in given["entry"].items():
        other = value + 1 if isinstance(value, int) else "x" if value is None else f"{value}0"
        with pytest.raises(InvalidProofError):
            verify_proof(given | {"entry": given["entry"] | {name: other}})
        with pytest.raises(InvalidProofError, match=name):
            verify_proof(
                given | {"entry": {key: it for key, it in given["entry"].items() if key != name}}
            )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"version": 2}, "the proof has version 2, but this program supports version 1 only"),
        ({"version": True}, "version is not a whole number"),
        ({"leaf_index": 2}, "leaf_index is not"),
        ({"leaf_index": "3"}, "leaf_index is not a whole number"),
        ({"path": []}, "the path is too short"),
        ({"path": ["00" * 32] * 9}, "the path is too long"),
        ({"path": "0"}, "path is not a list"),
        ({"path": [1]}, "path is not a hash"),
        ({"seal": None}, "is missing"),
        ({"entry": []}, "is missing"),
    ],
)
def test_invalid_proof_is_rejected_with_a_reason(changed: dict[str, Any], expected: str) -> None:
    some, seal = around(KINDS["posted"], 6)
    with pytest.raises(InvalidProofError, match=expected):
        verify_proof(proof(KINDS["posted"], some, seal) | changed)


def test_the_seal_of_another_shard_over_the_same_entries_proves_nothing() -> None:
    some, _ = around(KINDS["posted"], 6)
    other = make_seal([replace(each, shard=6) for each in some])
    root = compute_merkle_root([hash_leaf(encode_entry(each)) for each in some])
    hash_ = hash_seal(b"\x07" * 32, 6, 4, 9, root)
    forged = replace(other, previous=b"\x07" * 32, root=root, hash=hash_)
    with pytest.raises(InvalidProofError, match="the seal does not cover the entry"):
        verify_proof(proof(KINDS["posted"], some, forged))


@pytest.mark.parametrize(("first_seq", "previous"), [(4, FIRST_PREVIOUS), (1, b"\x07" * 32)])
def test_a_chain_begins_at_the_first_entry_and_nowhere_else(
    first_seq: int, previous: bytes
) -> None:
    some = [entry(seq) for seq in range(first_seq, first_seq + 3)]
    with pytest.raises(InvalidProofError, match="impossible positions"):
        verify_proof(proof(some[1], some, make_seal(some, previous)))


def test_service_gives_no_proof_for_entries_that_the_seal_does_not_cover() -> None:
    some, seal = around(KINDS["posted"], 6)
    leaves = [hash_leaf(encode_entry(each)) for each in some]
    assert build_proof(KINDS["posted"], seal, leaves) is not None
    assert build_proof(KINDS["posted"], seal, leaves[:-1]) is None
    assert build_proof(KINDS["posted"], seal, leaves[::-1]) is None
    assert build_proof(KINDS["posted"], replace(seal, hash=bytes(32)), leaves) is None


class TestKept:
    parts, seals = chain(3, 1, 4, 2)

    def prove(self, kept: Sequence[Any], links: Sequence[Any] = ()) -> str:
        given = proof(self.parts[1][0], self.parts[1], self.seals[1])
        checked = verify_proof(given, kept=kept, chain=links)
        assert checked.anchored
        return checked.line

    def test_kept_seal_is_the_seal_of_the_proof(self) -> None:
        assert self.seals[1].hash.hex() in self.prove([answer(*self.seals[:2])])

    def test_chain_leads_to_a_later_kept_seal(self) -> None:
        line = self.prove([answer(self.seals[3])], [answer(self.seals[2]), answer(self.seals[3])])
        assert self.seals[3].hash.hex() in line

    def test_earliest_of_several_kept_seals_is_used(self) -> None:
        assert self.prove([answer(self.seals[3]), answer(self.seals[2])], [answer(self.seals[2])])

    @pytest.mark.parametrize("links", [[], [3], [1, 3]])
    def test_chain_with_a_missing_link_is_rejected(self, links: list[int]) -> None:
        with pytest.raises(InvalidProofError, match=r"lacks the seal after 4.*shard=5&after=4"):
            self.prove([answer(self.seals[3])], [answer(*(self.seals[each] for each in links))])

    def test_kept_seals_older_than_the_proof_are_rejected(self) -> None:
        other = make_seal([entry(9, shard=6, user_id=6)], b"\x01" * 32)
        for kept in ([], [answer()], [answer(self.seals[0])], [answer(other)]):
            if kept:
                with pytest.raises(
                    InvalidProofError, match="no saved seal of shard 5 is as new as"
                ):
                    self.prove(kept)

    @pytest.mark.parametrize("kept", [1, 3])
    def test_rewritten_history_is_rejected(self, kept: int) -> None:
        """Change an entry before the kept seal, and make all seals from there on again."""
        parts = [list(part) for part in self.parts]
        parts[0][1] = replace(parts[0][1], amount=1)
        seals: list[RecordedSeal] = []
        for part in parts:
            seals.append(make_seal(part, seals[-1].hash if seals else FIRST_PREVIOUS))
        given = proof(parts[1][0], parts[1], seals[1])
        assert verify_proof(given)
        with pytest.raises(InvalidProofError, match="the saved seal differs"):
            verify_proof(given, kept=[answer(self.seals[kept])], chain=[answer(*seals)])

    def test_malformed_kept_seal_is_rejected(self) -> None:
        with pytest.raises(InvalidProofError, match="hash of the seal of entries 4 to 4 is wrong"):
            self.prove([answer(replace(self.seals[1], hash=bytes(32)))])


def test_copy_of_the_verifier_runs_without_other_files(tmp_path: Path) -> None:
    """Run the copy without Saldo and without any package; each result is one line."""
    program = tmp_path / "proof.py"
    program.write_bytes(Path(verifier.__file__).read_bytes())
    parts, seals = chain(2, 3)
    of = random.Random(1).choice(parts[0])
    files = {
        "proof.json": proof(of, parts[0], seals[0]),
        "kept.json": answer(seals[1]),
        "chain.json": answer(*seals),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-I", "-S", program, *arguments],
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            check=False,
        )
        assert done.stderr == b""
        assert done.stdout.count(b"\n") == 1
        return done.returncode, done.stdout.decode()

    code, line = run("proof.json", "--seals", "kept.json", "--chain", "chain.json")
    assert code == 0
    assert line.startswith(f"proven: {of.uuid}, DEPOSIT of 1000 for user 5, posted")
    assert seals[1].hash.hex() in line
    anchored = ["--seals", "kept.json", "--chain", "chain.json"]
    assert run("-", *anchored, stdin=(tmp_path / "proof.json").read_bytes())[0] == 0
    code, line = run("proof.json")
    assert (code, line.split(":")[0]) == (2, "consistent, NOT anchored")
    code, line = run("proof.json", "--self-consistent")
    assert (code, line.split(":")[0]) == (0, "consistent, NOT anchored")
    for arguments in (
        ["none.json"],
        ["proof.py"],
        ["kept.json"],
        ["proof.json", "--seals", "kept.json"],
        ["proof.json", "--seals", "proof.json"],
    ):
        code, line = run(*arguments)
        assert code == 1
        assert line.startswith("NOT PROVEN: ")


def test_wrong_arguments_have_their_own_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Check that their exit code differs from that of a proof that isn't anchored."""
    for arguments in ([], ["proof.json", "--seals"], ["p", "--seals", "s", "--self-consistent"]):
        with pytest.raises(SystemExit) as ended:
            verifier.main(arguments)
        assert ended.value.code == verifier.USAGE
    assert capsys.readouterr().out == ""


def test_consistent_proof_without_a_kept_seal_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Seal a forged entry alone: the proof is consistent, and must not be taken for an anchored one."""
    made_up = replace(entry(1), amount=99_999_999, balance=99_999_999)
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(proof(made_up, [made_up])))
    assert verifier.main([str(path)]) == verifier.NOT_ANCHORED
    assert capsys.readouterr().out.startswith("consistent, NOT anchored: ")
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(answer(make_seal([entry(1)]))))
    assert verifier.main([str(path), "--seals", str(kept)]) == verifier.WRONG
