#!/usr/bin/env python3
"""Verifies a proof bundle, version 5, from the hash of the genesis document alone.

    verify_bundle.py BUNDLE --genesis HASH [--re-genesis HASH]... [--checkpoint FILE]
    verify_bundle.py --batch < LIST

Written from docs/formats/{bundle,ledger,genesis,decision,checkpoint}.md, so that two programs that share no code must
agree. It needs Python 3.11 and the package `cryptography`. It prints what is proven and ends with 0, or prints the code of
the first check that fails and ends with 1.

--batch reads lines "FILE HASH BIT NAMES CHECKPOINT" and answers each with a line "ok CLASS" or the code. BIT is the number of
the one bit of the file to flip first, counted from the lowest of its first byte, or "-" for none. NAMES are the digests of
the re-geneses that are named, with commas between, or "-" for none. CHECKPOINT is the file of a checkpoint that was kept,
or "-" for none.
"""

import argparse
import base64
import binascii
import functools
import hashlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ZERO = bytes(32)


class Failed(Exception):
    """The first check that does not hold."""

    def __init__(self, code, words):
        super().__init__(f"{code}: {words}")
        self.code, self.words = code, words


def need(holds, code, words):
    if not holds:
        raise Failed(code, words)


# ---- ledger.md, "Hashes and signatures"


def u16(number):
    return number.to_bytes(2, "little")


def u32(number):
    return number.to_bytes(4, "little")


def u64(number):
    return number.to_bytes(8, "little")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def H(domain, *parts):
    return sha256(*(u64(len(part)) + part for part in (domain.encode(), *parts)))


P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)


def sqrt_ratio(u, v):
    """Whether u / v is a square modulo P, and then the even one of its roots; 0 if v is 0."""
    root = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * root * root % P != u:
        root = root * SQRT_OF_MINUS_1 % P
    return v * root * root % P == u, P - root if root % 2 else root


@functools.lru_cache(maxsize=100_000)
def is_good_point(encoded):
    """Whether the bytes decode to a point of the curve whose order is not 1, 2, 4 or 8."""
    y = (int.from_bytes(encoded, "little") & (2**255 - 1)) % P
    # Which of the two roots does not matter, because a point and its negative have one order.
    square, x = sqrt_ratio((y * y - 1) % P, (D * y * y + 1) % P)
    if not square:
        return False
    # Three doublings give the neutral element (0, 1) for the points of small order, and for no other.
    z = 1
    for _ in range(3):
        a, b, c = x * x, y * y, 2 * z * z
        e, g = (x + y) ** 2 - a - b, b - a
        f, h = g - c, -a - b
        x, y, z = e * f % P, g * h % P, f * g % P
    return not (x == 0 and y == z)


def is_signed(key, context, message, signature):
    return is_signed_as_it_is(key, H(context, message), signature)


@functools.lru_cache(maxsize=100_000)
def is_signed_as_it_is(key, message, signature):
    if not is_good_point(key) or not is_good_point(signature[:32]) or int.from_bytes(signature[32:], "little") >= L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


# ---- ledger.md, "Encoding"


class Malformed(Exception):
    """Bytes that are no encoding."""


