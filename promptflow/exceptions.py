"""The one error tree.

PromptflowException
├── UserErrorException                    the user can mend it: one sentence, no traceback
│   ├── ValidationException               a file, an argument or a value is wrong
│   │   ├── FlowFileError                 all errors of one YAML file at once, each with file:line:column
│   │   ├── InvalidFlowRequest
│   │   │   ├── DuplicateNodeName · NodeCircularDependency · NodeReferenceNotFound · InvalidNodeReference
│   │   │   ├── InputReferenceNotFound · OutputReferenceNotFound · EmptyOutputReference
│   │   │   └── InputNotFound · InputTypeError · InputParseError · NodeInputValidationError
│   │   ├── InvalidSource · PackageToolNotFoundError · DuplicateToolMappingError · ToolValidationError
│   │   ├── InvalidFlowError · InvalidCustomLLMTool · InvalidFlexFlowEntry · InvalidImageInput
│   │   ├── ApplyInputMappingError · EmptyInputsData · MissingRequiredFlowInput
│   │   └── BadRequest                    JsonPayloadRequiredForMultipleInputFields · NotAcceptable · PayloadTooLarge …
│   ├── NodeReferenceError                UnsupportedReference · InvalidReferenceProperty
│   ├── ToolLoadError                     a tool file cannot be imported
│   ├── ToolExecutionError                user code in a node raised
│   ├── FlexFlowExecutionError            user code in a flex flow raised
│   ├── NodeTimeoutError · LineExecutionTimeoutError · BatchExecutionTimeoutError · WorkerDiedError
│   ├── FailedToImportModule · FlowEntryInitializationError · InvalidAggregationFunction · SingleNodeValidationError
│   ├── CoreError                         ConnectionNotFoundError · InvalidConnectionError · MissingRequiredInputError
│   │                                     GenerateFlowMetaJsonError · ChatAPIInvalidRoleError · JinjaTemplateError …
│   ├── LLMError · WrappedOpenAIError     the model's server said no
│   ├── RunExistsError · RunNotFoundError · RunOperationError
│   ├── ReplayMiss · TapeError            a replay needs what its tape does not hold; a tape is damaged
│   ├── WorkspaceError                    folder, database or disk: unreadable, full, newer, gone
│   ├── ResolveToolError                  a node's tool could not be loaded; its codes follow the inner error
│   └── MissingExtraError                 an optional dependency is not installed
└── SystemErrorException                  ours: shown with its traceback
"""

from __future__ import annotations

import os
import re
import string
from enum import StrEnum
from typing import Any

_TWO_STOPS = re.compile(r"(?<!\.)\.\.$")  # and not three, which are no mistake


class ErrorTarget(StrEnum):
    """The part of the system an error comes from."""

    EXECUTOR = "Executor"
    BATCH = "Batch"
    CORE = "Core"
    FLOW_EXECUTOR = "FlowExecutor"
    NODE_EXECUTOR = "NodeExecutor"
    TOOL = "Tool"
    AZURE_RUN_STORAGE = "AzureRunStorage"
    RUNTIME = "Runtime"
    UNKNOWN = "Unknown"
    RUN_TRACKER = "RunTracker"
    RUN_STORAGE = "RunStorage"
    CONTROL_PLANE_SDK = "ControlPlaneSDK"
    SERVING_APP = "ServingApp"
    FLOW_INVOKER = "FlowInvoker"
    FUNCTION_PATH = "FunctionPath"


