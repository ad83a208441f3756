import pytest

from promptflow.contracts.condition import parse_condition
from promptflow.exceptions import ExpressionError

VALUES = {"${a.output}": "yes", "${b.output}": 3, "${inputs.tags}": ["x", "y"], "${n.output}": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${a.output} == 'yes'", True),
        ("${a.output} != 'yes'", False),
        ("${b.output} > 2 and ${b.output} <= 3", True),
        ("2 < ${b.output} < 3", False),
        ("'x' in ${inputs.tags}", True),
        ("'z' not in ${inputs.tags}", True),
        ("${a.output} in ['no', 'yes']", True),
        ("not ${a.output} == 'yes'", False),
        ("${a.output} == 'no' or ${b.output} == 3", True),
        ("(${a.output} == 'no' or ${b.output} == 3) and ${n.output} is null", True),
        ("${n.output} == null", True),
        ("${b.output} == -3", False),
        ("not ${n.output}", True),
    ],
)
def test_a_condition_is_evaluated_over_its_references(text, expected):
    assert parse_condition(text).evaluate(VALUES) is expected


@pytest.mark.parametrize(
    "text",
    [
        "${a.output} ==",
        "__import__('os').system('true')",
        "${a.output}.__class__",
        "${a.output} == yes",
        "${a.output} + 1",
        "[x for x in ${a.output}]",
        "lambda: 1",
        "f'{1}'",
        "${a.output}[0]",
        "(" * 300 + "${a.output}" + ")" * 300,
        "${a.output} == '" + "x" * 5000 + "'",
    ],
)
def test_anything_but_comparisons_is_refused_when_parsed(text):
    with pytest.raises(ExpressionError):
        parse_condition(text)


def test_values_that_cannot_be_compared_are_an_error_and_not_false():
    with pytest.raises(ExpressionError, match="cannot be evaluated"):
        parse_condition("${a.output} < 1").evaluate(VALUES)


def test_a_bare_word_is_answered_with_how_to_quote_it():
    with pytest.raises(ExpressionError) as caught:
        parse_condition("${a.output} == refund")

    assert "'refund'" in caught.value.hint
