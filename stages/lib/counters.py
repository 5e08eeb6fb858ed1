"""Randomness from counters, not from streams: what epoch 7 draws does not depend on how it was reached.

A run that resumes at epoch 7 makes the same draws as one that was never interrupted, because every generator
is seeded by where it is used (name, seed, epoch, step). Streamed generators break this at the resume point
(seen in huggingface/transformers #39215 and #46628).
"""

import hashlib

import torch

SEED_BITS = 63
"""torch.Generator takes a signed 64-bit seed; 63 bits keep it positive."""


def generator(device: torch.device, *counters: int | str) -> torch.Generator:
    """Return a generator on `device` seeded by the counters alone."""
    return torch.Generator(device).manual_seed(_seed(counters))


def seed_layers(*counters: int | str) -> None:
    """Seed torch's own generators, from which layers draw that take none (dropout, stochastic depth)."""
    torch.manual_seed(_seed(counters))


def _seed(counters: tuple[int | str, ...]) -> int:
    digest = hashlib.blake2b(repr(counters).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> (64 - SEED_BITS)


def epoch_order(n: int, weights: torch.Tensor | None, seed: int, epoch: int) -> torch.Tensor:
    """Return the positions (n,) int64 that one epoch visits, in order, on the CPU.

    Without weights: each sample once. With `weights` (n,) float: n draws with replacement in their
    proportion, which is how a class plan's sampling weights reach training without copying a row.
    """
    randomness = generator(torch.device("cpu"), "order", seed, epoch)
    if weights is None:
        return torch.randperm(n, generator=randomness)
    return torch.multinomial(weights, n, replacement=True, generator=randomness)
