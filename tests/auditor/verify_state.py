#!/usr/bin/env python3
"""Verifies what the state of a ledger holds under a key, or that it holds nothing, from the hash of the genesis document
alone.

    verify_state.py FILE --genesis HASH [--re-genesis HASH]... [--key DIGEST]
    verify_state.py --batch < LIST

Written from docs/formats/{state-proof,bundle,ledger,genesis,gate}.md. The file begins as a bundle does, so that part is checked by
verify_bundle.py beside this program; the rest is here. DIGEST is the hash of the state key that was asked for; without it,
look at what is printed. It ends with 0, or prints the code of the first check that fails and ends with 1.

--batch reads lines "FILE HASH DIGEST BIT NAMES" and answers each with a line "present CLASS", "absent CLASS" or the code. DIGEST
may be "-"; BIT is the number of the one bit of the file to flip first, or "-" for none; NAMES are as for
verify_bundle.py.
"""

import argparse
import sys

from verify_bundle import (
    PARAMETERS, STANDINGS, STATUSES, Bundle, Failed, Genesis, H, HandOver, Header, Malformed, Proof, Reader, change_of,
    check_foundation, digest, names_of, need, node_of, rotations_of, sha256, u32,
)

KINDS = ["governance", "wallet", "prekey", "entry", "baseline", "award", "account", "anchor", "resumption", "validators",
         "parameters", "operator", "node", "key", "auditor", "proposal", "lineage", "gate"]


# ---- gate.md


def scope_of(read):
    """A gate's name in a path."""
    return "global" if read.variant(2) == 0 else f"region/{read.name(16)}"


def gate_id_of(read):
    read.digest()
    match read.variant(4):
        case 0:
            read.u32()
        case 1:
            read.name(16), read.u32()
        case _:
            read.digest()
    read.u32()


def gate_of(read):
    gate_id_of(read)
    read.list(read.u32), read.list(read.digest), read.optional(lambda: read.take(64))


def contribution_of(read):
    read.list(read.digest), read.take(32 + 32), gate_of(read)


# ---- state-proof.md


class StateKey:
    """What a record is about, and where it stands."""

    def __init__(self, read):
        start = read.at
        self.kind = read.variant(len(KINDS))
        match KINDS[self.kind]:
            case "wallet" | "prekey" | "entry" | "baseline" | "key" | "auditor" | "proposal":
                self.name = read.digest().hex()
            case "award":
                self.name = f"{read.digest().hex()}/{read.u32()}"
            case "account" | "anchor" | "resumption" | "node":
                self.name = str(read.u32())
            case "validators":
                self.name = str(read.u64())
            case "operator":
                self.name = read.name(32)
            case "gate":
                self.name = scope_of(read)
            case _:
                self.name = ""
        self.digest = H("batchmind/v1/ledger/state", read.data[start : read.at])

    def __str__(self):
        return f"{KINDS[self.kind]}/{self.name}".rstrip("/")


def lot_of(read):
    read.u64(), read.u64()


def award_of(read):
    read.take(32 + 4 + 4 + 32 + 8)
    lot_of(read) if read.variant(2) == 0 else read.variant(5)


def proposal_of(read):
    read.take(32 + 8)
    read.name(32), read.take(16)
    read.list(lambda: change_of(read))
    read.u64(), read.u64()
    read.list(lambda: (read.name(32), read.truth(), read.digest()))
    if read.variant(5) in (1, 4):
        read.u64()


def key_of(read):
    if read.truth():
        read.name(32) if read.variant(2) == 0 else read.u32()
    read.variant(STATUSES), read.digest(), read.u64()


def phase_of(read):
    if read.variant(6) == 5:
        read.list(read.u32)


# The fields of a gate's record, and not its rules: whether lists ascend, the phase is one that a record can have, and 32 bytes
# are an element. The root is certified, so only a quorum of liars could make another.
def transcript_of(read):
    gate_id_of(read), read.digest(), read.list(read.u32), read.u32()
    read.list(read.digest), phase_of(read)
    read.list(lambda: (read.u32(), contribution_of(read))), read.list(read.digest)
    read.list(lambda: (read.u32(), read.u32(), read.truth()))
    read.list(read.u32)


def gate_record_of(read):
    read.u32(), read.list(lambda: (read.u32(), read.digest()))
    read.optional(lambda: gate_of(read))
    read.optional(lambda: (gate_of(read), read.u64()))
    read.optional(lambda: (transcript_of(read), read.optional(read.u64)))


RECORDS = {
    "governance": lambda read: (read.digest(), read.u64(), read.u64(), read.list(lambda: read.name(32)), read.u32(),
                                read.list(read.digest)),
    "prekey": lambda read: read.digest(),
    "entry": lambda read: read.take(8 + 8 + 8),
    "baseline": lambda read: read.take(32 + 4 + 8 + 4),
    "award": award_of,
    "account": lambda read: read.list(lambda: lot_of(read)),
    "anchor": lambda read: read.take(8 + 32 + 32),
    "resumption": lambda read: read.take(16 + 8 + 32),
    "validators": lambda read: (read.u64(), read.list(lambda: read.take(4 + 32)), read.u64()),
    "parameters": lambda read: read.take(8 * len(PARAMETERS)),
    "operator": lambda read: (read.name(32), read.text(), read.digest(), read.variant(STANDINGS), read.digest(),
                              read.list(read.digest)),
    "node": lambda read: (Genesis.node(read), read.variant(STANDINGS), read.digest()),
    "key": key_of,
    "auditor": lambda read: (read.text(), read.digest(), read.truth(), read.digest()),
    "proposal": proposal_of,
    "lineage": lambda read: (read.u32(), read.u64(), read.digest()),
    "gate": gate_record_of,
}