class PromptflowException(Exception):
    """Base of every error of this package.

    ``location`` is ``file:line:column`` (or a node, or a row), ``hint`` is what to do; both are shown by the CLI
    and kept in error records, and are empty where they would say nothing.
    """

    default_target = ErrorTarget.UNKNOWN
    http_status = 500

    def __init__(
        self,
        message: str = "",
        message_format: str = "",
        target: ErrorTarget | str | None = None,
        module: str | None = None,
        privacy_info: list[str] | None = None,
        *,
        location: str = "",
        hint: str = "",
        **kwargs: Any,
    ) -> None:
        self.target: ErrorTarget | str = self.default_target if target is None else target
        self.module = module
        self.message_format = message_format
        self.location = location
        self.hint = hint
        self._error = kwargs.get("error")
        self._parameters = kwargs
        if not message:
            message = message_format.format(**self.message_parameters) if message_format else type(self).__name__
        # What it tells of another error often ends with a full stop of its own.
        self.message = _TWO_STOPS.sub(".", str(message))
        super().__init__(self.message)

    @property
    def message_parameters(self) -> dict[str, Any]:
        """The values that ``message_format`` names; one that was not given shows as ``<name>``."""
        if not self._parameters or not self.message_format:
            return {}
        names = {name for _, name, _, _ in string.Formatter().parse(self.message_format) if name}
        return {name: self._parameters.get(name, f"<{name}>") for name in names}

    @property
    def reference_code(self) -> str:
        target = self.target.value if isinstance(self.target, ErrorTarget) else str(self.target)
        return f"{target}/{self.module}" if self.module else target

    @property
    def inner_exception(self) -> BaseException | None:
        return self._error if isinstance(self._error, BaseException) else self.__cause__

    @property
    def additional_info(self) -> dict[str, Any] | None:
        """Extra facts by type, such as ``{"ToolExecutionErrorDetails": {...}}``."""
        return None

    @property
    def error_codes(self) -> list[str]:
        """The codes from the root down, such as ``["UserError", "ValidationError", "InvalidSource"]``."""
        return class_codes(type(self))

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders; an inner error that cannot be pickled must not stop them.
        return (_rebuild, (type(self), self.message, dict(target=self.target, module=self.module, hint=self.hint)))


def _rebuild(cls: type[PromptflowException], message: str, fields: dict[str, Any]) -> PromptflowException:
    error = cls.__new__(cls)
    PromptflowException.__init__(error, message, **fields)
    return error


def class_codes(cls: type[BaseException]) -> list[str]:
    """Error codes of a class, root first: class names without the ``Exception`` suffix."""
    codes = []
    for base in cls.__mro__:
        if base in (PromptflowException, Exception, BaseException, object):
            break
        codes.append(
            {"UserErrorException": "UserError", "SystemErrorException": "SystemError"}.get(base.__name__)
            or base.__name__.removesuffix("Exception")
        )
    return codes[::-1]


class UserErrorException(PromptflowException):
    """Something the user can mend."""

    http_status = 400


class SystemErrorException(PromptflowException):
    """Something that is our fault."""


class ValidationException(UserErrorException):
    """A file, an argument or a value is not valid."""


# -- files and graphs ---------------------------------------------------------------------------------------------
class YamlParseError(ValidationException):
    """A YAML file cannot be read: syntax, tabs, encoding."""


