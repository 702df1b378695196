"""The language of filters, such as ``product = "pump" and (year >= 2020 or keywords contains 'new')``."""

from __future__ import annotations

import functools
import operator

from lark import Lark, Token, Transformer_NonRecursive, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken, VisitError

from embedder_assets.errors import FilterError
from embedder_assets.retrieval.filter.conditions import (
    Absence,
    Combination,
    Comparison,
    Condition,
    Containment,
    Membership,
    Name,
    Negation,
    Place,
    Value,
)
from embedder_assets.retrieval.filter.fields import Moment, moment

# A keyword ends where no letter, digit, dot or dash follows: `notes` and `in-stock` are fields. Terminals that are
# named with an underscore are not in the tree.
_GRAMMAR = r"""
?start: disjunction
?disjunction: conjunction (_OR conjunction)*
?conjunction: condition (_AND condition)*
?condition: _NOT condition -> negation
    | "(" disjunction ")"
    | name OPERATOR value -> comparison
    | name _IN values -> membership
    | name _NOT _IN values -> no_membership
    | name _CONTAINS value -> containment
    | name _NOT _CONTAINS value -> no_containment
    | name _IS _NULL -> absence
    | name _IS _NOT _NULL -> presence
values: "(" value ("," value)* ")"
name: NAME | QUOTED_NAME
value: TEXT | NUMBER | TIME | TRUE | FALSE

_OR.2: /or(?![\w.-])/i
_AND.2: /and(?![\w.-])/i
_NOT.2: /not(?![\w.-])/i
_IN.2: /in(?![\w.-])/i
_IS.2: /is(?![\w.-])/i
_NULL.2: /null(?![\w.-])/i
_CONTAINS.2: /contains(?![\w.-])/i
TRUE.2: /true(?![\w.-])/i
FALSE.2: /false(?![\w.-])/i
OPERATOR: /!=|<=|>=|[=<>]/
NAME: /[^\W\d][\w.-]*/
QUOTED_NAME: /`[^`]+`/
TEXT: /"(?:[^"]|"")*"|'(?:[^']|'')*'/
TIME.2: /\d{4}-\d{2}-\d{2}(?:T[\d:.]+(?:Z|[+-]\d{2}:?\d{2})?)?/
NUMBER: /[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?![\w.])/i

%import common.WS
%ignore WS
"""
# What a person calls the terminals that may stand at a place, in this order.
_WORDS = {
    "NAME": "the name of a field",
    "LPAR": "'('",
    "OPERATOR": "= != < <= > >=",
    "_NOT": "'not'",
    "_IN": "'in'",
    "_CONTAINS": "'contains'",
    "_IS": "'is null'",
    "TEXT": "a text in quotes, a number, a time, true or false",
    "_NULL": "'null'",
    "_AND": "'and'",
    "_OR": "'or'",
    "COMMA": "a comma",
    "RPAR": "')'",
    "$END": "the end",
}
# Deeper than anybody writes, and far from what Python's stack holds.
MAX_DEPTH = 100


@functools.lru_cache(maxsize=64)
def parse(expression: str) -> Condition:
    """The condition that a filter states.

    Raises:
        FilterError: It is not in the language.
    """
    try:
        expression.encode()
        tree = _parser().parse(expression)
    except UnicodeEncodeError as error:
        raise Place(expression, error.start).error(
            expected="characters", got="half of one", remedy="Check the terminal's encoding."
        ) from None
    except UnexpectedInput as error:
        raise _syntax_error(expression, error) from None
    try:
        condition: Condition = _Builder(expression).transform(tree)
    except VisitError as error:
        raise error.orig_exc from None
    return condition


@functools.cache
def _parser() -> Lark:
    return Lark(_GRAMMAR, parser="lalr")


@v_args(inline=True)
class _Builder(Transformer_NonRecursive):  # type: ignore[type-arg]
    """Makes conditions of a syntax tree."""

    def __init__(self, expression: str) -> None:
        super().__init__()
        self._expression = expression

    def name(self, token: Token) -> Name:
        return Name(str(token).strip("`"), self._place(token))

    def value(self, token: Token) -> Value:
        place, text = self._place(token), str(token)
        match token.type:
            case "TEXT":
                text = text[1:-1].replace(text[0] * 2, text[0])
                return Value("text", text, text, place)
            case "NUMBER":
                return Value("number", float(text), text, place)
            case "TIME":
                return Value("time", self._moment(text, place), text, place)
            case _:
                return Value("boolean", text.lower() == "true", text, place)

    def values(self, *values: Value) -> tuple[Value, ...]:
        return values

    def comparison(self, name: Name, symbol: Token, value: Value) -> Condition:
        return Comparison(name, str(symbol), value)

    def membership(self, name: Name, values: tuple[Value, ...]) -> Condition:
        return Membership(name, values)

    def no_membership(self, name: Name, values: tuple[Value, ...]) -> Condition:
        return Negation(Membership(name, values))

    def containment(self, name: Name, value: Value) -> Condition:
        return Containment(name, value)

    def no_containment(self, name: Name, value: Value) -> Condition:
        return Negation(Containment(name, value))

    def absence(self, name: Name) -> Condition:
        return Absence(name)

    def presence(self, name: Name) -> Condition:
        return Negation(Absence(name))

    def negation(self, condition: Condition) -> Condition:
        return self._bounded(Negation(condition))

    def conjunction(self, *conditions: Condition) -> Condition:
        return self._bounded(Combination(conditions, operator.and_))

    def disjunction(self, *conditions: Condition) -> Condition:
        return self._bounded(Combination(conditions, operator.or_))

    def _bounded(self, condition: Condition) -> Condition:
        if condition.depth > MAX_DEPTH:
            raise Place(self._expression, 0).error(
                expected=f"conditions that are nested at most {MAX_DEPTH} deep",
                got="more",
                remedy="Write it with fewer parentheses.",
            )
        return condition

    def _moment(self, text: str, place: Place) -> Moment:
        found = moment(text)
        if found is None:
            raise place.error(
                expected="a time that there is, such as 2020-01-31 or 2020-01-31T12:00:00Z",
                got=text,
                remedy="Correct it, or write it in quotes if it is a text.",
            )
        return found

    def _place(self, token: Token) -> Place:
        return Place(self._expression, token.start_pos or 0)


def _syntax_error(expression: str, error: UnexpectedInput) -> FilterError:
    at, got, allowed = len(expression), "the end", set[str]()
    if isinstance(error, UnexpectedCharacters):
        at, allowed = error.pos_in_stream or 0, set(error.allowed or ())
        got = f"'{expression[at:].split(maxsplit=1)[0]}'"
    elif isinstance(error, UnexpectedToken):
        allowed = set(error.expected)
        if error.token.type != "$END":
            at, got = error.token.start_pos or 0, f"'{error.token}'"
    if "_AND" in allowed:
        # The parser's table does not tell values in a list from others, nor conditions in parentheses.
        allowed = {"_AND", "_OR", "$END"}
    expected = ", ".join(word for name, word in _WORDS.items() if name in allowed)
    remedy = "`embedder search --help` has examples."
    quote = expression[at : at + 1]
    if quote and quote in "\"'`" and expression.count(quote) % 2:
        got, remedy = f"a {quote} that is not closed", f"Close it; inside a text, write {quote * 2}."
    elif got.lower() == "'null'":
        remedy = "Write 'is null' or 'is not null'."
    elif "TEXT" in allowed and got.strip("'").isidentifier():
        remedy = f'Write a text in quotes: "{got.strip(chr(39))}".'
    return Place(expression, at).error(expected=expected or "something else", got=got, remedy=remedy)
