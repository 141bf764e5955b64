"""Every message that a user can meet, as the source has it: its words, with … where something varies."""

import ast
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOLE = "…"
_LOGGED = ("warning", "error")
_TOLD_BY_NAME = re.compile(
    r"(^|_)(NOT_CONNECTED|NOT_VERIFIED|detail|fault|faults|why|trouble|problem|reason|failure|warning|hint|remedy)$"
)
"""Variables, keywords and functions of such names hold what a user reads."""
_TOLD_BY_FUNCTION = re.compile(
    r"(^|_)(fault|faults|warning|warnings|doubt|placeholder|advice|what_to_check|judge|judged|why|send_report)(_|$)"
)
_TOLD_LISTS = ("faults", "warnings", "remarks", "doubts", "parts", "told")
_TOLD_CALLS = ("note", "wrong", "print")
_TOLD_METHODS = ("_now", "__str__")
"""--Status says how a run is, a Disagreement how a match differs."""
_NOT_TOLD = ("AssertionError", "TimeoutError")
_SAYS_WHAT_IS_WELL = ("row_line", "brief_text")
"""Functions that only tell how far it is."""


@dataclass(frozen=True, order=True)
class Message:
    """A message and where it is made."""

    text: str
    place: str


def messages_in(source: str, name: str) -> set[Message]:
    """The messages that a module can make."""
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return {
        Message(_without_places(text) if _is_logged(expression, parents) else text, f"{name}:{meant.lineno}")
        for node in ast.walk(tree)
        if not _says_what_is_well(node, parents)
        for expression in _told(node, parents)
        for meant in _assigned(expression, parents)
        for text in map(str.strip, texts_of(meant))
        if has_words(text)
    }


def _assigned(expression: ast.expr, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.expr]:
    """The expression, or, where it is a name, what the function or the module around it assigns to that name."""
    if not isinstance(expression, ast.Name):
        yield expression
        return
    scope: ast.AST = expression
    while scope in parents:
        scope = parents[scope]
        if isinstance(scope, (ast.FunctionDef, ast.Module)):
            for node in ast.walk(scope):
                if isinstance(node, ast.Assign) and expression.id in map(_name_of, node.targets):
                    yield node.value


def has_words(text: str) -> bool:
    """Whether something of it does not vary."""
    return re.search(r"[A-Za-z]{2,}", text.replace(HOLE, "")) is not None


def texts_of(node: ast.expr) -> list[str]:
    """What a text can be, with … for what varies."""
    match node:
        case ast.Constant(value=str() as text):
            return [text]
        case ast.JoinedStr(values=values):
            return _joined([texts_of(value) for value in values])
        case ast.FormattedValue(value=ast.IfExp() as value):
            return [text or "" for text in texts_of(value)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _joined([texts_of(left), texts_of(right)])
        case ast.IfExp(body=body, orelse=orelse):
            return [*texts_of(body), *texts_of(orelse)]
        case ast.BoolOp(op=ast.Or(), values=values):
            return [text for value in values for text in texts_of(value)]
    return [HOLE]


def _is_logged(expression: ast.expr, parents: dict[ast.AST, ast.AST]) -> bool:
    match parents[expression]:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="logging"))):
            return True
    return False


def _without_places(text: str) -> str:
    """A text for logging, which has places such as %s for what varies."""
    return re.sub(r"%(\.\d+)?[sdfg]", HOLE, text)


def _joined(parts: Sequence[Sequence[str]]) -> list[str]:
    return [re.sub(f"{HOLE}+", HOLE, "".join(choice)) for choice in itertools.product(*parts)]


def _told(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> Iterator[ast.expr]:
    """The expressions whose text a user reads, of one node of the syntax tree."""
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="logging"), attr=attr), args=[first, *_]) if attr in _LOGGED:
            yield first
        case ast.Call(func=ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=method), args=args):
            if owner in _TOLD_LISTS and method in ("append", "insert"):
                yield args[-1]
            elif owner == "stderr" and method == "write":
                yield args[0]
        case ast.Call(func=ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"), args=args):
            yield from (arg for arg in args if _is_error(_class_around(node, parents)))
        case ast.Call(func=ast.Name(id=name), args=args) if name not in _NOT_TOLD:
            if name.endswith("Error"):
                yield from args
            elif name in _TOLD_CALLS:
                yield from args[:1]
        case ast.Assign(targets=targets, value=value):
            names = [_name_of(target) for target in targets]
            if any(_TOLD_BY_NAME.search(name) for name in names):
                yield value
            for target in targets:
                if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                    for one, part in zip(target.elts, value.elts, strict=False):
                        if _TOLD_BY_NAME.search(_name_of(one)):
                            yield part
            if any(name in _TOLD_LISTS for name in names):
                yield from _elements(value)
        case ast.AugAssign(target=target, value=value) if _name_of(target) in _TOLD_LISTS:
            yield from _elements(value)
        case ast.Return(value=value) if value is not None and _is_told_by(_function_around(node, parents)):
            yield from value.elts if isinstance(value, ast.Tuple) else [value]
        case ast.Yield(value=value) if value is not None and _is_told_by(_function_around(node, parents)):
            yield from value.elts[-1:] if isinstance(value, ast.Tuple) else [value]
        case ast.keyword(arg=str() as arg, value=value) if _TOLD_BY_NAME.search(arg):
            yield value


def _elements(value: ast.expr) -> Iterator[ast.expr]:
    """What is in a list, however it is written."""
    for node in ast.walk(value):
        match node:
            case ast.List(elts=elts):
                yield from elts
            case ast.ListComp(elt=elt) | ast.GeneratorExp(elt=elt):
                yield elt


def _name_of(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _is_told_by(function: ast.FunctionDef | None) -> bool:
    """Whether a function returns what a user reads: its name says so, or it says that it tells why."""
    if function is None:
        return False
    by_name = function.name in _TOLD_METHODS or _TOLD_BY_FUNCTION.search(function.name) is not None
    return by_name or re.search(r"\bwhy\b", ast.get_docstring(function) or "", re.IGNORECASE) is not None


def _is_error(name: str) -> bool:
    return name.endswith("Error")


def _says_what_is_well(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    function = _function_around(node, parents)
    return function is not None and function.name in _SAYS_WHAT_IS_WELL


def _function_around(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> ast.FunctionDef | None:
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.FunctionDef):
            return node
    return None


def _class_around(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> str:
    while node in parents:
        node = parents[node]
        if isinstance(node, ast.ClassDef):
            return node.name
    return ""
