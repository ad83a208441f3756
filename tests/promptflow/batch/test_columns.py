import math

import pytest

from promptflow.batch.columns import (
    Columns,
    Plan,
    check_lengths,
    check_mapping,
    complete_mapping,
    count_joined,
    join,
    look,
    plan_mapping,
)
from promptflow.exceptions import ApplyInputMappingError, InputMappingError, ValidationException

DATA = Columns(3, ("x", "y", "n", "n.q"))
RUN = Columns(3, ("answer", "line_number"))


def apply(mapping, line, columns=None):
    columns = columns or {name: look([row]) for name, row in line.items()}
    return plan_mapping(mapping, columns).apply(line)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"a": "${data.x}"}, {"a": 1}),
        ({"a": "${data.x}", "b": "${data.x}"}, {"a": 1, "b": 1}),
        ({"a": "${run.outputs.answer}"}, {"a": "yes"}),
        ({"a": "${run.inputs.q}"}, {"a": "why"}),
        ({"a": "${data.n.q}"}, {"a": "dotted column"}),
        ({"a": "${data.n}"}, {"a": {"p": 5}}),
        ({"a": "literal"}, {"a": "literal"}),
        ({"a": ""}, {"a": ""}),
        (
            {"a": 3, "b": None, "c": [1], "d": {"k": "${data.x}"}},
            {"a": 3, "b": None, "c": [1], "d": {"k": "${data.x}"}},
        ),
        ({"a": "see ${data.x}"}, {"a": "see ${data.x}"}),
        ({"a": "${data.x} "}, {"a": "${data.x} "}),
        ({"a": "${data}"}, None),
        ({"a": "${}"}, {"a": "${}"}),
        ({"a": "$data.x"}, {"a": "$data.x"}),
        ({"line_number": "${data.x}", "a": "${data.x}"}, {"a": 1}),
        ({"a": "${data.n.p}"}, None),
        ({"a": "${other.x}"}, None),
        ({"a": "${data.nope}"}, None),
        ({"a": "${ data.x }"}, None),
    ],
)
def test_a_mapping_value_is_a_reference_only_as_a_whole(mapping, expected):
    line = {
        "data": {"x": 1, "n": {"p": 5}, "n.q": "dotted column"},
        "run.outputs": {"answer": "yes"},
        "run.inputs": {"q": "why"},
    }
    if expected is None:
        with pytest.raises(ApplyInputMappingError, match="Couldn't find these mapping relations"):
            apply(mapping, line)
    else:
        assert apply(mapping, line) == expected


def test_the_shorter_source_name_wins():
    line = {"run": {"inputs.q": "short"}, "run.inputs": {"q": "long"}}
    assert apply({"a": "${run.inputs.q}"}, line) == {"a": "short"}


def test_all_missing_columns_are_named_at_once():
    with pytest.raises(ApplyInputMappingError, match=r"\$\{data\.a\}, \$\{data\.b\}") as caught:
        plan_mapping({"a": "${data.a}", "b": "${data.b}", "c": "${data.x}"}, {"data": DATA})
    assert "${data.y}" in caught.value.hint


def test_a_column_that_only_other_rows_have_is_nan():
    plan = plan_mapping({"a": "${data.x}"}, {"data": look([{"x": 1}, {"y": 2}])})
    assert math.isnan(plan.apply({"data": {"y": 2}})["a"])
    assert plan.gaps({"data": {"y": 2}}) == ["data.x"]
    assert plan.gaps({"data": {"x": None}}) == []


@pytest.mark.parametrize(
    ("mapping", "inputs", "defaults", "expected"),
    [
        (None, ["q"], [], {"q": "${data.q}"}),
        ({}, ["q", "k"], ["k"], {"q": "${data.q}"}),
        ({"k": "${data.k}"}, ["q", "k"], ["k"], {"q": "${data.q}", "k": "${data.k}"}),
        ({"q": "${data.other}"}, ["q"], [], {"q": "${data.other}"}),
        ({"extra": "${data.z}"}, ["q"], [], {"q": "${data.q}", "extra": "${data.z}"}),
        ({"q": 1}, [], [], {"q": 1}),
    ],
)
def test_inputs_without_a_default_are_mapped_to_the_column_of_their_name(mapping, inputs, defaults, expected):
    assert complete_mapping(mapping, inputs, defaults) == expected


@pytest.mark.parametrize(
    ("mapping", "fine"),
    [
        (None, True),
        ({}, True),
        ({"x": "${data.x}"}, True),
        ({"x": "$anything"}, True),
        ({"x": "lit"}, False),
        ({"x": 1, "y": None}, False),
        (["x"], False),
        ("x=y", False),
    ],
)
def test_a_mapping_needs_a_reference(mapping, fine):
    if fine:
        check_mapping(mapping)
    else:
        with pytest.raises(ValidationException):
            check_mapping(mapping)


def numbered(*numbers):
    return [{"line_number": n, "v": n} for n in numbers]


PLAIN = [{"v": "a"}, {"v": "b"}, {"v": "c"}]


