"""Griffe extension: classes of attrs and msgspec, and named tuples, get the signature of their fields."""

from __future__ import annotations

from typing import Any

from griffe import (
    Attribute,
    Class,
    Expr,
    ExprCall,
    ExprKeyword,
    Extension,
    Function,
    Module,
    Parameter,
    ParameterKind,
    Parameters,
)

_DECORATORS = {"attrs.define", "attrs.frozen", "attrs.mutable"}
_BASES = {"msgspec.Struct", "typing.NamedTuple"}
_FIELDS = {"attrs.field", "msgspec.field"}


class FieldSignatures(Extension):
    """Gives a class an ``__init__`` of its fields and those of its bases, where it defines none."""

    def on_package(self, *, pkg: Module, **kwargs: Any) -> None:
        _visit(pkg)


def _visit(parent: Module | Class) -> None:
    for member in list(parent.members.values()):
        if member.is_alias:
            continue
        if isinstance(member, Class) and "__init__" not in member.members and _options(member) is not None:
            _set_init(member)
        if isinstance(member, Module | Class):
            _visit(member)


def _set_init(class_: Class) -> None:
    fields: dict[str, Parameter] = {}
    for one in [*reversed(class_.mro()), class_]:
        options = _options(one)
        if options is not None:
            fields |= {field.name: field for field in _fields(one, options)}
    in_order = sorted(fields.values(), key=lambda field: field.kind is ParameterKind.keyword_only)
    self_ = Parameter("self", kind=ParameterKind.positional_or_keyword)
    init = Function("__init__", parameters=Parameters(self_, *in_order), parent=class_)
    class_.set_member("__init__", init)


def _options(class_: Class) -> dict[str, Any] | None:
    """The options of the class's decorator or of its base; None for other classes."""
    for decorator in class_.decorators:
        value = decorator.value
        if isinstance(value, Expr) and value.canonical_path in _DECORATORS:
            return _keywords(value)
    if any(isinstance(base, Expr) and base.canonical_path in _BASES for base in class_.bases):
        return dict(class_.keywords)
    return None


def _fields(class_: Class, options: dict[str, Any]) -> list[Parameter]:
    fields = []
    for name, member in class_.members.items():
        if not isinstance(member, Attribute) or member.annotation is None or "property" in member.labels:
            continue
        if "class-attribute" in member.labels and "instance-attribute" not in member.labels:
            continue  # a ClassVar
        value: Any = member.value
        of_field: dict[str, Any] = {}
        if isinstance(value, ExprCall) and value.canonical_path in _FIELDS:
            of_field = _keywords(value)
            factory = of_field.get("factory") or of_field.get("default_factory")
            value = of_field.get("default") if factory is None else ExprCall(factory, [])
        if str(of_field.get("init")) == "False":
            continue
        keyword_only = str(of_field.get("kw_only", options.get("kw_only"))) == "True"
        kind = ParameterKind.keyword_only if keyword_only else ParameterKind.positional_or_keyword
        fields.append(Parameter(name.lstrip("_"), annotation=member.annotation, kind=kind, default=value))
    return fields


def _keywords(expression: Expr) -> dict[str, Any]:
    if not isinstance(expression, ExprCall):
        return {}
    return {each.name: each.value for each in expression.arguments if isinstance(each, ExprKeyword)}
