"""Conditions over the values of a row: a small language that cannot call or change anything."""

from headrace.bulk.expressions.expression import Expression

__all__ = ["Expression"]