class Reader:
    """Takes values off the front of bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        end = self.at + count
        if end > len(self.data):
            raise Malformed("the bytes end too early")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def number(self, size):
        return int.from_bytes(self.take(size), "little")

    def u16(self):
        return self.number(2)

    def u32(self):
        return self.number(4)

    def u64(self):
        return self.number(8)

    def i64(self):
        return int.from_bytes(self.take(8), "little", signed=True)

    def digest(self):
        return self.take(32)

    def signature(self):
        return self.take(64)

    def byte_string(self):
        return self.take(self.u64())

    def text(self):
        try:
            return self.byte_string().decode("utf-8")
        except UnicodeDecodeError as error:
            raise Malformed("invalid UTF-8") from error

    def name(self, most):
        text = self.text()
        if not 1 <= len(text) <= most or not set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789-"):
            raise Malformed(f"{text!r} is no name")
        return text

    def variant(self, count):
        number = self.u32()
        if number >= count:
            raise Malformed(f"there is no variant {number}")
        return number

    def truth(self):
        byte = self.number(1)
        if byte > 1:
            raise Malformed(f"{byte} is no truth value")
        return byte == 1

    def optional(self, read):
        return read() if self.truth() else None

    def list(self, read):
        return [read() for _ in range(self.u64())]

    def end(self):
        if self.at != len(self.data):
            raise Malformed("there are bytes left over")


def ascend(values):
    """Whether they ascend strictly."""
    return all(one < next for one, next in zip(values, values[1:]))


# ---- genesis.md

PARAMETERS = [
    ("block_interval_ms", 1, 10_000),
    ("idle_block_ms", 100, 600_000),
    ("heartbeat_ms", 10, 10_000),
    ("leader_timeout_ms", 50, 60_000),
    ("clock_ahead_ms", 100, 60_000),
    ("clock_behind_ms", 100, 60_000),
    ("view_timeout_ms", 50, 60_000),
    ("view_timeout_max_ms", 51, 600_000),
    ("offer_deadline_blocks", 2, 1_000_000),
    ("credit_per_ms", 0, 1_000_000),
    ("credit_expiry_blocks", 1, 1_000_000_000),
    ("batch_tokens", 1_024, 10_000_000),
    ("proposal_lock_ms", 0, 2_592_000_000),
    ("proposal_life_ms", 3_600_000, 7_776_000_000),
    ("gate_phase_ms", 0, 604_800_000),
]
WHITE_SPACE = {
    *range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000,
}


class Genesis:
    """A document that keeps the rules."""

    def __init__(self, data):
        read = Reader(data)
        self.name, self.created = read.text(), read.u64()
        self.parameters = {name: read.u64() for name, _, _ in PARAMETERS}
        self.regions = read.list(lambda: (read.name(16), read.text()))
        self.operators = read.list(lambda: (read.name(32), read.text(), read.digest()))
        self.nodes = read.list(lambda: self.node(read))
        self.auditors = read.list(lambda: (read.text(), read.digest()))
        self.models = read.list(lambda: self.model(read))
        unsigned = data[: read.at] + u64(0)
        self.signatures = read.list(lambda: (read.name(32), read.signature()))
        read.end()
        self.check()
        self.id = H("batchmind/v1/genesis/document", unsigned)
        self.validators = Validators(0, [(number, node["key"]) for number, node in enumerate(self.nodes)])

    @staticmethod
    def node(read):
        node = {"name": read.name(32), "operator": read.name(32), "region": read.name(16), "key": read.digest()}
        node["address"], node["port"] = read.take([4, 16][read.variant(2)]), read.u16()
        node["api"] = read.text()
        return node

    @staticmethod
    def model(read):
        model = {"hash": read.digest(), "name": read.text(), "operator": read.name(32)}
        model["owner"] = read.optional(lambda: (read.text(), read.digest()))
        return model

    def check(self):
        owners = [model["owner"] for model in self.models if model["owner"]]
        for text in [self.name, *(name for _, name in self.regions), *(name for _, name, _ in self.operators),
                     *(name for name, _ in self.auditors), *(model["name"] for model in self.models),
                     *(name for name, _ in owners)]:
            if all(ord(letter) in WHITE_SPACE for letter in text) or len(text) > 100:
                raise Malformed("a text is blank or too long")
            if any(ord(letter) < 0x20 or 0x7F <= ord(letter) <= 0x9F for letter in text):
                raise Malformed("a text has a control character")
        if self.created > 253_402_300_799_999:
            raise Malformed("created too late")
        for name, least, most in PARAMETERS:
            if not least <= self.parameters[name] <= most:
                raise Malformed(f"{name} is out of range")
        for small, large in [("block_interval_ms", "idle_block_ms"), ("heartbeat_ms", "leader_timeout_ms"),
                             ("view_timeout_ms", "view_timeout_max_ms")]:
            if self.parameters[small] >= self.parameters[large]:
                raise Malformed(f"{small} is not below {large}")
        if 0 < self.parameters["gate_phase_ms"] < 60_000:
            raise Malformed("the phases of gates are too short")
        if self.parameters["gate_phase_ms"] > 0 and len(self.nodes) > 64:
            raise Malformed("there are too many nodes for gates")
        for values, least in [(self.regions, 1), (self.operators, 1), (self.nodes, 1), (self.auditors, 0),
                              (self.models, 0)]:
            if not least <= len(values) <= 256:
                raise Malformed("a list has too few or too many elements")
        regions, operators = [id for id, _ in self.regions], [id for id, _, _ in self.operators]
        for ids in [regions, operators, [name.encode() for name, _ in self.auditors],
                    [model["name"].encode() for model in self.models], [id for id, _ in self.signatures]]:
            if not ascend(ids):
                raise Malformed("a list is not in order")
        keys = [key for _, _, key in self.operators] + [node["key"] for node in self.nodes]
        for values in [keys, [node["name"] for node in self.nodes], [node["api"] for node in self.nodes],
                       [(node["address"], node["port"]) for node in self.nodes],
                       [key_hash for _, key_hash in self.auditors], [model["hash"] for model in self.models]]:
            if len(set(values)) != len(values):
                raise Malformed("a value that tells apart stands twice")
        if {key_hash for _, key_hash in owners} & {key_hash for _, key_hash in self.auditors}:
            raise Malformed("an owner has an auditor's key")
        if not all(is_good_point(key) for key in keys):
            raise Malformed("a key is no key")
        named = [node["operator"] for node in self.nodes] + [model["operator"] for model in self.models]
        if not set(named + [id for id, _ in self.signatures]) <= set(operators):
            raise Malformed("an operator is not listed")
        if not {node["region"] for node in self.nodes} <= set(regions):
            raise Malformed("a region is not listed")
        for node in self.nodes:
            address = node["address"]
            multicast = address[0] == 0xFF if len(address) == 16 else 224 <= address[0] <= 239
            if node["port"] == 0 or not any(address) or multicast:
                raise Malformed("a peer's address is no machine's")
            scheme, colon, host = node["api"].partition("://")
            if scheme not in ("http", "https") or not colon or not 1 <= len(host) <= 100:
                raise Malformed("an api is no address")
            if not set(host) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-:[]"):
                raise Malformed("an api is no address")

    def is_signed_by_all(self):
        signatures = dict(self.signatures)
        return all(id in signatures and is_signed(key, "batchmind/v1/genesis", self.id, signatures[id])
                   for id, _, key in self.operators)


@functools.lru_cache(maxsize=64)
def genesis_of(data):
    return Genesis(data)


class Validators:
    """Who votes in an epoch."""

    def __init__(self, epoch, members):
        self.epoch, self.members, self.keys = epoch, members, dict(members)
        keys = b"".join(u32(node) + key for node, key in members)
        self.hash = H("batchmind/v1/genesis/validator-set", u64(epoch) + u64(len(members)) + keys)
        self.quorum = 2 * len(members) // 3 + 1


# ---- ledger.md, "Entry" and "Events"

CREATED, OFFERED, ACCEPTED, CONFIRMED, ABORTED, TOUCH = range(6)
ANCHORED, RE_GENESIS = 9, 16


class Entry:
    """An entry, and the bytes of it that are hashed and signed."""

    def __init__(self, read):
        start = read.at
        self.consortium, self.author = read.digest(), read.u32()
        read.take(16)
        self.kind = read.variant(len(EVENTS))
        self.event = EVENTS[self.kind](read)
        self.body = read.data[start : read.at]
        self.id = H("batchmind/v1/ledger/entry", self.body)
        self.batch = None
        if read.variant(2) == 0:
            self.signature = read.signature()
        else:
            self.signature = read.signature()
            self.batch = (read.u16(), read.u16(), read.list(read.digest))
            if len(self.batch[2]) > 8:
                raise Malformed("a batch has no such path")
        self.holder_signature = read.optional(read.signature)
        self.leaf = sha256(b"\0", read.data[start : read.at])

    def is_signed_by(self, key):
        """By the author's key."""
        if self.batch is None:
            return is_signed(key, "batchmind/v1/ledger/entry", self.body, self.signature)
        size, index, path = self.batch
        root = root_by_path(size, index, sha256(b"\0", self.id), path) if size <= 256 else None
        if root is None:
            return False
        message = self.consortium + u32(self.author) + u16(size) + root
        return is_signed(key, "batchmind/v1/ledger/batch", message, self.signature)

    def has_holder_signature(self, key):
        signature = self.holder_signature
        return signature is not None and is_signed(key, "batchmind/v1/wallet/holder", self.body, signature)


def opening_of(read):
    return {"region": read.name(16), "allowed": read.truth(), "salt": read.digest(), "index": read.u16(),
            "path": read.list(read.digest)}


def created_of(read):
    start = read.at
    event = {"head": ZERO, "consortium": read.digest(), "tenant": read.digest(), "policy": read.digest()}
    read.take(64)
    event["holder"] = read.u32()
    read.take(16)
    event["terms"] = read.data[start : read.at]
    event["wallet"] = H("batchmind/v1/wallet/address", event["terms"])
    event |= {"signature": read.signature(), "key": read.digest(), "opening": opening_of(read)}
    return event


def offered_of(read):
    event = {"wallet": read.digest(), "head": read.digest(), "epoch": read.u32(), "receiver": read.u32()}
    event["opening"] = opening_of(read)
    event |= {"prekey_node": read.u32(), "prekey": read.digest(), "prekey_signature": read.signature()}
    read.take(64)
    event |= {"confirm_key": read.digest(), "decision": read.digest()}
    read.optional(read.digest)
    read.u64()
    return event