class FlowFileError(ValidationException):
    """Every error of one flow file; ``problems`` holds one entry each."""

    def __init__(self, message: str = "", *, problems: tuple[Any, ...] = (), **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.problems = problems


class InvalidFlowRequest(ValidationException):
    default_target = ErrorTarget.FLOW_EXECUTOR


class NodeInputValidationError(InvalidFlowRequest): ...


class DuplicateNodeName(InvalidFlowRequest): ...


class EmptyOutputReference(InvalidFlowRequest): ...


class OutputReferenceNotFound(InvalidFlowRequest): ...


class InputReferenceNotFound(InvalidFlowRequest): ...


class InputNotFound(InvalidFlowRequest): ...


class InputTypeError(InvalidFlowRequest): ...


class InputParseError(InvalidFlowRequest): ...


class InvalidConnectionType(InvalidFlowRequest): ...


class NodeReferenceNotFound(InvalidFlowRequest): ...


class NodeCircularDependency(InvalidFlowRequest): ...


class InvalidNodeReference(InvalidFlowRequest): ...


class InvalidFlowError(ValidationException): ...


class FlowDefinitionError(UserErrorException): ...


class FlowPathNotFound(UserErrorException): ...


class NodeReferenceError(UserErrorException):
    default_target = ErrorTarget.FLOW_EXECUTOR


class UnsupportedReference(NodeReferenceError): ...


class InvalidReferenceProperty(NodeReferenceError): ...


class OutputReferenceNotExist(NodeReferenceError): ...


class NodeOutputNotFound(UserErrorException): ...


class SingleNodeValidationError(UserErrorException): ...


class ExpressionError(ValidationException):
    """A condition (``activate.when``) cannot be parsed or evaluated."""


# -- tools ----------------------------------------------------------------------------------------------------------
class InvalidSource(ValidationException): ...


class PackageToolNotFoundError(ValidationException): ...


class DuplicateToolMappingError(ValidationException): ...


class ToolValidationError(ValidationException): ...


class OverrideError(InvalidFlowError):
    """An override names a node or an input that the flow does not have."""


class InvalidCustomLLMTool(ValidationException): ...


class InvalidAssistantTool(ValidationException): ...


class ValueTypeUnresolved(ValidationException): ...


class MissingRequiredInputs(ValidationException): ...


class NotSupported(UserErrorException): ...


class FailedToImportModule(UserErrorException): ...


class ToolLoadError(UserErrorException):
    default_target = ErrorTarget.TOOL


class NoToolDefined(ToolLoadError): ...


class MultipleToolsDefined(ToolLoadError): ...


class EmptyLLMApiMapping(UserErrorException): ...


class ResolveToolError(UserErrorException):
    """Loading a node's tool failed. Its codes follow the inner error, so that a user's mistake counts as one."""

    default_target = ErrorTarget.EXECUTOR

    def __init__(self, *, node_name: str, error: BaseException | None = None, **kwargs: Any) -> None:
        self.node_name = node_name
        inner = f"({type(error).__name__}) {error}" if error is not None else ""
        kwargs.setdefault("location", getattr(error, "location", ""))
        kwargs.setdefault("hint", getattr(error, "hint", ""))
        super().__init__(f"Tool load failed in '{node_name}': {inner}", error=error, **kwargs)

    @property
    def error_codes(self) -> list[str]:
        inner = self.inner_exception
        if isinstance(inner, PromptflowException):
            return [inner.error_codes[0], "ResolveToolError", *inner.error_codes[1:]]
        return ["UserError", "ResolveToolError", type(inner).__name__]


class _UserCodeError(UserErrorException):
    """User code raised. ``info`` says what, and in which of the user's files and lines."""

    default_target = ErrorTarget.TOOL
    info_type = ""

    def __init__(self, message: str = "", *, error: BaseException | None = None, name: str = "", **kwargs: Any) -> None:
        self.info = _user_frames(error, name) if error is not None else {}
        filename, lineno = self.info.get("filename"), self.info.get("lineno")
        if filename and lineno:
            kwargs.setdefault("location", _in_own_file(error) or f"{filename}:{lineno}")
        super().__init__(message, error=error, **kwargs)

    @property
    def additional_info(self) -> dict[str, Any] | None:
        return {self.info_type: self.info} if self.info else None


class ToolExecutionError(_UserCodeError):
    """The code of a node raised; ``node_name`` says which."""

    info_type = "ToolExecutionErrorDetails"

    def __init__(
        self, *, node_name: str, module: str | None = None, error: BaseException | None = None, **kwargs: Any
    ) -> None:
        self.node_name = node_name
        if error is not None:
            kwargs.setdefault("message", f"Execution failure in '{node_name}': ({type(error).__name__}) {error}")
        super().__init__(error=error, name=node_name, module=module, **kwargs)


class FlexFlowExecutionError(_UserCodeError):
    """The code of a flex flow raised."""

    info_type = "FlexFlowExecutionErrorDetails"

    def __init__(self, *, flow_name: str, error: BaseException | None = None, **kwargs: Any) -> None:
        if error is not None:
            kwargs.setdefault("message", f"Execution failure in '{flow_name}': ({type(error).__name__}) {error}")
        super().__init__(error=error, name=flow_name, **kwargs)


def _user_frames(error: BaseException, name: str) -> dict[str, Any]:
    """Where ``error`` was raised, seen from the user's code: our own frames are left out."""
    import traceback

    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if "/promptflow/" not in f.filename.replace("\\", "/")
    ]
    last = frames[-1] if frames else None
    text = (
        "Traceback (most recent call last):\n"
        + "".join(traceback.format_list(frames))
        + f"{type(error).__name__}: {error}\n"
    )
    return {
        "type": type(error).__name__,
        "message": str(error),
        "filename": last.filename if last else None,
        "lineno": last.lineno if last else None,
        "node_name": name,
        "traceback": text[-20_000:],
    }


def _in_own_file(error: BaseException | None) -> str:
    """``file:line`` of the innermost frame that is neither ours nor of an installed package."""
    place, at = "", error.__traceback__ if error is not None else None
    library = os.path.dirname(os.__file__)
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        if not file.startswith(("<", library)) and "site-packages" not in file and os.path.isabs(file):
            inside = f"{os.sep}promptflow{os.sep}" in file
            place = place if inside else f"{file}:{at.tb_lineno}"
        at = at.tb_next
    return place


class NodeTimeoutError(UserErrorException):
    default_target = ErrorTarget.NODE_EXECUTOR


