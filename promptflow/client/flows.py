"""`client.flows`: test, validate, save, describe flows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptflow.client.testing import read_inputs, test_flow
from promptflow.workspace import Workspace

if TYPE_CHECKING:
    from promptflow.client.validation import ValidationResult

# What only some verbs need is imported by them: `pf flow test` starts without it.


class FlowOperations:
    """What one can do with a flow that is not a run."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def test(
        self,
        flow: str | PathLike[str] | Callable[..., Any],
        *,
        inputs: Mapping[str, Any] | str | PathLike[str] | None = None,
        variant: str | None = None,
        node: str | None = None,
        environment_variables: Mapping[str, Any] | None = None,
        init: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the flow, or one node, once; see `PFClient.test`. ``streaming=False`` joins generators to text.

        ``cache``: auto, read or refresh; off without it, unless PF_CACHE says otherwise.
        """
        result = test_flow(
            self._workspace,
            flow,
            read_inputs(inputs),
            variant=variant,
            node=node,
            environment_variables=environment_variables,
            init=init,
            code=kwargs.get("code"),
            streaming=kwargs.get("streaming", True),
            output_path=kwargs.get("output_path"),
            cache=kwargs.get("cache"),
        )
        return result.output

    def validate(self, flow: str | PathLike[str], *, raise_error: bool = False, **kwargs: Any) -> ValidationResult:
        """Every error and warning of a flow: its file, its tools. ``raise_error`` raises the errors."""
        from promptflow.client.validation import validate_flow

        return validate_flow(Path(flow), self._workspace, raise_error=raise_error)

    def infer_signature(self, entry: Any, **kwargs: Any) -> dict[str, Any]:
        """Inputs, outputs and init of a function, a class, or a loaded flow, by name, as YAML holds them."""
        from promptflow.client.signature import describe

        return describe(entry, include_primitive_output=kwargs.get("include_primitive_output", False))

    def save(
        self,
        entry: str | Callable[..., Any],
        code: str | PathLike[str] | None = None,
        path: str | PathLike[str] | None = None,
        *,
        python_requirements_txt: str | None = None,
        image: str | None = None,
        signature: Mapping[str, Any] | None = None,
        sample: Mapping[str, Any] | str | PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the flow.flex.yaml of a function or class: into its folder, or with a copy of it into ``path``."""
        from promptflow.client.signature import save_flow

        save_flow(
            entry,
            code=Path(code) if code else None,
            target=Path(path) if path else None,
            requirements=python_requirements_txt,
            image=image,
            signature=signature,
            sample=sample,
        )

    def build(
        self,
        flow: str | PathLike[str],
        *,
        output: str | PathLike[str],
        format: str = "docker",
        variant: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Write a folder to serve the flow from: ``docker``, or with manifests for ``kubernetes`` or ``kserve``."""
        from promptflow.serving.export.build import build_flow

        build_flow(
            Path(flow),
            Path(output),
            format=format,
            variant=variant,
            image=kwargs.get("image", ""),
            flow_only=kwargs.get("flow_only", False),
            workspace=self._workspace,
        )