def accepted_of(read):
    return {"wallet": read.digest(), "head": read.digest()}


def confirmed_of(read):
    start = read.at
    event = {"wallet": read.digest(), "head": read.digest(), "epoch": read.u32(), "source": read.u32(),
             "receiver": read.u32()}
    read.take(36)
    event["ticket"] = read.data[start : read.at]
    event["ticket_signature"] = read.signature()
    event["signed_ticket"] = read.data[start : read.at]
    event |= {"key": read.digest(), "exchange": read.digest(), "opened": read.signature()}
    return event


def aborted_of(read):
    return accepted_of(read) | {"reason": read.variant(3)}


def touch_of(read):
    event = accepted_of(read)
    read.take(48)
    return event


def closed_of(read):
    event = accepted_of(read)
    read.variant(3)
    return event


def evidence_of(size):
    """An event about a wallet that does not advance its head: `size` bytes after wallet and head."""

    def of(read):
        event = {"wallet": read.digest(), "head": None}
        read.take(32 + size)
        return event

    return of


def anchored_of(read):
    return {"wallet": None, "decisions": read.u64(), "hash": read.digest()}


def resumed_of(read):
    read.take(32 + 16)
    return {"wallet": None}


def member_of(read):
    return ("operator", read.name(32)) if read.variant(2) == 0 else ("node", read.u32())


def change_of(read):
    """Takes an action of governance; no history has one, so nothing of it is kept."""
    kind = read.variant(10)
    if kind == 0:
        read.name(32), read.text(), read.take(32 + 64)
    elif kind == 1:
        Genesis.node(read), read.signature(), read.signature()
    elif kind in (2, 4):
        member_of(read)
    elif kind == 3:
        member_of(read), read.take(32)
    elif kind == 5:
        member_of(read), read.take(32 + 32 + 64), read.optional(read.signature)
    elif kind in (6, 8):
        read.digest()
    elif kind == 7:
        read.text(), read.digest()
    else:
        read.text(), read.take(8 + 8)


def proposal_of(read):
    read.take(32 + 8)
    read.name(32), read.take(16)
    read.list(lambda: change_of(read))
    read.signature()
    return {"wallet": None}


def ballot_of(read):
    read.digest(), read.name(32), read.truth(), read.signature()
    return {"wallet": None}


def withdrawn_of(read):
    read.take(32 + 64)
    return {"wallet": None}


def enacted_of(read):
    read.digest()
    return {"wallet": None}


def re_genesis_of(read):
    event = {"wallet": None, "lineage": read.u32(), "lost": read.list(lambda: member_of(read)), "reason": read.text()}
    read.take(8 + 8)
    return event


# 17, GateNotice, stands in no proof.
EVENTS = [created_of, offered_of, accepted_of, confirmed_of, aborted_of, touch_of, evidence_of(4 + 8 + 4),
          evidence_of(4 + 32 + 8 + 4), evidence_of(4 + 32), anchored_of, closed_of, resumed_of, proposal_of, ballot_of,
          withdrawn_of, enacted_of, re_genesis_of]


# ---- ledger.md, the trees


def node_of(left, right):
    return sha256(b"\1", left, right)


