"""Reproducible randomness: numbers from a hash of the seed and of their purpose."""

from hashlib import blake2b


def fingerprint(seed: int, *parts: bytes) -> bytes:
    """32 bytes that depend only on the seed, the parts and the boundaries between them."""
    hashed = blake2b(str(seed).encode(), digest_size=32)
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.digest()


def fraction(random_bytes: bytes) -> float:
    """The first eight bytes as a number from 0 up to, but not including, 1."""
    # A float holds 53 bits exactly; 64 bits would sometimes be rounded up to 1.0.
    return (int.from_bytes(random_bytes[:8], "big") >> 11) / (1 << 53)