class LineExecutionTimeoutError(UserErrorException): ...


class BatchExecutionTimeoutError(UserErrorException): ...


class WorkerDiedError(UserErrorException):
    """A worker process died; ``what`` says which. ``cause``: a signal or an exit code, its last output.

    ``killed``: by a signal that its own code seldom sends: the system, out of memory, or somebody.
    """

    default_target = ErrorTarget.EXECUTOR

    def __init__(
        self, cause: str = "", *, killed: bool = False, what: str = "A process of the flow's code", **kwargs: Any
    ) -> None:
        super().__init__(f"{what} died: {cause}", **kwargs)
        self.cause = cause
        self.killed = killed


class FlowOutputUnserializable(UserErrorException): ...


# -- flex, prompty, models ------------------------------------------------------------------------------------------
class CoreError(UserErrorException):
    default_target = ErrorTarget.CORE


class GenerateFlowMetaJsonError(CoreError): ...


class FlowEntryInitializationError(UserErrorException): ...


class InvalidFlexFlowEntry(ValidationException): ...


class InvalidModelConfigValueType(ValidationException): ...


class InvalidAggregationFunction(UserErrorException): ...


class RequiredEnvironmentVariablesNotSetError(CoreError): ...


class MissingRequiredFlowInput(ValidationException): ...


class BadRequest(ValidationException):
    """A request to a served flow cannot be answered as it is."""

    default_target = ErrorTarget.SERVING_APP


class JsonPayloadRequiredForMultipleInputFields(BadRequest): ...


class MultipleStreamOutputFieldsNotSupported(BadRequest): ...


class InvalidFlowInitConfig(BadRequest): ...


class NotAcceptable(BadRequest):
    http_status = 406


class PayloadTooLarge(BadRequest):
    http_status = 413


class MissingRequiredInputError(CoreError): ...


class InvalidOutputKeyError(CoreError): ...


class InvalidSampleError(CoreError): ...


class InvalidConnectionError(CoreError): ...


class ConnectionNotFoundError(CoreError): ...


ConnectionNotFound = ConnectionNotFoundError


class UnknownConnectionType(UserErrorException): ...


class UnsupportedConnectionAuthType(UserErrorException): ...


class ConnectionClassNotFoundError(ValidationException): ...


class JinjaTemplateError(CoreError): ...


class ChatAPIInvalidRoleError(CoreError): ...


class ChatAPIFunctionRoleInvalidFormatError(CoreError): ...


class ChatAPIToolRoleInvalidFormatError(CoreError): ...


class _ChatToolError(ToolValidationError):
    """A chat prompt or parameter is wrong; a node and a prompty name the same mistake by two classes each."""

    default_target = ErrorTarget.TOOL

    @property
    def error_codes(self) -> list[str]:
        return ["UserError", "ToolValidationError", type(self).__name__]


class ChatAPIInvalidRole(_ChatToolError, ChatAPIInvalidRoleError): ...


class ChatAPIFunctionRoleInvalidFormat(_ChatToolError, ChatAPIFunctionRoleInvalidFormatError): ...


class ChatAPIToolRoleInvalidFormat(_ChatToolError, ChatAPIToolRoleInvalidFormatError): ...


class ChatAPIInvalidFunctions(_ChatToolError): ...


class ChatAPIInvalidTools(_ChatToolError): ...


class ChatAPIInvalidMessage(_ChatToolError): ...


class FunctionCallNotSupportedInStreamMode(_ChatToolError): ...


class InvalidModelConnection(_ChatToolError, InvalidConnectionType):
    """A call to a model got a connection of a kind that it cannot use."""

    @property
    def error_codes(self) -> list[str]:
        return ["UserError", "ToolValidationError", "InvalidConnectionType"]


class LLMError(UserErrorException):
    """A call to a model failed for a reason that its server did not give."""

    default_target = ErrorTarget.TOOL


class WrappedOpenAIError(UserErrorException):
    """The model's server answered with an error, or not at all.

    ``status_code`` is its HTTP status, 0 when it gave none; ``kind`` is the name that OpenAI's SDK has for it.
    """

    default_target = ErrorTarget.TOOL
    status_code = 0
    kind = ""

    def __init__(self, message: str = "", *, status_code: int = 0, kind: str = "", **kwargs: Any) -> None:
        super().__init__(message, **kwargs)
        self.status_code = status_code
        self.kind = kind

    @property
    def error_codes(self) -> list[str]:
        return ["UserError", "OpenAIError", self.kind] if self.kind else super().error_codes