def root_by_path(size, index, leaf, path):
    """RFC 9162, 2.1.3.2: the root of a tree of `size` leaves in which the path leads from the leaf upwards."""
    if index >= size:
        return None
    place, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if place % 2 == 1 or place == last:
            root = node_of(sibling, root)
            while place % 2 == 0 and place != 0:
                place, last = place >> 1, last >> 1
        else:
            root = node_of(root, sibling)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def grows(old, new, path):
    """RFC 9162, 2.1.4.2: whether the tree `new` (size and root) only appended to the tree `old`."""
    (old_size, old_root), (new_size, new_root) = old, new
    if old_size == new_size:
        return not path and old_root == new_root
    if old_size == 0 or old_size > new_size or len(path) > 65:
        return False
    # A full old tree is a node of the new one, and the path does not repeat it.
    path = [old_root, *path] if old_size & (old_size - 1) == 0 else list(path)
    if not path:
        return False
    place, last = old_size - 1, new_size - 1
    while place % 2 == 1:
        place, last = place >> 1, last >> 1
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place % 2 == 1 or place == last:
            before, after = node_of(sibling, before), node_of(sibling, after)
            while place % 2 == 0 and place != 0:
                place, last = place >> 1, last >> 1
        else:
            after = node_of(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and (before, after) == (old_root, new_root)


def root_of_several(first, size, asked, proof):
    """The root of the `size` leaves from `first` on; takes what it needs off the end of `proof`."""
    if not asked:
        return proof.pop() if proof else None
    if size == 1:
        return asked[0][1]
    left = 1 << ((size - 1).bit_length() - 1)
    before = root_of_several(first, left, [leaf for leaf in asked if leaf[0] < first + left], proof)
    if before is None:
        return None
    after = root_of_several(first + left, size - left, [leaf for leaf in asked if leaf[0] >= first + left], proof)
    return None if after is None else node_of(before, after)


def root_of_state(key, value, path):
    root = sha256(b"\0", key, sha256(value))
    for depth in reversed(range(len(path))):
        right = key[depth // 8] >> (7 - depth % 8) & 1
        root = node_of(path[depth], root) if right else node_of(root, path[depth])
    return root


def rotations_of(record):
    """What the checks need of a wallet's record: address, policy, epoch, holder, key and rotations."""
    read = Reader(record)
    if read.variant(9) != 1:
        raise Malformed("the record is no wallet's")
    address, holder, epoch = read.digest(), read.u32(), read.u32()
    read.digest()
    key = read.digest()
    read.optional(read.digest)
    read.digest()
    policy = read.digest()
    read.take(64)
    phase = read.variant(4)
    if phase in (1, 2):
        read.take(32 + 4 + 5 * 32 + 32)
        read.optional(read.digest)
        read.u64()
    elif phase == 3:
        read.variant(3)
        read.u64()
    read.list(read.u32)
    rotations = []
    for _ in range(read.u64()):
        rotation = (read.u32(), read.u32(), read.digest())
        read.variant(2)
        read.u64()
        rotations.append((*rotation, read.digest()))
    read.optional(lambda: read.take(16 + 32 + 32))
    if read.truth():
        read.take(4 + 32)
        read.optional(read.digest)
        read.take(32 + 8)
    read.u64()
    read.end()
    return address, policy, epoch, holder, key, rotations


STANDINGS, STATUSES, RECORDS = 4, 4, 18


def member_node_of(record):
    """The node of a node's record, and whether it is in force."""
    read = Reader(record)
    if read.variant(RECORDS) != 12:
        raise Malformed("the record is no node's")
    node = Genesis.node(read)
    in_force = read.variant(STANDINGS) == 0
    read.digest(), read.end()
    return node, in_force


def operator_of(record):
    """The key of an operator's record, and whether it is in force."""
    read = Reader(record)
    if read.variant(RECORDS) != 11:
        raise Malformed("the record is no operator's")
    read.name(32), read.text()
    key, in_force = read.digest(), read.variant(STANDINGS) == 0
    read.digest(), read.list(read.digest), read.end()
    return key, in_force


def key_owner_of(record):
    """The node whose key a key's record says that it is or was."""
    read = Reader(record)
    if read.variant(RECORDS) != 13:
        raise Malformed("the record is no key's")
    if not read.truth() or read.variant(2) != 1:
        raise Malformed("the key is no node's")
    node = read.u32()
    read.variant(STATUSES), read.digest(), read.u64(), read.end()
    return node


# ---- decision.md


def decision_hash(decision):
    return H("batchmind/v2/decision", decision[:48], H("batchmind/v2/decision/reason", decision[48:]))


def action_of(read):
    """The node that it migrates to; none for any other action."""
    return read.u32() if read.variant(6) == 4 else None


def subject_of(decision):
    """The wallet of a decision, and the node to which it moves it."""
    if len(decision) > 1 << 20:
        raise Malformed("it is too long")
    read = Reader(decision)
    read.take(48)
    wallet = read.digest()
    read.u32()
    read.variant(13)
    names = []
    for _ in range(read.u64()):
        names.append(read.text().encode())
        read.i64()
    if not ascend(names):
        raise Malformed("the inputs are not in order")
    chosen = action_of(read)
    read.list(lambda: (action_of(read), read.variant(22)))
    read.end()
    return wallet, chosen


# ---- ledger.md, headers, certificates and hand-overs

TERMS_PER_EPOCH = 10**9


def is_kept(term):
    """Whether nobody votes in it: the last term of an epoch is kept for a re-genesis."""
    return term % TERMS_PER_EPOCH == TERMS_PER_EPOCH - 1


class Header:
    def __init__(self, read):
        start = read.at
        self.consortium, self.height, self.view = read.digest(), read.u64(), (read.u64(), read.u64())
        self.leader = read.u32()
        self.epoch, self.parent = read.u64(), read.digest()
        read.take(3 * 32)
        self.log_size, self.log_root, self.state_root = read.u64(), read.digest(), read.digest()
        self.validators, self.next_validators = read.digest(), read.digest()
        self.time = read.u64()
        self.digest = H("batchmind/v1/ledger/header", read.data[start : read.at])
        self.name = self.consortium
        if is_kept(self.view[0]):
            self.name = H("batchmind/v1/ledger/re-genesis", self.consortium, self.digest)


class Proof:
    """A certificate, and the carriers that lead from what it names down to the block that it makes final."""

    def __init__(self, read):
        start = read.at
        self.kind, self.view, self.height = read.variant(2), (read.u64(), read.u64()), read.u64()
        self.block = read.digest()
        self.signatures = read.list(lambda: (read.u32(), read.signature()))
        self.carriers = read.list(lambda: Header(read))
        self.all = read.data[start : read.at]

    def closes(self):
        """Height and digest of the block that it makes final; none if the carriers do not lead to one."""
        carriers = self.carriers
        if not carriers:
            return self.height, self.block
        last = carriers[-1]
        named = (last.view, last.height, last.digest) == (self.view, self.height, self.block)
        linked = all(above.parent == below.digest for below, above in zip(carriers, carriers[1:]))
        if not named or not linked or len(carriers) > 256:
            return None
        return carriers[0].height - 1, carriers[0].parent

    def check(self, code, consortium, validators):
        """That a quorum of these validators made it final."""
        need(self.kind == 1, code, "it does not make the block final")
        signers = [node for node, _ in self.signatures]
        need(ascend(signers) and len(signers) >= validators.quorum, code, "it has no quorum")
        epoch = self.view[0] // TERMS_PER_EPOCH
        need(epoch == validators.epoch, code, "it is of another epoch")
        need(not is_kept(self.view[0]), code, "nobody votes in its term")
        place = u64(self.view[0]) + u64(self.view[1]) + u64(self.height)
        ballot = consortium + u64(epoch) + u32(1) + place + self.block
        for node, signature in self.signatures:
            key = validators.keys.get(node)
            need(key is not None, code, f"node {node} is no validator")
            signed = is_signed(key, "batchmind/v1/ledger/vote", ballot, signature)
            need(signed, code, f"the signature of node {node} does not verify")


def is_under(root, key, record, path):
    """Whether the record stands under the state root by its encoded key."""
    key = H("batchmind/v1/ledger/state", key)
    return len(path) <= 256 and root_of_state(key, record, path) == root


class ReGenesis:
    """What leads to a re-genesis: the last final block, its log, the one entry, and who runs the validators before it."""

    def __init__(self, read):
        self.last, self.proof = Header(read), Proof(read)
        self.size, self.peaks = read.u64(), read.list(read.digest)
        self.entry = Entry(read)
        self.nodes = read.list(lambda: (read.byte_string(), read.list(read.digest)))
        self.operators = read.list(lambda: (read.byte_string(), read.list(read.digest)))
        self.lost = read.list(lambda: (read.u32(), read.byte_string(), read.list(read.digest)))

    @staticmethod
    def root(peaks):
        if not peaks:
            return sha256()
        root = peaks[-1]
        for peak in reversed(peaks[:-1]):
            root = node_of(peak, root)
        return root

    def appended(self):
        """The peaks with the entry as one more leaf."""
        peaks, size, node = list(self.peaks), self.size, self.entry.leaf
        while size % 2 == 1:
            node, size = node_of(peaks.pop(), node), size // 2
        return [*peaks, node]

    def signers(self, members, closing, next):
        """Checks all but the signatures; gives the operator's key for each node that stays."""
        last, voted, code = self.last, members.sets[-1], "hand-overs"
        began_on = members.closings[-1].digest if members.closings else None
        of_epoch = (last.epoch, last.view[0] // TERMS_PER_EPOCH) == (voted.epoch, voted.epoch)
        of_epoch = of_epoch and last.next_validators == ZERO
        need(of_epoch or last.digest == began_on, code, "the last final block is of another epoch")
        follows = (closing.parent, closing.height) == (last.digest, last.height + 1)
        follows = follows and last.name == closing.consortium and closing.time > last.time
        need(follows, code, "it does not follow the last final block")
        fits = last.next_validators != ZERO or (not self.proof.carriers and self.proof.view == last.view)
        need(fits and self.proof.closes() == (last.height, last.digest), code, "another block is certified")
        members.check_final(last.view[0] // TERMS_PER_EPOCH, self.proof)
        whole = self.size < 2**63 - 1 and len(self.peaks) == self.size.bit_count()
        before = whole and (self.size, self.root(self.peaks)) == (last.log_size, last.log_root)
        need(before, code, "the log is not that of the last final block")
        after = (self.size + 1, self.root(self.appended()))
        need(after == (closing.log_size, closing.log_root), code, "its entry is not the only one")
        entry = self.entry
        need(entry.kind == RE_GENESIS, code, "its entry decides something else")
        need(entry.event["lineage"] == len(members.anew) + 2, code, "its entry begins another lineage")
        need(entry.author == closing.leader and entry.author in next.keys, code, "its author does not stay")
        key = voted.keys.get(entry.author)
        signed = key is not None and entry.consortium == members.consortium and entry.is_signed_by(key)
        need(signed, code, "its author did not sign the entry")
        need(set(next.members) <= set(voted.members), code, "somebody was no validator before")
        gone = [node for node, _ in voted.members if node not in next.keys]
        need([node for node, _, _ in self.lost] == gone, code, "it is not said of each validator whether it stays")
        return self.run(next)

    def names(self, node, operator):
        """Whether the entry names the node or its operator as lost."""
        lost = self.entry.event["lost"]
        return ("node", node) in lost or ("operator", operator) in lost

    def run(self, next):
        """Who runs the validators that stay, by the records under the last final block."""
        root, code = self.last.state_root, "hand-overs"
        words = "it is not proven who runs the validators that stay"
        need(next.members and len(self.nodes) == len(next.members), code, words)
        try:
            run, keys = {}, {}
            for (node, key), (record, path) in zip(next.members, self.nodes):
                need(is_under(root, u32(12) + u32(node), record, path), code, words)
                found, in_force = member_node_of(record)
                need(in_force and found["key"] == key, code, words)
                run[node] = found["operator"]
                need(not self.names(node, run[node]), code, "it keeps a validator that it names as lost")
            for node, record, path in self.lost:
                need(is_under(root, u32(12) + u32(node), record, path), code, words)
                found, _ = member_node_of(record)
                need(self.names(node, found["operator"]), code, "it drops a validator that it does not name as lost")
            operators = sorted(set(run.values()))
            need(len(self.operators) == len(operators), code, words)
            for operator, (record, path) in zip(operators, self.operators):
                encoded = operator.encode()
                need(is_under(root, u32(11) + u64(len(encoded)) + encoded, record, path), code, words)
                keys[operator], in_force = operator_of(record)
                need(in_force, code, words)
        except Malformed as error:
            raise Failed(code, error) from error
        return [(node, keys[run[node]]) for node, _ in next.members]


def check_operators(proof, closing, signers):
    """That a certificate is of this re-genesis, with one signature for each validator that stays, by its operator."""
    code, view = "hand-overs", closing.view
    is_of_it = (proof.kind, proof.view, proof.height, proof.block) == (1, view, closing.height, closing.digest)
    need(is_of_it, code, "it does not make the re-genesis final")
    named = [node for node, _ in proof.signatures] == [node for node, _ in signers]
    need(named, code, "not each operator signed that has to")
    place = u64(view[0]) + u64(view[1]) + u64(proof.height)
    ballot = closing.name + u64(closing.epoch) + u32(1) + place + proof.block
    for (node, key), (_, signature) in zip(signers, proof.signatures):
        signed = is_signed(key, "batchmind/v1/governance/re-genesis", ballot, signature)
        need(signed, code, f"the operator of node {node} did not sign")


class HandOver:
    def __init__(self, read):
        self.closing, self.proof = Header(read), Proof(read)
        self.next = Validators(read.u64(), read.list(lambda: (read.u32(), read.digest())))
        self.re_genesis = read.optional(lambda: ReGenesis(read))

    def is_re_genesis(self):
        """Whether it says so by its view."""
        return is_kept(self.closing.view[0])

    def check(self, members):
        """That the last of the sets, or the operators of those that stay, put the next one in its place."""
        closing, code, last, name = self.closing, "hand-overs", members.sets[-1], members.names[-1]
        turn = (closing.consortium, closing.epoch, closing.validators) == (name, last.epoch, last.hash)
        need(turn, code, "it closes another epoch")
        named = closing.next_validators == self.next.hash and self.next.epoch == last.epoch + 1
        need(named, code, "the closing block names another set")
        need(ascend([node for node, _ in self.next.members]), code, "the next set is not in order")
        need(self.proof.closes() == (closing.height, closing.digest), code, "the proof is of another block")
        need(self.is_re_genesis() == (self.re_genesis is not None), code, "it has the form of a re-genesis in part")
        if self.re_genesis is None:
            self.proof.check(code, name, last)
            return
        need(closing.view == ((last.epoch + 1) * TERMS_PER_EPOCH - 1, 1), code, "it stands in another view")
        signers = self.re_genesis.signers(members, closing, self.next)
        check_operators(self.proof, closing, signers)
        members.anew[last.epoch] = signers


# ---- bundle.md


class Bundle:
    """The file."""

    def __init__(self, data):
        read = Reader(data)
        self.version, self.lineage, self.consortium = read.u32(), read.u32(), read.byte_string()
        self.hand_overs = read.list(lambda: HandOver(read))
        self.header, self.proof = Header(read), Proof(read)
        self.members = read.list(lambda: self.member(read))
        self.entries = read.list(lambda: (read.u64(), Entry(read)))
        self.inclusion = read.list(read.digest)
        self.decision = read.byte_string()
        self.later = read.list(lambda: (read.u64(), read.digest()))
        self.record = read.byte_string()
        self.path, self.prekey_path = read.list(read.digest), read.list(read.digest)
        self.since = read.optional(lambda: ((read.u64(), read.digest()), read.list(read.digest)))
        read.end()

    @staticmethod
    def member(read):
        subject = (0, read.u32()) if read.variant(2) == 0 else (1, read.digest())
        return subject, read.byte_string(), read.list(read.digest)


def check_header(bundle, members):
    header, proof, name, validators = bundle.header, bundle.proof, members.names[-1], members.sets[-1]
    last = bundle.hand_overs[-1] if bundle.hand_overs else None
    if last and last.is_re_genesis() and (last.closing.digest, last.proof.all) == (header.digest, proof.all):
        return
    same = (header.consortium, header.epoch, header.validators) == (name, validators.epoch, validators.hash)
    need(same, "header-consortium", "the header is of another consortium or validator set")
    fits = header.next_validators != ZERO if proof.carriers else proof.view == header.view
    named = fits and proof.closes() == (header.height, header.digest)
    need(named, "certificate", "it certifies another header")
    proof.check("certificate", name, validators)


# The weakest first.
CLASSES = ["consortium-of-one", "one-can-fork", "several-must-lie"]


class Members:
    """Who the nodes are: by the genesis document, the validator sets, and records under the state root."""

    def __init__(self, genesis, bundle):
        # For each epoch the set and the name in force; the closing headers, and who signed the re-geneses among them.
        self.consortium, self.sets, self.names = genesis.id, [genesis.validators], [genesis.id]
        self.closings, self.anew = [], {}
        for hand_over in bundle.hand_overs:
            hand_over.check(self)
            self.sets.append(hand_over.next)
            self.names.append(hand_over.closing.name)
            self.closings.append(hand_over.closing)
        # The entry of a re-genesis is no word of the old set.
        self.ends = [closing.log_size - is_kept(closing.view[0]) for closing in self.closings]
        self.nodes, self.keys = dict(enumerate(genesis.nodes)), {}

    def check_final(self, epoch, proof):
        """That a block of the epoch is final, by a quorum or by the operators of a re-genesis that was taken."""
        need(epoch < len(self.sets), "hand-overs", "there was no such epoch")
        if epoch in self.anew and is_kept(proof.view[0]):
            check_operators(proof, self.closings[epoch], self.anew[epoch])
        else:
            proof.check("hand-overs", self.names[epoch], self.sets[epoch])

    def learn(self, bundle):
        """Takes the records."""
        need(ascend([subject for subject, _, _ in bundle.members]), "members", "the records are not in order")
        for (kind, about), record, path in bundle.members:
            key = u32(12) + u32(about) if kind == 0 else u32(13) + about
            holds = is_under(bundle.header.state_root, key, record, path)
            need(holds, "members", "the path does not lead to the state root")
            try:
                if kind == 0:
                    self.nodes.setdefault(about, member_node_of(record)[0])
                else:
                    self.keys.setdefault(key_owner_of(record), set()).add(about)
            except Malformed as error:
                raise Failed("members", error) from error
        known = all(node in self.nodes for node in self.sets[-1].keys)
        need(known, "members", "it is not said who runs each validator")

    def epoch_of(self, size):
        """The epoch in which the log grew to so many entries."""
        ended = (epoch for epoch, end in enumerate(self.ends) if end >= size)
        return next(ended, len(self.sets) - 1)

    def set_of(self, index):
        """The set of the epoch in which the entry at that place became final."""
        return self.sets[self.epoch_of(index + 1)]

    def is_by_author(self, index, entry):
        voted = self.set_of(index).keys.get(entry.author)
        if voted is not None:
            return entry.is_signed_by(voted)
        known = {voters.keys[entry.author] for voters in self.sets if entry.author in voters.keys}
        return any(entry.is_signed_by(key) for key in known | self.keys.get(entry.author, set()))

    def assurance(self):
        """The weaker of the classes of genesis and of the last set, whose operators a quorum of genesis can make up."""
        return min(self.worth(self.sets[0]), self.worth(self.sets[-1]), key=CLASSES.index)

    def worth(self, validators):
        run = {}
        for node in validators.keys:
            operator = self.nodes[node]["operator"]
            run[operator] = run.get(operator, 0) + 1
        needed, colluders, sum = 2 * validators.quorum - len(validators.keys), 0, 0
        for count in sorted(run.values(), reverse=True):
            if sum < needed:
                colluders, sum = colluders + 1, sum + count
        if len(run) == 1:
            return CLASSES[0]
        return CLASSES[1] if colluders == 1 else CLASSES[2]


def check_inclusion(bundle):
    places = [index for index, _ in bundle.entries]
    size, proof = bundle.header.log_size, bundle.inclusion[::-1]
    holds = bool(places) and ascend(places) and places[-1] < size
    if holds:
        root = root_of_several(0, size, [(index, entry.leaf) for index, entry in bundle.entries], proof)
        holds = root == bundle.header.log_root and not proof
    need(holds, "inclusion", "the proof does not lead to the log root")


# ---- checkpoint.md

NOTE_BYTES_MAX = 256 << 10


def from_base64(text):
    """The bytes of canonical base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise Malformed("no base64") from error
    if base64.b64encode(data).decode() != text:
        raise Malformed("base64 in another spelling")
    return data


class Note:
    """A signed note that holds a checkpoint."""

    def __init__(self, data):
        if len(data) > NOTE_BYTES_MAX:
            raise Malformed("the note is too long")
        if any(byte < 0x20 and byte != 0x0A for byte in data):
            raise Malformed("the note has control characters")
        try:
            text, gap, lines = data.decode("utf-8").rpartition("\n\n")
        except UnicodeDecodeError as error:
            raise Malformed("the note is no UTF-8") from error
        if not gap or not lines.endswith("\n"):
            raise Malformed("the note has no signatures, or its last line does not end")
        self.text = text + "\n"
        self.signatures = [self.signature(line) for line in lines[:-1].split("\n")]
        lines = text.split("\n")
        if len(lines) < 3 or not all(lines):
            raise Malformed("a line of the checkpoint is missing or empty")
        self.origin, size, root = lines[0], lines[1], from_base64(lines[2])
        plain = size.isascii() and size.isdigit() and str(int(size[:20])) == size
        if not plain or int(size) >= 2**64 or len(root) != 32:
            raise Malformed("it has no size or no root")
        self.tree = (int(size), root)

    @staticmethod
    def signature(line):
        mark, name, encoded = (line.split(" ", 2) + ["", ""])[:3]
        if mark != "\u2014" or not name or "+" in name or any(ord(letter) in WHITE_SPACE for letter in name):
            raise Malformed("a line is no signature")
        data = from_base64(encoded)
        if len(data) < 5:
            raise Malformed("a line is no signature")
        return name, data[:4], data[4:]


def check_checkpoint(data, members):
    """That it is one of this log, cosigned by a quorum of the set of its tree; gives the tree."""
    code = "checkpoint"
    try:
        note = Note(data)
    except Malformed as error:
        raise Failed(code, error) from error
    epoch = members.epoch_of(note.tree[0])
    voters, origin = members.sets[epoch], f"batchmind/{members.names[epoch].hex()}"
    need(note.origin == origin, code, "it is of another log")
    known = {}
    for node, key in voters.members:
        name = f"{origin}/node-{node}"
        known[name, sha256(name.encode(), b"\n\4", key)[:4]] = (node, key)
    cosigners = set()
    for name, key_id, line in note.signatures:
        if (name, key_id) not in known:
            continue
        node, key = known[name, key_id]
        time = int.from_bytes(line[:8], "big")
        message = f"cosignature/v1\ntime {time}\n{note.text}".encode()
        signed = len(line) == 72 and time < 2**63 and is_signed_as_it_is(key, message, line[8:])
        need(signed, code, f"the cosignature of node {node} does not verify")
        cosigners.add(node)
    need(len(cosigners) >= voters.quorum, code, "it has no quorum")
    return note.tree


def check_growth(bundle, pinned):
    """That the log goes on from the tree in the bundle, and that this is the one that was kept, if one was."""
    code, header = "consistency", bundle.header
    if pinned is not None:
        need(bundle.since is not None, code, "it does not go on from the checkpoint")
        need(bundle.since[0] == pinned, code, "it goes on from another tree than the checkpoint's")
    if bundle.since is not None:
        tree, path = bundle.since
        holds = grows(tree, (header.log_size, header.log_root), path)
        need(holds, code, "the path does not lead from the earlier root to the log root")


def check_authors(bundle, members):
    for index, entry in bundle.entries:
        signed = entry.consortium == members.consortium and members.is_by_author(index, entry)
        need(signed, "entry-signature", f"log entry {index} is not signed by its author")


def admits(members, policy, opening, node):
    if node not in members.nodes or members.nodes[node]["region"] != opening["region"]:
        return False
    index, path = opening["index"], opening["path"]
    if len(path) > 16 or index >> len(path):
        return False
    allowed = bytes([opening["allowed"]])
    root = H("batchmind/v1/wallet/policy-leaf", opening["region"].encode(), allowed, opening["salt"])
    for sibling in path:
        pair = (sibling, root) if index & 1 else (root, sibling)
        root, index = H("batchmind/v1/wallet/policy-node", *pair), index >> 1
    return root == policy and opening["allowed"]


class History:
    """The wallet as the entries so far leave it."""

    def __init__(self, members, entry):
        need(entry.kind == CREATED, "continuity", "the history does not begin with the wallet's creation")
        event = entry.event
        granted = is_signed(event["tenant"], "batchmind/v1/wallet/grant", event["terms"], event["signature"])
        need(granted, "grant", "the tenant did not sign it")
        need(event["consortium"] == members.consortium, "grant", "it is for another consortium")
        need(event["holder"] == entry.author, "grant", "it is for another holder")
        need(admits(members, event["policy"], event["opening"], entry.author), "policy", "the holder is not allowed")
        need(entry.has_holder_signature(event["key"]), "holder-signature", "the creation is not signed by its key")
        self.members, self.wallet, self.policy = members, event["wallet"], event["policy"]
        self.holder, self.epoch, self.key = entry.author, 0, event["key"]
        self.head = H("batchmind/v1/ledger/head", ZERO, entry.id)
        self.offer, self.offered_by, self.accepted = None, None, False
        self.rotations = [(0, self.holder, self.key, entry.id)]
        self.hop = None

    def by_holder(self, entry):
        need(entry.author == self.holder, "continuity", "an entry by another node than the holder")
        need(entry.has_holder_signature(self.key), "holder-signature", "an entry is not signed by the epoch key")

    def read(self, index, entry):
        event = entry.event
        need(event["wallet"] == self.wallet, "continuity", "an entry is about another wallet")
        need(event["head"] == self.head, "continuity", "an entry does not name the head before it")
        self.hop = None
        match entry.kind:
            case 1:
                self.offered(index, entry, event)
            case 2:
                need(self.offer is not None and not self.accepted, "continuity", "an acceptance without an offer")
                need(entry.author == self.offer["receiver"], "continuity", "an acceptance by another node")
                self.accepted = True
            case 3:
                self.confirmed(index, entry, event)
            case 4:
                need(self.offer is not None, "continuity", "an abort without an offer")
                if event["reason"] == 0:
                    self.by_holder(entry)
                elif event["reason"] == 1:
                    need(entry.author == self.offer["receiver"], "continuity", "an abort by neither side")
                self.offer = None
            case 5:
                self.by_holder(entry)
                self.offer = None
            case _:
                need(False, "continuity", "an entry that does not belong to the history")
        self.head = H("batchmind/v1/ledger/head", self.head, entry.id)

    def offered(self, index, entry, event):
        self.by_holder(entry)
        need(self.offer is None, "continuity", "an offer while another is open")
        need(event["epoch"] == self.epoch + 1, "continuity", "an offer skips an epoch")
        receiver = event["receiver"]
        need(admits(self.members, self.policy, event["opening"], receiver), "policy", "the receiver is not allowed")
        message = u32(event["prekey_node"]) + event["prekey"]
        key = self.members.set_of(index).keys.get(receiver) if event["prekey_node"] == receiver else None
        signed = key is not None and is_signed(key, "batchmind/v1/wallet/prekey", message, event["prekey_signature"])
        need(signed, "prekey", "it is not signed by the receiver")
        self.offer, self.offered_by, self.accepted = event, entry.id, False

    def confirmed(self, index, entry, event):
        offer = self.offer
        need(offer is not None and self.accepted, "continuity", "a confirm without an acceptance")
        sides = (event["source"], event["receiver"]) == (self.holder, offer["receiver"])
        need(sides, "ticket", "it is from another source or for another receiver")
        need(event["epoch"] == self.epoch + 1, "ticket", "it is for another epoch")
        signed = is_signed(self.key, "batchmind/v1/wallet/ticket", event["ticket"], event["ticket_signature"])
        need(signed, "ticket", "it is not signed by the holder")
        need(entry.author == offer["receiver"], "confirm", "it is by another node than the receiver")
        need(entry.has_holder_signature(event["key"]), "holder-signature", "the confirm is not signed by its key")
        message = event["signed_ticket"] + event["key"] + event["exchange"]
        opened = is_signed(offer["confirm_key"], "batchmind/v1/wallet/confirm", message, event["opened"])
        need(opened, "confirm", "the receiver did not open the hand-over")
        spent = (self.offered_by, offer["prekey"])
        self.hop = {"source": self.holder, "spent": spent, "decision": offer["decision"], "at": index}
        self.holder, self.epoch, self.key = entry.author, self.epoch + 1, event["key"]
        self.rotations.append((self.epoch, self.holder, self.key, entry.id))
        self.offer = None


def check_history(bundle, members):
    entries = [(index, entry) for index, entry in bundle.entries if entry.kind != ANCHORED]
    need(entries, "continuity", "the history is empty")
    history = History(members, entries[0][1])
    for index, entry in entries[1:]:
        history.read(index, entry)
    need(history.hop is not None, "continuity", "the history does not end with a confirm")
    return history


def check_anchor(bundle, source):
    anchors = [entry for _, entry in bundle.entries if entry.kind == ANCHORED]
    need(len(anchors) == 1, "anchor", "there must be one anchor")
    need(anchors[0].author == source, "anchor", "it is by another node than the source")
    covered = len(bundle.decision) >= 48
    if covered:
        count, end = int.from_bytes(bundle.decision[:8], "little") + 1, decision_hash(bundle.decision)
        for time, reason in bundle.later:
            if count < 2**64:
                end, count = H("batchmind/v2/decision", u64(count) + u64(time) + end, reason), count + 1
        event = anchors[0].event
        covered = (event["decisions"], event["hash"]) == (count, end)
    need(covered, "anchor", "it does not cover the decision")
    return anchors[0]


def check_state(bundle, history):
    holds = is_under(bundle.header.state_root, u32(1) + history.wallet, bundle.record, bundle.path)
    need(holds, "state-proof", "the path does not lead to the state root")
    try:
        address, policy, epoch, holder, key, rotations = rotations_of(bundle.record)
    except Malformed as error:
        raise Failed("state-proof", error) from error
    need((address, policy) == (history.wallet, history.policy), "state-proof", "the record is another wallet's")
    known = rotations[: len(history.rotations)] == history.rotations
    need(known, "state-proof", "the record has other key rotations")
    present = epoch > history.epoch or (epoch, holder, key) == (history.epoch, history.holder, history.key)
    need(present, "state-proof", "the record has another holder")


def check_release(bundle, spent):
    """That the state says of the prekey that the confirmed offer spent it."""
    offer, prekey = spent
    holds = is_under(bundle.header.state_root, u32(2) + prekey, u32(2) + offer, bundle.prekey_path)
    need(holds, "sole-release", "the prekey is not spent, or by another offer")


def check_subject(decision, wallet, destination):
    try:
        found = subject_of(decision)
    except Malformed as error:
        raise Failed("decision-subject", error) from error
    need(found == (wallet, destination), "decision-subject", "the decision is about something else")


def check_lineage(file, named):
    """That exactly those re-geneses lie between genesis and what is proven that the auditor named."""
    found = [hand_over.closing.digest for hand_over in file.hand_overs if hand_over.is_re_genesis()]
    for digest in found:
        need(digest in named, "lineage", f"the ledger begins anew with {digest.hex()}, which was not named")
    for digest in named:
        need(digest in found, "lineage", f"the re-genesis {digest.hex()}, which was named, is not in it")
    need(file.lineage == len(found) + 1, "lineage", "it says another lineage than it holds re-geneses for")


def check_foundation(file, genesis_hash, named):
    """Makes the checks with which every proof begins; gives the genesis document and who the nodes are."""
    check_lineage(file, named)
    try:
        genesis = genesis_of(file.consortium)
    except Malformed as error:
        raise Failed("genesis-document", error) from error
    need(genesis.id == genesis_hash, "genesis-hash", f"the document's hash is {genesis.id.hex()}")
    need(genesis.is_signed_by_all(), "genesis-signatures", "an operator did not sign the document")
    members = Members(genesis, file)
    check_header(file, members)
    members.learn(file)
    return genesis, members


def verify(data, genesis_hash, named=(), checkpoint=None):
    """Makes the checks in their order; raises Failed at the first that does not hold."""
    need(4 <= len(data) <= 16 << 20, "decode", "no bundle has this size")
    need(data[:4] == u32(5), "version", "the file is of another version")
    try:
        bundle = Bundle(data)
    except Malformed as error:
        raise Failed("decode", error) from error
    genesis, members = check_foundation(bundle, genesis_hash, named)
    check_inclusion(bundle)
    check_growth(bundle, None if checkpoint is None else check_checkpoint(checkpoint, members))
    check_authors(bundle, members)
    history = check_history(bundle, members)
    named = decision_hash(bundle.decision) == history.hop["decision"]
    need(named, "decision-hash", "the offer names another decision")
    check_anchor(bundle, history.hop["source"])
    check_state(bundle, history)
    check_release(bundle, history.hop["spent"])
    check_subject(bundle.decision, history.wallet, history.holder)
    return bundle, genesis, members, history


def names_of(text):
    return [] if text == "-" else [bytes.fromhex(name) for name in text.split(",")]


@functools.lru_cache(maxsize=4)
def kept_in(file):
    """The checkpoint in a file, of which a byte more is read than there may be."""
    if file in (None, "-"):
        return None
    with open(file, "rb") as opened:
        return opened.read(NOTE_BYTES_MAX + 1)


def batch():
    last, data = None, b""
    for line in sys.stdin:
        file, genesis, bit, names, kept = line.split()
        if file != last:
            with open(file, "rb") as opened:
                last, data = file, opened.read()
        changed = data
        if bit != "-":
            changed = bytearray(data)
            changed[int(bit) // 8] ^= 1 << int(bit) % 8
            changed = bytes(changed)
        try:
            print("ok", verify(changed, bytes.fromhex(genesis), names_of(names), kept_in(kept))[2].assurance())
        except Failed as failed:
            print(failed.code)
    return 0


def digest(text):
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("64 lower-case hexadecimal digits")
    return bytes.fromhex(text)


def main():
    arguments = argparse.ArgumentParser(description="Verify the proof bundle of a migration.")
    arguments.add_argument("bundle", nargs="?", help="the bundle")
    arguments.add_argument("--genesis", type=digest, metavar="HASH", help="hash of the genesis document")
    arguments.add_argument("--re-genesis", type=digest, metavar="HASH", action="append", default=[],
                           help="digest of a re-genesis that lies between; once for each")
    arguments.add_argument("--checkpoint", metavar="FILE",
                           help="a checkpoint that was kept, from which the log must go on")
    arguments.add_argument("--batch", action="store_true", help="read lines of file, hash, bit and names from standard input")
    told = arguments.parse_args()
    if told.batch:
        return batch()
    if told.bundle is None or told.genesis is None:
        arguments.error("a bundle and --genesis HASH are needed")
    try:
        with open(told.bundle, "rb") as opened:
            data = opened.read((16 << 20) + 1)
        bundle, genesis, members, history = verify(data, told.genesis, told.re_genesis, kept_in(told.checkpoint))
    except OSError as error:
        print(f"the file cannot be read: {error}", file=sys.stderr)
        return 1
    except Failed as failed:
        print(f"not proven: check {failed.code} failed: {failed.words}", file=sys.stderr)
        return 1
    print(f"verified: consortium {genesis.name!r} {genesis.id.hex()}")
    print(f"wallet     {history.wallet.hex()}")
    print(f"move       node {history.hop['source']} -> node {history.holder}, key epoch {history.epoch}")
    print(f"confirmed  log index {history.hop['at']}, final at height {bundle.header.height}")
    if told.checkpoint is not None:
        print(f"goes on    from {bundle.since[0][0]} entries: the log only grew since the checkpoint")
    print(f"decision   {history.hop['decision'].hex()}")
    validators = members.sets[-1]
    signed = f"{validators.quorum} of {len(validators.members)} validators of epoch {validators.epoch} sign"
    print(f"assurance  {members.assurance()}, {signed}")
    if members.anew:
        print(f"lineage    {bundle.lineage}: what follows a re-genesis is worth the word of those that signed it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
