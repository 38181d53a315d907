"""Settings of the garbage collector in headrace's own processes."""

from __future__ import annotations

import gc

from headrace.bulk.gc_tuning import reduced_gc


def test_the_gc_settings_are_restored_after_the_block() -> None:
    before = gc.get_threshold()
    with reduced_gc():
        assert gc.get_threshold() > before
        assert gc.get_freeze_count()
    assert gc.get_threshold() == before
    assert not gc.get_freeze_count()
