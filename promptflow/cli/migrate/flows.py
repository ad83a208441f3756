"""Verdicts on flows: DAG, flex and prompty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from promptflow.cli.migrate.findings import Entry, Finding, Verdict
from promptflow.cli.migrate.imports import Import
from promptflow.cli.migrate.packages import CLOUD_TOOLS
from promptflow.cli.migrate.python_files import PythonFiles, binds, refused_return, tools_in
from promptflow.contracts.flex import load_flex_file
from promptflow.contracts.flow import Flow, Node, Problem
from promptflow.contracts.flow_yaml import load_flow_file, nearest
from promptflow.contracts.prompty import check as check_front_matter
from promptflow.contracts.prompty import read_prompty_file
from promptflow.contracts.tool import ToolType
from promptflow.exceptions import PackageToolNotFoundError, PromptflowException, UserErrorException
from promptflow.executor.includes import resolve_include
from promptflow.executor.prompty_references import resolve
from promptflow.llm.builtin_tools import BUILTIN_TOOLS
from promptflow.tooling.registry import package_tool
from promptflow.tooling.render import template_names

_RESERVED = {"prompt", "template"}


def check_dag(file: Path, sources: PythonFiles) -> Entry:
    try:
        flow = load_flow_file(file)
    except PromptflowException as error:
        return Entry(str(file), "dag flow", tuple(problems_of(error, file)))
    found = list(_warnings(flow.warnings, file))
    folders = (flow.folder, *_included(flow.folder, flow.additional_includes, file, found))
    nodes = [*flow.nodes, *(n for v in flow.node_variants.values() for n in v.variants.values() if n not in flow.nodes)]
    for node in nodes:
        found += _node(node, file, folders, sources)
    return Entry(str(file), "dag flow", _unique(found), _connections(flow, nodes))


def check_flex(file: Path, sources: PythonFiles) -> Entry:
    try:
        flow = load_flex_file(file)
    except PromptflowException as error:
        return Entry(str(file), "flex flow", tuple(problems_of(error, file)))
    found: list[Finding] = []
    folders = (flow.folder, *_included(flow.folder, flow.additional_includes, file, found))
    module, _, name = flow.entry.partition(":")
    source = _find(folders, module.replace(".", "/") + ".py") or _find(
        folders, module.replace(".", "/") + "/__init__.py"
    )
    if source is None:
        found.append(_edit(file, 0, f"the module {module!r} of the entry is not in the flow's folder", "mend `entry`"))
    else:
        tree = sources.source(source).tree
        if tree is not None and not binds(tree, name.partition(".")[0]):
            found.append(_edit(source, 0, f"it has no {name!r}, which the flow's entry names", "mend `entry`"))
        if tree is not None and (refused := refused_return(tree, name)):
            line, annotation = refused
            message = f"{name} may not return {annotation}: a flow returns text, a number, a dataclass or a TypedDict"
            found.append(_edit(source, line, message, "annotate it with a TypedDict, or leave the annotation out"))
        found += sources.closure(source, folders)
    return Entry(str(file), "flex flow", _unique(found))


def check_prompty(file: Path) -> Entry:
    try:
        prompty = read_prompty_file(file)
        data = resolve(prompty.data, file.parent)
    except PromptflowException as error:
        return Entry(str(file), "prompty", tuple(problems_of(error, file)))
    errors, warnings = check_front_matter(data, prompty.marks.at)
    found = [_edit(file, problem.line, problem.message, problem.hint) for problem in errors]
    found += _warnings(warnings, file)
    found += _template(file, prompty.template)
    model = data.get("model")
    configuration = model.get("configuration") if isinstance(model, dict) else None
    connection = configuration.get("connection") if isinstance(configuration, dict) else None
    names = (connection,) if isinstance(connection, str) else ()
    return Entry(str(file), "prompty", _unique(found), names)


def problems_of(error: PromptflowException, file: Path) -> Iterator[Finding]:
    """One finding per problem that an error holds."""
    problems: tuple[Problem, ...] = getattr(error, "problems", ())
    for problem in problems:
        yield _edit(file, problem.line, problem.message, problem.hint)
    if not problems:
        yield _edit(file, line_of(error.location), error.message, error.hint)


def line_of(location: str) -> int:
    """The line in `file:line:column`, 0 where there is none."""
    numbers = [part for part in location.partition(" ")[0].split(":")[1:] if part.isdigit()]
    return int(numbers[0]) if numbers else 0


def _node(node: Node, file: Path, folders: tuple[Path, ...], sources: PythonFiles) -> Iterator[Finding]:
    source = node.source
    if node.module:
        yield from sources.judge([Import(node.module, (), node.line, False)], file)
    if source is None:
        return
    if node.type is ToolType.LLM and not node.connection:
        yield _edit(file, node.line, f"node {node.name} has no connection", "add connection: NAME")
    if source.tool:
        yield from _package_tool(node, source.tool, file)
    if not source.path or source.type == "flow":
        return
    path = _find(folders, source.path)
    if path is None:
        yield _edit(file, node.line, f"node {node.name}: there is no file {source.path}", "mend source.path")
    elif path.suffix == ".py" and node.type in (ToolType.PYTHON, None):
        yield from sources.closure(path, folders)
        tree = sources.source(path).tree
        names = tools_in(tree) if tree is not None else ["?"]
        if len(names) != 1:
            message = f"it has {len(names)} functions under @tool, node {node.name} needs one"
            yield _edit(path, 0, message, "put @tool above the node's function, and above no other")
    elif node.type in (ToolType.PROMPT, ToolType.LLM, ToolType.CUSTOM_LLM):
        found = list(_template(path))
        yield from found or _names_in_template(node, path, file)


def _names_in_template(node: Node, path: Path, file: Path) -> Iterator[Finding]:
    """Names that the tool itself has may not be a template's as well."""
    if node.type is ToolType.PROMPT:
        clash = _RESERVED & set(template_names(path.read_text(encoding="utf-8")))
    else:
        clash = _RESERVED & node.inputs.keys() if node.type is ToolType.LLM else set()
    if clash:
        message = f"node {node.name}: the names {', '.join(sorted(clash))} are the tool's own"
        yield _edit(file, node.line, message, "rename them in the template and in the node's inputs")


