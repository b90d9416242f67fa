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
import functools
import hashlib
import sys

from verify_bundle import (
    D, L, P, PARAMETERS, SQRT_OF_MINUS_1, STANDINGS, STATUSES, ZERO, Bundle, Failed, Genesis, H, HandOver, Header,
    Malformed, Proof, Reader, ascend, change_of, check_foundation, digest, names_of, need, node_of, rotations_of, sha256,
    sqrt_ratio, u32, u64,
)

KINDS = ["governance", "wallet", "prekey", "entry", "baseline", "award", "account", "anchor", "resumption", "validators",
         "parameters", "operator", "node", "key", "auditor", "proposal", "lineage", "gate"]


# ---- gate.md, "Group" and "Proof": ristretto255 of RFC 9496


def even(number):
    """The number modulo P or its negative: the one of them that is even."""
    number %= P
    return P - number if number % 2 else number


IDENTITY = (0, 1, 1, 0)
INVSQRT_A_MINUS_D = sqrt_ratio(1, (-1 - D) % P)[1]


def add(one, other):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = one, other
    a, b, c, d = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2), 2 * t1 * t2 * D, 2 * z1 * z2
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number, point):
    total = IDENTITY
    while number:
        if number % 2:
            total = add(total, point)
        point, number = add(point, point), number // 2
    return total


@functools.lru_cache(maxsize=100_000)
def point_of(encoded):
    """The element of these bytes, which is not the identity."""
    s = int.from_bytes(encoded, "little")
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, inverse = sqrt_ratio(1, v * u2 * u2 % P)
    x = even(2 * s * inverse * u2)
    y = u1 * inverse * inverse * u2 * v % P
    t = x * y % P
    rule(0 < s < P and s % 2 == 0 and square and t % 2 == 0 and y != 0, "32 bytes are no element, or the identity")
    return x, y, 1, t


def bytes_of(point):
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    inverse = sqrt_ratio(1, u1 * u2 * u2 % P)[1]
    d1, d2 = inverse * u1 % P, inverse * u2 % P
    z_inverse = d1 * d2 * t % P
    if t * z_inverse % P % 2:
        x, y, d2 = y * SQRT_OF_MINUS_1 % P, x * SQRT_OF_MINUS_1 % P, d1 * INVSQRT_A_MINUS_D % P
    if x * z_inverse % P % 2:
        y = -y
    return even(d2 * (z - y)).to_bytes(32, "little")


G = bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76")


def number_of(read):
    """A number modulo the order of the group."""
    number = read.number(32)
    rule(number < L, "a number is not below the order")
    return number


def is_possessed(key, context, proof):
    """Whether who made the proof knows the number that makes the generator this key."""
    challenge, response = proof
    nonce = bytes_of(add(times(response, point_of(G)), times(L - challenge, point_of(key))))
    parts = (b"batchmind/v1/wallet/gate/possession", context, u64(1), G, key, nonce)
    hashed = hashlib.sha512(b"".join(u64(len(part)) + part for part in parts)).digest()
    return challenge == int.from_bytes(hashed, "little") % L


# ---- gate.md, "Gate" and "On the ledger"


def rule(holds, words):
    """That a record keeps a rule."""
    need(holds, "state-proof", words)


def scope_of(read):
    """A gate's name in a path."""
    return "global" if read.variant(2) == 0 else f"region/{read.name(16)}"


class GateId:
    def __init__(self, read):
        start = read.at
        read.digest()
        self.kind, self.all = read.variant(4), 1
        if self.kind == 1:
            read.name(16)
        if self.kind < 2:
            self.all = read.u32()
        else:
            read.digest()
        self.epoch = read.u32()
        self.encoded = read.data[start : read.at]

    def threshold(self, members):
        """How many of so many members must release."""
        count = self.all
        least = [(count + max(count - 1, 0) // 3) // 2 + 1, count // 2 + 1, 1, 1][self.kind]
        rule(least <= members <= min(count, 256), "a gate has too few members, or too many")
        return least


def gate_of(read):
    """A gate that keeps no rule yet."""
    id, members, polynomial = GateId(read), read.list(read.u32), read.list(read.digest)
    return id, members, polynomial, read.optional(lambda: (number_of(read), number_of(read)))


def check_coefficients(polynomial):
    for coefficient in set(polynomial) - {ZERO}:
        point_of(coefficient)


def check_gate(id, members, polynomial, proof=None):
    rule(ascend(members), "a gate's members are out of order")
    rule(id.kind != 2 or members == [0], "a tenant's gate has another member")
    rule(len(polynomial) == id.threshold(len(members)), "a polynomial has another degree than the threshold")
    rule(polynomial[0] != ZERO, "a gate's key is the identity")
    check_coefficients(polynomial)
    rule((len(members) == 1) == (proof is not None), "a plain key, and no other, has a proof of possession")
    if proof is not None:
        context = id.encoded + u32(members[0])
        rule(is_possessed(polynomial[0], context, proof), "a proof of possession does not hold")


def contributed_of(read):
    """Who contributed, and how many coefficients. The rest is looked at when a notice is about it."""
    member, coefficients = read.u32(), len(read.list(read.digest))
    read.digest(), number_of(read), gate_of(read)
    return member, coefficients


def check_transcript(read, epoch, known):
    id, _, members, _ = GateId(read), read.digest(), read.list(read.u32), read.u32()
    # Neither Done nor Failed: those are over.
    keys, phase = read.list(read.digest), read.variant(4)
    contributed, sums = read.list(lambda: contributed_of(read)), read.list(read.digest)
    missing = read.list(lambda: ((read.u32(), read.u32()), read.truth()))
    confirmed = read.list(read.u32)
    made = id.kind < 2 and (id.all, id.epoch) == (len(known), epoch)
    rule(made and len(known) >= 2, "the run makes another gate")
    rule(ascend(members), "a run's members are out of order")
    threshold = id.threshold(len(members))
    fit = len(keys) == len(members) and set(zip(members, keys)) <= set(known)
    rule(fit, "a run has members that could not be any")
    pairs, authors = [pair for pair, _ in missing], [member for member, _ in contributed]
    rule(ascend(authors) and ascend(pairs) and ascend(confirmed), "what members said is out of order")
    named = {*authors, *confirmed, *(node for pair in pairs for node in pair)}
    rule(named <= set(members), "somebody is named who is no member of the run")
    rule(all(count == threshold for _, count in contributed), "a contribution has another degree than the run")
    rule(len(sums) == (threshold if contributed else 0), "the sums have another degree than the run")
    check_coefficients(sums)
    whole = len(contributed) == len(members)
    rule(whole == (phase > 0), "a run cannot be in this phase")
    if whole:
        check_gate(id, members, sums)


def gate_record_of(read):
    epoch, members = read.u32(), read.list(lambda: (read.u32(), read.digest()))
    rule(epoch < 2**32 - 1, "no epoch can follow")
    ordered = len(members) <= 64 and ascend([node for node, _ in members])
    rule(ordered, "too many could be members, or they are out of order")
    read.optional(lambda: check_gate(*gate_of(read)))
    read.optional(lambda: (check_gate(*gate_of(read)), read.u64()))
    read.optional(lambda: (check_transcript(read, epoch, members), read.optional(read.u64)))


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
