"""There are no import cycles, not even for annotations only."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp

ANNOTATIONS = {
    ("headrace.errors", "headrace.calls"),
    ("headrace.errors", "headrace.replies"),
    ("headrace.pipeline.bulk_engines", "headrace.client"),
    ("headrace.pipeline.bulk_engines", "headrace.bulk.engine_setup"),
    ("headrace.pipeline.bulk_engines", "headrace.bulk.executor"),
    ("headrace.pipeline.hookspecs", "headrace.bulk.control"),
}
"""Imports for annotations that may close a circle: errors carry calls, engines and hooks get a run."""


def test_imports_have_no_circles() -> None:
    graph = grimp.build_graph("headrace", exclude_type_checking_imports=False, cache_dir=None)
    modules = graph.modules - {"headrace"}  # lists the public names, and imports most of the others
    sorter = TopologicalSorter(
        {
            module: {
                imported
                for imported in graph.find_modules_directly_imported_by(module) & modules
                if (module, imported) not in ANNOTATIONS
            }
            for module in modules
        }
    )

    sorter.prepare()  # raises CycleError, which names the circle