def check_record(key, value):
    """That the value is the one encoding of a record of the key's kind."""
    if KINDS[key.kind] == "wallet":
        rotations_of(value)
        return
    read = Reader(value)
    if read.variant(len(KINDS)) != key.kind:
        raise Malformed("the record is of another kind than its key")
    RECORDS[KINDS[key.kind]](read)
    read.end()


class StateProof:
    """The file."""

    def __init__(self, data):
        read = Reader(data)
        self.version, self.lineage, self.consortium = read.u32(), read.u32(), read.byte_string()
        self.hand_overs = read.list(lambda: HandOver(read))
        self.header, self.proof = Header(read), Proof(read)
        self.members = read.list(lambda: Bundle.member(read))
        self.key, self.path = StateKey(read), read.list(read.digest)
        self.value = self.other = None
        match read.variant(3):
            case 0:
                self.value = read.byte_string()
            case 2:
                self.other = (read.digest(), read.digest())
        read.end()


def bit(key, depth):
    return key[depth // 8] >> (7 - depth % 8) & 1


def check_path(file):
    """That the path leads from what ends it to the state root."""
    code, key, path = "state-proof", file.key.digest, file.path
    need(len(path) <= 256, code, "the path is longer than a key")
    root = bytes(32)
    if file.value is not None:
        root = sha256(b"\0", key, sha256(file.value))
    elif file.other is not None:
        other, value_hash = file.other
        shared = all(bit(other, depth) == bit(key, depth) for depth in range(len(path)))
        need(other != key and shared, code, "the other leaf is not on the path of the key")
        root = sha256(b"\0", other, value_hash)
    for depth in reversed(range(len(path))):
        root = node_of(path[depth], root) if bit(key, depth) else node_of(root, path[depth])
    need(root == file.header.state_root, code, "the path does not lead to the state root")


def verify(data, genesis_hash, named=(), asked=None):
    """Makes the checks in their order; raises Failed at the first that does not hold."""
    need(4 <= len(data) <= 16 << 20, "decode", "no proof has this size")
    need(data[:4] == u32(2), "version", "the file is of another version")
    try:
        file = StateProof(data)
    except Malformed as error:
        raise Failed("decode", error) from error
    genesis, members = check_foundation(file, genesis_hash, named)
    need(asked in (None, file.key.digest), "state-proof", f"it is about {file.key}")
    check_path(file)
    if file.value is not None:
        try:
            check_record(file.key, file.value)
        except Malformed as error:
            raise Failed("state-proof", error) from error
    return file, genesis, members


def batch():
    last, data = None, b""
    for line in sys.stdin:
        name, genesis, asked, flipped, names = line.split()
        if name != last:
            with open(name, "rb") as opened:
                last, data = name, opened.read()
        changed = data
        if flipped != "-":
            changed = bytearray(data)
            changed[int(flipped) // 8] ^= 1 << int(flipped) % 8
            changed = bytes(changed)
        try:
            asked = None if asked == "-" else bytes.fromhex(asked)
            file, _, members = verify(changed, bytes.fromhex(genesis), names_of(names), asked)
            print("absent" if file.value is None else "present", members.assurance())
        except Failed as failed:
            print(failed.code)
    return 0


def main():
    arguments = argparse.ArgumentParser(description="Verify what the state holds under a key.")
    arguments.add_argument("file", nargs="?", help="the proof")
    arguments.add_argument("--genesis", type=digest, metavar="HASH", help="hash of the genesis document")
    arguments.add_argument("--key", type=digest, metavar="DIGEST", help="hash of the state key that was asked for")
    arguments.add_argument("--re-genesis", type=digest, metavar="HASH", action="append", default=[],
                           help="digest of a re-genesis that lies between; once for each")
    arguments.add_argument("--batch", action="store_true", help="read lines of file, hash, key, bit and names from standard input")
    told = arguments.parse_args()
    if told.batch:
        return batch()
    if told.file is None or told.genesis is None:
        arguments.error("a file and --genesis HASH are needed")
    try:
        with open(told.file, "rb") as opened:
            data = opened.read((16 << 20) + 1)
        file, genesis, members = verify(data, told.genesis, told.re_genesis, told.key)
    except OSError as error:
        print(f"the file cannot be read: {error}", file=sys.stderr)
        return 1
    except Failed as failed:
        print(f"not proven: check {failed.code} failed: {failed.words}", file=sys.stderr)
        return 1
    print(f"verified: consortium {genesis.name!r} {genesis.id.hex()}")
    print(f"key        {file.key}, at {file.key.digest.hex()}")
    print("record     there is none" if file.value is None else f"record     {file.value.hex()}")
    print(f"as of      height {file.header.height}")
    print(f"assurance  {members.assurance()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