def _package_tool(node: Node, tool_id: str, file: Path) -> Iterator[Finding]:
    where = f"node {node.name}: "
    for prefix, (message, fix) in CLOUD_TOOLS.items():
        if tool_id.startswith(prefix):
            yield _edit(file, node.line, f"{where}{tool_id}: {message}", fix)
            return
    try:
        found = package_tool(tool_id)
    except PackageToolNotFoundError:
        if tool_id.startswith("promptflow."):
            hint = nearest(tool_id, BUILTIN_TOOLS) or "`pf tool list -o quiet` shows the tools there are"
            yield _edit(file, node.line, f"{where}there is no tool {tool_id}", hint)
            return
        package = tool_id.partition(".")[0].replace("_", "-")
        message = f"{where}no installed package has the tool {tool_id}"
        yield Finding(str(file), node.line, Verdict.WARNING, message, f"pip install {package}", package)
        return
    if found.id != tool_id:
        message = f"{where}the tool {tool_id} is called {found.id} now"
        yield Finding(str(file), node.line, Verdict.WARNING, message, f"write tool: {found.id}")


def _template(file: Path, text: str | None = None) -> Iterator[Finding]:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import SandboxedEnvironment

    try:
        SandboxedEnvironment().parse(file.read_text(encoding="utf-8") if text is None else text)
    except TemplateSyntaxError as error:
        line = error.lineno if text is None else 0
        yield _edit(file, line, f"the template has an error: {error.message}", "mend the template")
    except (OSError, UnicodeDecodeError) as error:
        yield _edit(file, 0, f"the template cannot be read: {error}", "save it as UTF-8")


def _included(folder: Path, includes: tuple[str, ...], file: Path, found: list[Finding]) -> list[Path]:
    """Folders in which included files are found; an include that is not there becomes a finding."""
    folders = []
    for include in includes:
        try:
            path = resolve_include(folder, include)
        except UserErrorException as error:
            found.append(_edit(file, 0, error.message, "mend additional_includes"))
        else:
            folders.append(path.parent)
    return folders


def _find(folders: tuple[Path, ...], name: str) -> Path | None:
    return next((path for folder in folders if (path := folder / name).is_file()), None)


def _connections(flow: Flow, nodes: list[Node]) -> tuple[str, ...]:
    names = {node.connection for node in nodes if node.connection}
    names |= {v for n in nodes for k, v in n.inputs.items() if "connection" in k and isinstance(v, str) and v}
    return tuple(sorted(names - {"local"}))


def _warnings(warnings: Any, file: Path) -> Iterator[Finding]:
    for problem in warnings:
        yield Finding(str(file), problem.line, Verdict.WARNING, problem.message, problem.hint or "remove the key")


def _edit(file: Path, line: int, message: str, fix: str) -> Finding:
    return Finding(str(file), line, Verdict.EDIT, message, fix)


def _unique(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(findings))