class ExceedMaxRetryTimes(WrappedOpenAIError):
    """The model's server kept failing, however often it was asked again."""


class SerpAPIUserError(UserErrorException):
    default_target = ErrorTarget.TOOL


class SerpAPISystemError(SystemErrorException):
    default_target = ErrorTarget.TOOL


class AzureContentSafetyInputValueError(UserErrorException):
    default_target = ErrorTarget.TOOL


class AzureContentSafetySystemError(SystemErrorException):
    default_target = ErrorTarget.TOOL


class OpenModelLLMUserError(UserErrorException):
    default_target = ErrorTarget.TOOL


class InvalidImageInput(ValidationException): ...


class LoadMultimediaDataError(UserErrorException): ...


class InvalidMessageFormatType(UserErrorException): ...


# -- batch and runs ---------------------------------------------------------------------------------------------------
class ApplyInputMappingError(ValidationException):
    default_target = ErrorTarget.BATCH


class InputMappingError(ApplyInputMappingError): ...


class EmptyInputsData(ValidationException):
    default_target = ErrorTarget.BATCH


class DataFileError(ValidationException):
    """A data file cannot be read: where and why."""

    default_target = ErrorTarget.BATCH


class BulkRunException(UserErrorException):
    """Lines of a run failed."""

    default_target = ErrorTarget.BATCH


class RunOperationError(UserErrorException): ...


class RunExistsError(RunOperationError): ...


class RunNotFoundError(RunOperationError): ...


class InvalidRunStatusError(RunOperationError): ...


class RunGoesOnError(RunOperationError):
    """Another process works on the run."""


class FlowChangedError(RunOperationError):
    """A run cannot go on, because its flow or its data are not what they were."""


class InvalidRunError(RunOperationError): ...


class RunArgumentError(ValidationException, ValueError):
    """Arguments of a run that do not go together; a ValueError too, as it used to be."""


class ReplayMiss(UserErrorException):
    """A replay was asked for a call that is not on its tape, or for a connection. No call was made."""


class ReplayConnectionError(ReplayMiss, ConnectionError):
    """A replay refused a connection; a ConnectionError too, so that whoever tried closes the socket."""


class TapeError(ValidationException):
    """A tape cannot be read, or is damaged."""


class PathNotFoundError(ValidationException, FileNotFoundError):
    """A path given by the user is not there; a FileNotFoundError too, as it used to be."""


# -- workspace -------------------------------------------------------------------------------------------------------
class WorkspaceError(UserErrorException):
    """The workspace cannot be used: unreadable, read-only, full, newer than this program, or its database is away."""


class WorkspaceVersionError(WorkspaceError): ...


class StoreError(WorkspaceError): ...


class SecretError(WorkspaceError): ...


class MissingExtraError(UserErrorException):
    """An optional dependency is missing; the hint holds the ``pip install`` line."""


class UnexpectedError(SystemErrorException): ...


def error_to_dict(error: BaseException, include_debug_info: bool = False) -> dict[str, Any]:
    """An error as the JSON that run records, ``error.json`` and responses hold.

    Format: Microsoft REST API guidelines, "error condition responses": message, code, innerError, additionalInfo.
    """
    ours = isinstance(error, PromptflowException)
    codes = error.error_codes if isinstance(error, PromptflowException) else ["SystemError", type(error).__name__]
    inner: dict[str, Any] | None = None
    for code in reversed(codes[1:]):
        inner = {"code": code, "innerError": inner}
    result: dict[str, Any] = {
        "message": str(error),
        "messageFormat": error.message_format if isinstance(error, PromptflowException) else "",
        "messageParameters": {k: str(v) for k, v in error.message_parameters.items()}
        if isinstance(error, PromptflowException)
        else {},
        "referenceCode": error.reference_code if isinstance(error, PromptflowException) else "Unknown",
        "code": codes[0],
        "innerError": inner,
    }
    if ours and isinstance(error, PromptflowException) and error.additional_info:
        result["additionalInfo"] = [{"type": k, "info": v} for k, v in error.additional_info.items()]
    if include_debug_info:
        import traceback

        result["debugInfo"] = {
            "type": type(error).__qualname__,
            "message": str(error),
            "stackTrace": "".join(traceback.format_exception(error))[-20_000:],
        }
    return result
