"""View plugin for headrace: look into a bulk run while it goes and afterwards, and steer it."""

from __future__ import annotations
