"""The mutants of a module: each is the module with one small change that its tests should notice.

Changed are: comparisons, ``+ - * // & | << >>``, ``and`` and ``or``, ``not``, whole numbers, True and False,
text that is compared, conditions (forced both ways), what is returned (None instead), ``break`` and
``continue``. Left out one at a time are: calls made for what they do, raises, ``x += y``, assignments to
attributes and items.

Left alone are what no test can or should see: docstrings, annotations, decorators, the flags of classes,
``__all__``, aliases of types, the text of errors and of f-strings, lines for people (`_TOLD`),
pure hints on speed (`_HINTS`).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from functools import partial

__all__ = ["Mutant", "mutants_of"]

_LEFT_ALONE = {"annotation", "returns", "decorator_list", "bases", "ctx"}
_TOLD = {"say", "advance", "bar"}
_HINTS = {"__all__", "WORTH_PROCESSES", "_WORTH_PROCESSES", "_PIECE", "WORKERS", "pays"}
_SWAPPED: dict[type[ast.AST], ast.AST] = {
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.FloorDiv(),
    ast.FloorDiv: ast.Mult(),
    ast.BitAnd: ast.BitOr(),
    ast.BitOr: ast.BitAnd(),
    ast.LShift: ast.RShift(),
    ast.RShift: ast.LShift(),
    ast.And: ast.Or(),
    ast.Or: ast.And(),
    ast.Break: ast.Continue(),
    ast.Continue: ast.Break(),
}
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change."""

    module: str
    """Path below the repository."""
    where: str
    """The class and function that it is in; empty for the module itself."""
    change: str
    """What stood there, an arrow, what stands there now; numbered where it is not the first such change."""
    line: int
    lines: frozenset[int]
    """A test that runs one of them may notice; none where any test of the module may."""
    text: str
    """The whole module, changed."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """Where in a module the walk is."""

    where: str = ""
    lines: frozenset[int] = frozenset()
    compared: bool = False
    """True in what something is compared with."""


def mutants_of(module: str, text: str) -> Iterator[Mutant]:
    """Yield all mutants of a module of that text, in the order of the text."""
    tree = ast.parse(text)
    seen: Counter[tuple[str, str]] = Counter()
    for old, put, scope in _walk(tree, lambda _: None, _Scope(), tree):
        for new in _instead(old, scope):
            change = f"{_shown(old)} → {_shown(new)}"
            seen[scope.where, change] += 1
            number = seen[scope.where, change]
            if number > 1:
                change = f"{change} #{number}"
            put(new)
            line = getattr(old, "lineno", 0)
            yield Mutant(module, scope.where, change, line, scope.lines, ast.unparse(tree) + "\n")
            put(old)


def _shown(node: ast.AST) -> str:
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(node.test)}"
    return " ".join(ast.unparse(node).split())


_Found = tuple[ast.AST, Callable[[ast.AST], None], _Scope]


def _walk(node: ast.AST, put: Callable[[ast.AST], None], scope: _Scope, tree: ast.AST) -> Iterator[_Found]:
    """Yield every node that may be changed, with what puts another in its place."""
    if _is_left_alone(node):
        return
    scope = _inner(node, scope, tree)
    yield node, put, scope
    if isinstance(node, ast.Raise):
        return  # the rest is text
    for name, value in ast.iter_fields(node):
        if name in _LEFT_ALONE or (name == "keywords" and isinstance(node, ast.ClassDef)):
            continue
        if isinstance(value, ast.AST):
            yield from _walk(value, partial(setattr, node, name), scope, tree)
        elif isinstance(value, list):
            for place, each in enumerate(value):
                if isinstance(each, ast.AST):
                    yield from _walk(each, partial(value.__setitem__, place), scope, tree)


def _is_left_alone(node: ast.AST) -> bool:
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in _TOLD
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=value)
            | ast.AnnAssign(target=ast.Name(id=name), value=value)
        ):
            return name in _HINTS or _is_type(value)
    return False


def _is_type(value: ast.AST | None) -> bool:
    """Whether a value is an alias: `A | B`, `Literal["a"]`."""
    match value:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return all(isinstance(side, ast.Name) or _is_type(side) for side in (left, right))
        case ast.Subscript(value=ast.Name(id="Literal" | "Callable" | "tuple" | "dict")):
            return True
    return False


def _inner(node: ast.AST, scope: _Scope, tree: ast.AST) -> _Scope:
    """Return the scope of what is in a node."""
    where, lines, compared = scope.where, scope.lines, scope.compared
    if isinstance(node, _Function | ast.ClassDef):
        where = f"{where}.{node.name}".lstrip(".")
    if isinstance(node, _Function):
        lines = _span(node.body[0], node)
    elif isinstance(node, ast.stmt) and scope.lines:
        body = getattr(node, "body", None)
        lines = frozenset(range(node.lineno, body[0].lineno)) if body else _span(node, node)
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        lines = _uses(tree, node.targets[0].id)
    if isinstance(node, ast.Compare):
        compared = True
    elif not isinstance(node, ast.Tuple | ast.Set | ast.List | ast.Constant):
        compared = False
    return _Scope(where, lines, compared)


def _span(first: ast.stmt, last: ast.stmt) -> frozenset[int]:
    return frozenset(range(first.lineno, (last.end_lineno or last.lineno) + 1))


def _uses(tree: ast.AST, name: str) -> frozenset[int]:
    """Return the lines that read a name of the module."""
    return frozenset(
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load)
    )


def _instead(node: ast.AST, scope: _Scope) -> Iterator[ast.AST]:
    """Yield what may stand in the place of a node."""
    if isinstance(node, ast.stmt):
        yield from _other_statement(node)
        return
    match node:
        case ast.Compare(ops=ops):
            for place, op in enumerate(ops):
                if type(op) in _SWAPPED:
                    yield _with(node, ops=[*ops[:place], _SWAPPED[type(op)], *ops[place + 1 :]])
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in _SWAPPED:
            yield _with(node, op=_SWAPPED[type(op)])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=value):
            yield from _other_constant(value, scope.compared)
        case ast.IfExp():
            yield from (_with(node, test=ast.Constant(forced)) for forced in (True, False))
        case ast.comprehension(ifs=[_, *_]):
            yield _with(node, ifs=[])


def _other_statement(node: ast.stmt) -> Iterator[ast.AST]:
    match node:
        case ast.If():
            yield from (_with(node, test=ast.Constant(forced)) for forced in (True, False))
        case ast.While():
            yield _with(node, test=ast.Constant(False))
        case ast.Return(value=None | ast.Constant(value=None | True | False)):
            pass  # truth is turned over as a constant
        case ast.Return():
            yield ast.Return(ast.Constant(None))
        case ast.Break() | ast.Continue():
            yield _SWAPPED[type(node)]
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name))) if name in _TOLD:
            pass
        case (
            ast.Expr(value=ast.Call())
            | ast.Raise()
            | ast.AugAssign()
            | ast.Assign(targets=[ast.Attribute() | ast.Subscript()])
        ):
            yield ast.Pass()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    other = copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _other_constant(value: object, compared: bool) -> Iterator[ast.Constant]:
    """Yield another constant, where it is of a kind that is changed."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(value + 1)
    elif compared and isinstance(value, str):
        yield ast.Constant(f"{value}?")
    elif compared and isinstance(value, bytes):
        yield ast.Constant(value + b"?")
