"""Rust awaitables for Python: each runs on tokio and is awaited under any asyncio loop."""

from __future__ import annotations

from gilscope._native import rust_read_file as read_file
from gilscope._native import rust_sha256 as sha256
from gilscope._native import rust_sleep as sleep

__all__ = ["read_file", "sha256", "sleep"]
