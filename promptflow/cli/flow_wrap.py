"""A flow around a function: its file is read, not run."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from promptflow.cli.overrides import nearest_hint
from promptflow.exceptions import UserErrorException, ValidationException
from promptflow.workspace.yamlfile import dump_yaml

_TYPES = {"str": "string", "int": "int", "float": "double", "bool": "bool", "list": "list", "dict": "object"}


def wrap_function(folder: Path, entry: str, name: str, templates: dict[str, str]) -> dict[str, str]:
    """The files of a flow that calls ``name`` of ``entry``: a tool file and a flow.dag.yaml.

    ``templates``: for a parameter of the function, the template whose rendered text it gets.
    """
    function = _find(folder / entry, name)
    parameters = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    names = [p.arg for p in parameters]
    for fed in templates:
        if fed not in names:
            raise ValidationException(f"{name} has no parameter {fed!r} for a template", hint=nearest_hint(fed, names))
    inputs: dict[str, Any] = {}
    nodes: list[dict[str, Any]] = []
    for fed, file in templates.items():
        variables = _template_variables(folder / file)
        inputs.update({variable: {"type": "string"} for variable in variables})
        node = {"name": fed, "type": "prompt", "source": {"type": "code", "path": file}}
        nodes.append({**node, "inputs": {v: f"${{inputs.{v}}}" for v in variables}})
    values: dict[str, str] = {}
    for parameter in parameters:
        text = _annotation(parameter)
        if parameter.arg in templates:
            values[parameter.arg] = f"${{{parameter.arg}.output}}"
        elif text.endswith("Connection"):
            values[parameter.arg] = f"<name of a connection: {text}>"
        else:
            values[parameter.arg] = f"${{inputs.{parameter.arg}}}"
            inputs.setdefault(parameter.arg, {"type": _TYPES.get(text.partition("[")[0].lower(), "string")})
    tool_file = f"{name}_tool.py"
    nodes.append(
        {"name": f"{name}_tool", "type": "python", "source": {"type": "code", "path": tool_file}, "inputs": values}
    )
    flow = {
        "inputs": inputs,
        "outputs": {"output": {"type": "string", "reference": f"${{{name}_tool.output}}"}},
        "nodes": nodes,
    }
    return {tool_file: _tool_source(Path(entry).stem, function), "flow.dag.yaml": dump_yaml(flow)}


def _find(file: Path, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise UserErrorException(f"Python cannot read it: {error.msg}", location=f"{file}:{error.lineno}") from error
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    if name not in functions:
        raise UserErrorException(f"{file} has no function {name!r}", hint=nearest_hint(name, functions or {"-": None}))
    return functions[name]


def _annotation(parameter: ast.arg) -> str:
    return ast.unparse(parameter.annotation).rpartition(".")[2] if parameter.annotation else "str"


def _tool_source(module: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    arguments = function.args
    passed = [p.arg for p in [*arguments.posonlyargs, *arguments.args]] + [
        f"{p.arg}={p.arg}" for p in arguments.kwonlyargs
    ]
    is_async = isinstance(function, ast.AsyncFunctionDef)
    called = f"{function.name}({', '.join(passed)})"
    # The annotations are left to the YAML: their names live in the user's module.
    plain = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(p.arg) for p in [*arguments.posonlyargs, *arguments.args]],
        kwonlyargs=[ast.arg(p.arg) for p in arguments.kwonlyargs],
        kw_defaults=[None] * len(arguments.kwonlyargs),
        defaults=[],
    )
    return (
        f"from promptflow.core import tool\n\nfrom {module} import {function.name}\n\n\n@tool\n"
        f"{'async ' if is_async else ''}def {function.name}_tool({ast.unparse(plain)}):\n"
        f"    return {'await ' if is_async else ''}{called}\n"
    )


def _template_variables(file: Path) -> list[str]:
    from jinja2 import Environment, TemplateSyntaxError, meta  # 50 ms, only where there is a template

    try:
        return sorted(meta.find_undeclared_variables(Environment(autoescape=True).parse(file.read_text("utf-8"))))
    except TemplateSyntaxError as error:
        raise UserErrorException(f"{error.message}", location=f"{file}:{error.lineno}") from error
