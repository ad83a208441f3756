"""Tools: the decorator, descriptions of functions, templates in the sandbox."""

import enum
import inspect
from typing import Union

import pytest

from promptflow.connections import AzureOpenAIConnection, CustomStrongTypeConnection, OpenAIConnection
from promptflow.contracts.multimedia import Image
from promptflow.contracts.tool import ValueType
from promptflow.core import ToolProvider, tool
from promptflow.exceptions import JinjaTemplateError, PackageToolNotFoundError, UserErrorException
from promptflow.tooling.decorator import original
from promptflow.tooling.meta import describe_tool, prompt_parameter
from promptflow.tooling.registry import package_tool, parse_meta
from promptflow.tooling.render import render_jinja, template_names


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Mine(CustomStrongTypeConnection):
    key: str


@tool
def example(
    text: str,
    count: int = 3,
    ratio: "float" = 0.5,
    flag=True,
    mode: Mode = Mode.FAST,
    picture: Image = None,
    connection: Union[AzureOpenAIConnection, OpenAIConnection] = None,  # noqa: UP007
    mine: Mine = None,
    maybe: int | None = None,
    anything=None,
    **kwargs,
):
    """What it does."""


def test_a_function_is_described_by_its_annotations_and_defaults():
    described = describe_tool(example)
    types = {name: definition.type for name, definition in described.inputs.items()}

    assert types == {
        "text": (ValueType.STRING,),
        "count": (ValueType.INT,),
        "ratio": (ValueType.DOUBLE,),
        "flag": (ValueType.BOOL,),
        "mode": (ValueType.STRING,),
        "picture": (ValueType.IMAGE,),
        "connection": ("AzureOpenAIConnection", "OpenAIConnection"),
        "mine": ("CustomConnection",),
        "maybe": (ValueType.INT,),
        "anything": (ValueType.OBJECT,),
    }
    assert described.inputs["mode"].enum == ("fast", "slow") and described.inputs["mode"].default == "fast"
    assert described.inputs["mine"].custom_type == ("Mine",)
    assert not described.inputs["text"].has_default and described.inputs["picture"].has_default
    assert described.enable_kwargs and described.description == "What it does."


@pytest.mark.parametrize("decorated", [tool, tool(name="n", description="d", type="python", extra=1)])
def test_the_decorator_keeps_the_function_callable_and_its_signature(decorated):
    @decorated
    def add(a: int, b: int = 1) -> int:
        return a + b

    assert add(2) == 3
    assert list(inspect.signature(add).parameters) == ["a", "b"]
    assert original(add) is not add


def test_async_and_generator_tools_stay_what_they_are():
    @tool
    async def later():
        return 1

    @tool
    def items():
        yield 1

    assert inspect.iscoroutinefunction(later)
    assert list(items()) == [1]


def test_an_unknown_tool_type_is_refused():
    with pytest.raises(UserErrorException, match="csharpp"):
        tool(type="csharpp")


def test_a_tool_provider_remembers_its_init_inputs():
    class Provider(ToolProvider):
        def __init__(self, a, b=2):
            super().__init__()

    assert list(Provider.get_initialize_inputs()) == ["a", "b"]
    assert Provider.get_required_initialize_inputs() == ["a"]
    assert Provider(1, b=3)._init_params == {"a": 1, "b": 3}


def test_the_prompt_of_a_custom_llm_tool_is_found_by_its_annotation():
    from promptflow.contracts.types import PromptTemplate

    def call(connection, template: PromptTemplate):
        """Takes a prompt."""

    assert prompt_parameter(call) == "template"


def test_tool_descriptions_of_packages_are_read():
    described = parse_meta(
        {
            "name": "x",
            "type": "custom_llm",
            "module": "m",
            "function": "f",
            "inputs": {"c": {"type": ["CustomConnection"]}, "n": {"type": "INT", "default": 1}},
        }
    )

    assert described.inputs["c"].type == ("CustomConnection",) and described.inputs["n"].type == (ValueType.INT,)


def test_a_package_tool_that_is_not_installed_is_named():
    with pytest.raises(PackageToolNotFoundError, match="no.such.tool"):
        package_tool("no.such.tool")


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("Hello {{name}}!", {"name": "you"}, "Hello you!"),
        ("{{missing}}|", {}, "|"),
        ("{% for x in xs %}\n{{x}}\n{% endfor %}\n", {"xs": [1, 2]}, "1\n2\n"),
        ("end\n", {}, "end\n"),
        ("{{template}}", {"template": "t"}, "t"),
    ],
)
def test_templates_are_rendered(template, values, expected):
    from promptflow.tooling.render import render

    assert render(template, values) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
        "{{ x.__init__.__globals__ }}",
        "{% for i in range(999999999) %}{% endfor %}",
    ],
)
def test_templates_cannot_reach_into_python(template):
    with pytest.raises(JinjaTemplateError):
        render_jinja(template, x=object())


def test_a_template_error_names_the_line():
    with pytest.raises(JinjaTemplateError, match="line 2"):
        render_jinja("a\n{% if %}\n")


def test_names_of_a_template_come_in_order_of_appearance():
    assert template_names("{{b}} {% set c = a %}{{c}} {{b}}") == ["b", "a"]