@pytest.mark.parametrize(
    ("sources", "names", "expected"),
    [
        ({"data": PLAIN}, [], [0, 1, 2]),
        ({"data": numbered(5, 3)}, ["data"], [3, 5]),
        ({"data": PLAIN, "run.outputs": numbered(0, 2)}, ["run.outputs"], [0, 2]),
        ({"data": PLAIN, "run.outputs": numbered(2, 7)}, ["run.outputs"], [2]),
        ({"data": PLAIN, "run.outputs": numbered("1")}, ["run.outputs"], [1]),
        ({"data": PLAIN, "run.inputs": PLAIN}, [], [0, 1, 2]),
        ({"data": [{"v": 1}, {"v": 2, "line_number": 4}]}, ["data"], [4]),
        ({"data": numbered(1, 1)}, ["data"], [1]),
        ({"data": PLAIN, "run.outputs": numbered(9)}, ["run.outputs"], []),
    ],
)
def test_rows_join_by_line_number_or_position(sources, names, expected):
    assert [number for number, _ in join(sources, names)] == expected


def test_joined_rows_belong_together():
    ((_, first), (_, second)) = join({"data": PLAIN, "run.outputs": numbered(2, 0)}, ["run.outputs"])
    assert (first["data"]["v"], first["run.outputs"]["v"]) == ("a", 0)
    assert (second["data"]["v"], second["run.outputs"]["v"]) == ("c", 2)


def test_a_line_number_must_be_a_number():
    with pytest.raises(InputMappingError, match="'one'"):
        list(join({"data": numbered("one")}, ["data"]))


@pytest.mark.parametrize(
    ("sources", "problem"),
    [
        ({"data": Columns(3, ("x",)), "run.inputs": Columns(2, ("x",))}, "not aligned"),
        ({"data": Columns(3, ("x",)), "run.outputs": Columns(0, ())}, "empty list"),
        ({"data": Columns(3, ("x",)), "run.outputs": RUN}, None),
        ({"data": Columns(3, ("x",)), "run.outputs": Columns(1, ("a", "line_number"))}, None),
    ],
)
def test_sources_without_line_numbers_must_be_equally_long(sources, problem):
    if problem is None:
        check_lengths(sources)
    else:
        with pytest.raises(InputMappingError, match=problem):
            check_lengths(sources)


def test_look_finds_the_columns_of_all_rows():
    assert look([{"a": 1}, {"b": 2}, {"a": 3}]) == Columns(3, ("a", "b"))
    assert look([]) == Columns(0, ())


def test_an_empty_plan_gives_no_inputs():
    assert Plan().apply({"data": {"x": 1}}) == {}


@pytest.mark.parametrize("rising", [True, False])
def test_numbered_sources_meet_line_by_line_streamed_or_not(rising):
    data = [{"q": position} for position in range(6)]
    outputs = [{"o": number, "line_number": number} for number in (1, 2, 4, 9)]
    lines = list(join({"data": iter(data), "run.outputs": iter(outputs)}, ["run.outputs"], rising))
    assert [(number, line["data"]["q"], line["run.outputs"]["o"]) for number, line in lines] == [
        (1, 1, 1),
        (2, 2, 2),
        (4, 4, 4),
    ]


def test_sources_whose_line_numbers_rise_are_streamed():
    taken = 0

    def rows(numbered):
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield {"line_number": number} if numbered else {}

    next(join({"data": rows(False), "run.outputs": rows(True)}, ["run.outputs"], rising=True))
    assert taken == 2


@pytest.mark.parametrize(
    ("numbers", "rising"),
    [([0, 1, 5], True), (["3", "4"], True), ([1, 0], False), ([2, 2], False), ([1, None, 2], True), ([], True)],
)
def test_a_look_tells_whether_line_numbers_rise(numbers, rising):
    rows = [{} if number is None else {"line_number": number} for number in numbers]
    assert look(rows).rising is rising


def test_a_text_that_only_other_rows_have_is_no_input_of_the_line():
    mapping = {"a": "${data.x}", "b": "${data.x}", "c": "literal"}
    plan = plan_mapping(mapping, {"data": DATA}, texts=["a", "c"])
    assert plan.apply({"data": {"x": 1}}) == {"a": 1, "b": 1, "c": "literal"}
    values = plan.apply({"data": {"y": 2}})
    assert sorted(values) == ["b", "c"] and math.isnan(values["b"])
    assert math.isnan(plan.apply({"data": {"x": math.nan}})["a"])


@pytest.mark.parametrize(
    ("sources", "known"),
    [
        ({"data": [None] * 5}, True),
        ({"data": [None] * 5, "run": [0, 1, 2, 3, 4]}, True),
        ({"data": [None] * 5, "run": [0, 1]}, True),
        ({"data": [None] * 5, "run": [0, 3, 4]}, True),
        ({"data": [0, 1, 2], "run": [0, 2]}, True),
        ({"data": [2, 4, 7]}, True),
        ({"data": [2, 4, 7], "run": [2, 7]}, False),
        ({"data": [None] * 5, "run": [1, 3, 9]}, False),
        ({"data": [None] * 5, "run": [3, 1]}, False),
        ({"data": [None] * 5, "run": [1, 1]}, False),
    ],
)
def test_lines_are_counted_without_reading_them_again(sources, known):
    rows = {
        name: [{} if number is None else {"line_number": number} for number in numbers]
        for name, numbers in sources.items()
    }
    looks = {name: look(found) for name, found in rows.items()}
    numbered = [name for name, columns in looks.items() if columns.numbered]
    counted = count_joined(looks.values())
    assert counted == (len(list(join(rows, numbered))) if known else None)
