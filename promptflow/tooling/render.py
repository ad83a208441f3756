"""Jinja2 templates, always in the sandbox: a prompt is data, and data may come from strangers."""

from __future__ import annotations

import functools
from typing import Any

from promptflow.exceptions import JinjaTemplateError


def render_jinja(template: str, *, trim_blocks: bool = True, keep_trailing_newline: bool = True, **values: Any) -> str:
    """Render ``template``. An undefined name renders as nothing. Raises JinjaTemplateError with the line."""
    return render(template, values, trim_blocks, keep_trailing_newline)


def render(template: str, values: dict[str, Any], trim_blocks: bool = True, keep_trailing_newline: bool = True) -> str:
    """As `render_jinja`, for values whose names could be those of its parameters."""
    import jinja2

    try:
        return str(_compile(template, trim_blocks, keep_trailing_newline).render(values))
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_error(error) from error
    except Exception as error:
        raise JinjaTemplateError(
            f"Failed to render jinja template: {type(error).__name__}: {error}",
            hint="the sandbox refuses access to Python internals"
            if isinstance(error, jinja2.exceptions.SecurityError)
            else "",
        ) from error


def check_template(template: str, file: str = "") -> None:
    """Raise JinjaTemplateError where ``template``, the text of ``file``, does not parse."""
    import jinja2

    try:
        _environment(True, True).parse(template)
    except jinja2.TemplateSyntaxError as error:
        raise _syntax_error(error, file) from error


def template_names(template: str) -> list[str]:
    """The undeclared names of a template, in order of appearance."""
    from jinja2 import TemplateSyntaxError, meta

    try:
        names = meta.find_undeclared_variables(_environment(True, True).parse(template))
    except TemplateSyntaxError as error:
        raise _syntax_error(error) from error
    return sorted(names, key=template.find)


def _syntax_error(error: Any, file: str = "") -> JinjaTemplateError:
    return JinjaTemplateError(
        f"Jinja parsing failed at line {error.lineno}: ({type(error).__name__}) {error.message}",
        location=f"{file}:{error.lineno}" if file else "",
    )


@functools.lru_cache(maxsize=512)
def _compile(template: str, trim_blocks: bool, keep_trailing_newline: bool) -> Any:
    compiled = _environment(trim_blocks, keep_trailing_newline).from_string(template)
    compiled.globals = dict(compiled.globals)  # rendering copies them, which takes longer from jinja2's ChainMap
    return compiled


@functools.cache
def _environment(trim_blocks: bool, keep_trailing_newline: bool) -> Any:
    from jinja2.sandbox import SandboxedEnvironment

    return SandboxedEnvironment(trim_blocks=trim_blocks, keep_trailing_newline=keep_trailing_newline)
