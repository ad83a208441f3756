import pytest

from promptflow.contracts.reference import is_reference, parse_reference


@pytest.mark.parametrize(
    ("text", "node", "name", "section", "path"),
    [
        ("${inputs.question}", None, "question", "output", ()),
        ("${flow.question}", None, "question", "output", ()),
        ("${inputs.a.b}", None, "a.b", "output", ()),
        ("${ask}", "ask", "ask", "output", ()),
        ("${ask.output}", "ask", "ask", "output", ()),
        ("${ask.output.a.b[0]['k']}", "ask", "ask", "output", ("a", "b", 0, "k")),
        ('${ask.output.x["y z"]}', "ask", "ask", "output", ("x", "y z")),
        ("${ask.result}", "ask", "ask", "result", ()),
    ],
)
def test_a_reference_is_parsed_into_its_parts(text, node, name, section, path):
    reference = parse_reference(text)

    assert (reference.node, reference.name, reference.section, reference.path) == (node, name, section, path)


@pytest.mark.parametrize("value", ["plain", "say ${a.output}", "${a.output} now", "${}", "$a", 3, None, ["${a}"]])
def test_text_that_only_contains_a_reference_is_a_literal(value):
    assert not is_reference(value)
