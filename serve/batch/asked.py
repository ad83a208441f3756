"""A job as Azure's REST API asks for it: ``properties`` with InputData, OutputData and settings, in any case."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from promptflow.exceptions import ValidationException
from promptflow.workspace import Workspace
from promptflow.workspace.urls import is_url
from serve.batch.deployment_file import read_settings, settings_document
from serve.batch.inputs import FILE, FOLDER, TABLE, Input, resolve_input
from serve.batch.records import OUTPUT, BatchDeployment
from serve.batch.submit import Request
from serve.endpoints.spec import FLOW

_TYPES = {"urifolder": FOLDER, "urifile": FILE, "mltable": TABLE, "literal": "literal"}
_SETTINGS = {
    "minibatchsize": "mini_batch_size",
    "maxconcurrencyperinstance": "max_concurrency_per_instance",
    "errorthreshold": "error_threshold",
    "outputfilename": "output_file_name",
    "outputaction": "output_action",
    "logginglevel": "logging_level",
}
_RETRIES = {"maxretries": "max_retries", "timeout": "timeout"}
_WORDS = ("name", "displayname", "experimentname", "description")
_IGNORED = ("compute", "resources", "instancecount", "properties", "description", "partitionkeys")
_KNOWN = (*_SETTINGS, *_WORDS, *_IGNORED, "inputdata", "outputdata", "retrysettings", "tags")


def read_request(properties: Mapping[str, Any], deployment: BatchDeployment, workspace: Workspace) -> Request:
    """What is asked of a deployment. ValidationException says what is wrong with it, and where."""
    found = _lower(properties, "properties")
    unknown = [key for key in properties if _plain(key) not in _KNOWN]
    if unknown:
        raise ValidationException(f"properties.{unknown[0]} is not known.", hint="InputData, OutputData, ...")
    given, words = _inputs(_lower(found.get("inputdata"), "properties.InputData"), deployment, workspace)
    folder, file = _output(_lower(found.get("outputdata"), "properties.OutputData"))
    own = {ours: found[key] for key, ours in _SETTINGS.items() if found.get(key) is not None}
    retry = _lower(found.get("retrysettings"), "properties.RetrySettings")
    before = settings_document(deployment.settings)
    if retry:
        told = {ours: _seconds(retry[key]) for key, ours in _RETRIES.items() if key in retry}
        own["retry_settings"] = {**before["retry_settings"], **told}
    own |= {"output_file_name": file} if file else {}
    own |= {key: str(own[key]).lower() for key in ("logging_level",) if key in own}
    settings = read_settings({**before, **own})
    name, display_name, experiment = (_text(found, key) for key in _WORDS[:3])
    tags = {str(key): str(value) for key, value in _mapping(found.get("tags"), "properties.tags").items()}
    type_ = FILE if file else FOLDER
    return Request(given, settings, words, folder, name, experiment, display_name, tags, type_)


def _inputs(
    listed: Mapping[str, Any], deployment: BatchDeployment, workspace: Workspace
) -> tuple[Input, dict[str, str]]:
    """The one input that is data, and the words for a flow's inputs."""
    data, words = [], {}
    for key, value in listed.items():
        where = f"properties.InputData.{key}"
        one = _lower(value, where)
        if _type(one, "jobinputtype", where) == "literal":
            words[key] = str(one.get("value", ""))
        else:
            data.append(_data(one, where, workspace))
    if len(data) != 1:
        what = "there is none" if not data else f"there are {len(data)}"
        raise ValidationException(
            f"A job goes through one input, and {what}.",
            hint='"InputData": {"data": {"JobInputType": "UriFolder", "Uri": "/a/folder"}}',
        )
    if words and deployment.spec.kind != FLOW:
        raise ValidationException(f"Only a flow has inputs of its own, such as {next(iter(words))}.")
    return data[0], words


def _data(one: Mapping[str, Any], where: str, workspace: Workspace) -> Input:
    uri = one.get("uri")
    if not isinstance(uri, str) or not uri:
        raise ValidationException(f"{where} has no Uri.")
    if not is_url(uri) and ":" not in uri.partition("/")[0] and not os.path.isabs(uri):
        raise ValidationException(f"{where}.Uri is {uri!r}, a relative path.", hint="the whole path, or a url")
    return resolve_input(uri, _type(one, "jobinputtype", where), workspace=workspace)


def _output(listed: Mapping[str, Any]) -> tuple[str, str]:
    """The folder and the name of the file of the output; empty: the job's own."""
    if not listed:
        return "", ""
    if [*listed] != [OUTPUT]:
        raise ValidationException(f"A job has one output, {OUTPUT}.", hint=f'"OutputData": {{"{OUTPUT}": ...}}')
    where = f"properties.OutputData.{OUTPUT}"
    one = _lower(listed[OUTPUT], where)
    uri = one.get("uri")
    if not isinstance(uri, str) or not uri:
        return "", ""
    path = uri.removeprefix("file://")
    if not is_url(uri) and not os.path.isabs(path) and not uri.startswith("azureml:"):
        raise ValidationException(f"{where}.Uri is {uri!r}, a relative path.", hint="the whole path of a folder")
    if _type(one, "joboutputtype", where) == FILE:
        return os.path.split(path)
    return uri, ""


def _type(one: Mapping[str, Any], key: str, where: str) -> str:
    given = one.get(key)
    if given is None:
        return ""
    found = _TYPES.get(_plain(str(given)))
    if found is None:
        raise ValidationException(f"{where} is of type {given!r}.", hint="UriFolder, UriFile, MLTable or Literal")
    return found


def _seconds(value: Any) -> Any:
    """A number, or a duration as ISO 8601 has it: ``PT30S``."""
    text = str(value)
    if not text.startswith("PT"):
        return value
    total, number = 0.0, ""
    for letter in text[2:]:
        if letter.isdecimal() or letter == ".":
            number += letter
        elif letter in "HMS" and number:
            total, number = total + float(number) * {"H": 3600, "M": 60, "S": 1}[letter], ""
        else:
            return value
    return value if number else total


def _text(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    if value is not None and not isinstance(value, str):
        raise ValidationException(f"properties.{key} is {value!r}, and is a text.")
    return value or ""


def _lower(value: Any, where: str) -> dict[str, Any]:
    """Its keys are read in any case, but for the names of inputs and outputs."""
    named = where.endswith("Data")
    return {str(key) if named else _plain(key): one for key, one in _mapping(value, where).items()}


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValidationException(f"{where} is {str(value)[:80]!r}, and is a mapping.")
    return value


def _plain(key: Any) -> str:
    return str(key).replace("_", "").lower()
