"""Checks gates.json by docs/formats/gate.md and docs/formats/wallet.md alone: a second implementation, slow and plain.

    python3 check.py gates.json

It needs nothing but Python's standard library, so it checks what is arithmetic and hashing: gates, ciphertexts, partial
releases, their combination, contributions, the ciphertexts of packages, the migration key. It does not check Ed25519
signatures, AES-GCM, BLAKE3 and X-Wing.
"""

import hashlib
import hmac
import json
import sys

# ---- ristretto255, RFC 9496, on extended coordinates ----

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SQRT_M1 = pow(2, (P - 1) // 4, P)
SQRT_AD_MINUS_ONE = 25063068953384623474111414158702152701244531502492656460079210482610430750235
IDENTITY = (0, 1, 1, 0)


def positive(x):
    x %= P
    return P - x if x & 1 else x


def sqrt_ratio(u, v):
    r = u * v**3 * pow(u * v**7, (P - 5) // 8, P) % P
    check = v * r * r % P
    if check in (-u % P, -u * SQRT_M1 % P):
        r = r * SQRT_M1 % P
    return check in (u % P, -u % P), positive(r)


INVSQRT_A_MINUS_D = sqrt_ratio(1, -1 - D)[1]


def add(a, b):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    m, n = (y1 - x1) * (y2 - x2), (y1 + x1) * (y2 + x2)
    c, d = 2 * t1 * t2 * D, 2 * z1 * z2
    e, f, g, h = n - m, d - c, d + c, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(number, point):
    total = IDENTITY
    while number:
        if number & 1:
            total = add(total, point)
        point, number = add(point, point), number >> 1
    return total


def decode(data):
    s = int.from_bytes(data, "little")
    assert 0 < s < P and not s & 1, "no canonical element, or the identity"
    u1, u2 = (1 - s * s) % P, (1 + s * s) % P
    v = (-D * u1 * u1 - u2 * u2) % P
    square, inverse = sqrt_ratio(1, v * u2 * u2)
    x = positive(2 * s * inverse * u2)
    y = u1 * inverse * inverse * u2 * v % P
    assert square and not x * y % P & 1 and y, "no element"
    return x, y, 1, x * y % P


def encode(point):
    x, y, z, t = point
    u1, u2 = (z + y) * (z - y) % P, x * y % P
    inverse = sqrt_ratio(1, u1 * u2 * u2)[1]
    d1, d2 = inverse * u1 % P, inverse * u2 % P
    z_inverse = d1 * d2 * t % P
    if t * z_inverse % P & 1:
        x, y, d2 = y * SQRT_M1 % P, x * SQRT_M1 % P, d1 * INVSQRT_A_MINUS_D % P
    if x * z_inverse % P & 1:
        y = -y % P
    return positive(d2 * (z - y)).to_bytes(32, "little")


def one_way_map(data):
    t = int.from_bytes(data, "little") % 2**255 % P
    r = SQRT_M1 * t * t % P
    v = (-1 - r * D) * (r + D) % P
    square, s = sqrt_ratio((r + 1) * (1 - D * D), v)
    c = -1
    if not square:
        s, c = -positive(s * t) % P, r
    n = (c * (r - 1) * (D - 1) ** 2 - v) % P
    w0, w1, w2, w3 = 2 * s * v, n * SQRT_AD_MINUS_ONE, 1 - s * s, 1 + s * s
    return w0 * w3 % P, w2 * w1 % P, w1 * w3 % P, w0 * w2 % P


def hash_to_group(tag, message):
    """hash_to_ristretto255 of RFC 9380 with expand_message_xmd over SHA-512."""
    tag += bytes([len(tag)])
    first = hashlib.sha512(bytes(128) + message + b"\0\x40" + b"\0" + tag).digest()
    uniform = hashlib.sha512(first + b"\1" + tag).digest()
    return add(one_way_map(uniform[:32]), one_way_map(uniform[32:]))


# ---- gate.md ----

DOMAIN = "batchmind/v1/wallet/gate"
G = decode(bytes.fromhex("e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76"))
G_BAR = hash_to_group(f"{DOMAIN}/second-generator".encode(), b"")


def u32(number):
    return number.to_bytes(4, "little")


def u64(number):
    return number.to_bytes(8, "little")


def number_bytes(number):
    return (number % Q).to_bytes(32, "little")


def prefixed(domain, parts):
    name = f"{DOMAIN}/{domain}" if domain else DOMAIN
    return b"".join(u64(len(part)) + part for part in (name.encode(), *parts))


def number_hash(domain, *parts):
    return int.from_bytes(hashlib.sha512(prefixed(domain, parts)).digest(), "little") % Q


def sha256(domain, *parts):
    return hashlib.sha256(prefixed(domain, parts)).digest()


def extract(salt, secret):
    return hmac.new(salt, secret, hashlib.sha256).digest()


def challenge(domain, context, pairs, commitments):
    parts = [*context, u64(len(pairs))]
    for (base, image), commitment in zip(pairs, commitments):
        parts += [encode(base), encode(image), encode(commitment)]
    return number_hash(domain, *parts)


def prove(domain, context, pairs, multiple, nonce):
    c = challenge(domain, context, pairs, [times(nonce, base) for base, _ in pairs])
    return number_bytes(c) + number_bytes(nonce + c * multiple)


def holds(domain, context, pairs, proof):
    c, z = (int.from_bytes(half, "little") for half in (proof[:32], proof[32:]))
    commitments = [add(times(z, base), times(Q - c, image)) for base, image in pairs]
    return c < Q and z < Q and c == challenge(domain, context, pairs, commitments)


class Reader:
    """Takes an encoding apart."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        assert self.at <= len(self.data), "too short"
        return self.data[self.at - count : self.at]

    def integer(self, count):
        return int.from_bytes(self.take(count), "little")

    def list(self, count):
        return [self.take(count) for _ in range(self.integer(8))]


class Gate:
    """A gate, checked."""

    def __init__(self, data):
        reader = Reader(data)
        reader.take(32)
        kind, count = reader.integer(4), 1
        if kind == 1:
            reader.take(reader.integer(8))
        if kind < 2:
            count = reader.integer(4)
        else:
            reader.take(32)
        reader.take(4)
        self.id = data[: reader.at]
        self.members = [reader.integer(4) for _ in range(reader.integer(8))]
        self.polynomial = [decode(part) if any(part) else IDENTITY for part in reader.list(32)]
        assert encode(self.polynomial[0]) != bytes(32), "the key is the identity"
        n = len(self.members)
        assert self.members == sorted(set(self.members)) and n <= min(count, 256)
        self.threshold = {0: (count + (count - 1) // 3) // 2 + 1, 1: count // 2 + 1, 2: 1, 3: 1}[kind]
        assert len(self.polynomial) == self.threshold <= n
        assert reader.integer(1) == (n == 1), "a plain key, and no other, has a proof of possession"
        if n == 1:
            context = self.id + u32(self.members[0])
            assert holds("possession", [context], [(G, self.polynomial[0])], reader.take(64))
        assert reader.at == len(data), "stray bytes"
        self.hash = sha256("", data)

    def verification_share(self, member):
        total = IDENTITY
        for power, coefficient in enumerate(self.polynomial):
            total = add(total, times(pow(member + 1, power, Q), coefficient))
        return total


def check_gate(vector, label, prekey):
    gate = Gate(bytes.fromhex(vector["gate"]))
    assert gate.hash.hex() == vector["hash"]
    assert encode(gate.polynomial[0]).hex() == vector["key"]

    seed = bytes.fromhex(vector["seed"])
    r = number_hash("encapsulation-number", seed, gate.hash, label)
    assert number_bytes(r).hex() == vector["r"]
    nonce = number_hash("encapsulation-nonce", seed, gate.hash, label)
    u, u_bar = times(r, G), times(r, G_BAR)
    pairs = [(G, u), (G_BAR, u_bar)]
    ciphertext = encode(u) + encode(u_bar) + prove("encapsulation", [gate.hash, label], pairs, r, nonce)
    assert ciphertext.hex() == vector["ciphertext"]
    assert holds("encapsulation", [gate.hash, label], pairs, ciphertext[64:])

    def secret(shared):
        return extract(sha256("key", gate.hash, label, ciphertext), encode(shared)).hex()

    assert secret(times(r, gate.polynomial[0])) == vector["secret"]

    released = []
    for member, share, release in zip(gate.members, vector["shares"], vector["releases"], strict=True):
        x = int.from_bytes(bytes.fromhex(share), "little")
        public = gate.verification_share(member)
        assert encode(times(x, G)) == encode(public)
        context = [gate.hash, label, ciphertext, u32(member)]
        nonce = number_hash("partial-nonce", number_bytes(x), *context)
        pairs = [(G, public), (u, times(x, u))]
        part = u32(member) + encode(times(x, u)) + prove("partial", context, pairs, x, nonce)
        assert part.hex() == release["part"]
        subject = bytes([2]) * 32 + bytes([3]) * 32 + gate.hash + label + sha256("ciphertext", ciphertext) + prekey
        assert release["signed"][:-128] == (u32(member) + subject + sha256("part", part)).hex()
        released.append((member, times(x, u)))

    for some in (released[: gate.threshold], released[-gate.threshold :]):
        total = IDENTITY
        for i, point in some:
            weight = 1
            for j, _ in some:
                if j != i:
                    weight = weight * (j + 1) * pow(j - i, -1, Q) % Q
            total = add(total, times(weight, point))
        assert secret(total) == vector["secret"]
    return gate


def check_key_generation(entries, made):
    id = bytes([1]) * 32 + u32(0) + u32(4) + u32(0)
    run = sha256("ceremony", id + bytes(32) + u64(4) + b"".join(map(u32, range(4))) + u32(0))
    one_time, sums = {}, None
    for entry in entries:
        data = bytes.fromhex(entry.get("notice", "ff"))
        if data[:4] != u32(0):
            continue
        author, reader = entry["author"], Reader(data[4:])
        polynomial = [decode(reader.take(32)) for _ in range(reader.integer(8))]
        commitment, mu = reader.take(32), reader.integer(32)
        known = b"FROST-RISTRETTO255-SHA512-v1dkg" + number_bytes(author + 1) + encode(polynomial[0]) + commitment
        c = int.from_bytes(hashlib.sha512(known).digest(), "little") % Q
        assert encode(add(times(mu, G), times(Q - c, polynomial[0]))) == commitment
        one_time[author] = Gate(reader.data[reader.at :])
        assert one_time[author].id == bytes([1]) * 32 + u32(3) + run + u32(0)
        assert one_time[author].members == [author]
        sums = [add(a, b) for a, b in zip(sums, polynomial)] if sums else polynomial
    assert [encode(element) for element in sums] == [encode(element) for element in made.polynomial]
    packages = [Reader(bytes.fromhex(entry["package"])) for entry in entries if "package" in entry]
    assert len(packages) == 4 * 3
    for reader in packages:
        assert reader.take(32) == run
        names = reader.take(8)
        receiver = one_time[int.from_bytes(names[4:], "little")]
        label = sha256("label", b"package", run + names)
        pairs = [(G, decode(reader.take(32))), (G_BAR, decode(reader.take(32)))]
        assert holds("encapsulation", [receiver.hash, label], pairs, reader.take(64))
    confirmed = {entry["notice"] for entry in entries if entry.get("notice", "").startswith(u32(3).hex())}
    assert confirmed == {(u32(3) + made.hash).hex()}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        vectors = json.load(file)
    for hop in vectors["hops"]:
        hop_label = bytes.fromhex(hop["label"])
        label, prekey = sha256("label", b"hop", hop_label), hop_label[-128:-96]
        assert label.hex() == hop["gate label"]
        gates = [check_gate(vector, label, prekey) for vector in hop["gates"]]
        check_key_generation(hop["key generation"], gates[0])
        assert extract(bytes.fromhex(hop["salt"]), bytes.fromhex(hop["secrets"])).hex() == hop["migration key"]
        print(f"{hop['kem']}: agrees")


if __name__ == "__main__":
    main()
