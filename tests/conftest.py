"""What every test of the runtime may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def rt() -> Iterator[gilscope.PyRuntime]:
    """A runtime of the test's own; the test fails if it cannot be ended within 20 s."""
    runtime = gilscope.PyRuntime("test")
    yield runtime
    report = runtime.shutdown("cancel", deadline=20)
    assert report["joined"], report
