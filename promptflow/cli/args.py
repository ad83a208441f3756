"""Arguments that several verbs share, and the argparse actions for `key=value` words."""

from __future__ import annotations

import argparse
import json
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MAX_RESULTS = 50


class KeyValues(argparse.Action):
    """`--flag a=1 b=2`, repeatable: one dict of strings. A pair of quotes around a word or a value is taken off."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: str | Sequence[Any] | None,
        option: str | None = None,
    ) -> None:
        words = [values] if isinstance(values, str) else list(values or ())
        merged = dict(getattr(namespace, self.dest, None) or {})
        try:
            merged.update(self.read(words))
        except ValueError as error:
            raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, merged)

    def read(self, words: list[str]) -> dict[str, Any]:
        return dict(split_pair(word) for word in words)


class KeyValuesOrFile(KeyValues):
    """`--inputs a=1 b=2`, or one `.json` or `.jsonl` file (of a `.jsonl`, the first line)."""

    def read(self, words: list[str]) -> dict[str, Any]:
        if len(words) == 1 and "=" not in words[0]:
            return read_values_file(words[0])
        return super().read(words)


class EnvironmentVariables(KeyValues):
    """`--environment-variables a=1 b=2`, or names of `.env` files; without words, the `.env` file nearest upwards."""

    def read(self, words: list[str]) -> dict[str, Any]:
        import dotenv  # 12 ms, for this flag only

        if not words:
            found = dotenv.find_dotenv(usecwd=True)
            return dict(dotenv.dotenv_values(found)) if found else {}
        values: dict[str, Any] = {}
        for word in words:
            if "=" in word:
                values.update([split_pair(word)])
            elif not word.endswith(".env"):
                raise ValueError(f"expected KEY=VALUE or a .env file, found {word!r}")
            elif not Path(word).is_file():
                raise ValueError(f"there is no file {word}")
            else:
                values.update(dotenv.dotenv_values(word))
        return values


def split_pair(word: str) -> tuple[str, str]:
    key, equals, value = _unquote(word).partition("=")
    if not equals or not key:
        raise ValueError(f"expected KEY=VALUE, found {word!r}")
    return key, _unquote(value)


def read_values_file(name: str) -> dict[str, Any]:
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"there is no file {name}")
    if path.suffix not in (".json", ".jsonl"):
        raise ValueError(f"expected a .json or .jsonl file, found {name}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".jsonl":
            text = next((line for line in text.split("\n") if line.strip()), "")
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} must hold one JSON object, found {type(value).__name__}")
    return value


def add_name(parser: ArgumentParser, what: str) -> None:
    parser.add_argument(
        "-n",
        "--name",
        required=True,
        metavar="NAME",
        help=f"Name of the {what}; a unique prefix, @latest or @latest~1 will do.",
    )


def add_yes(parser: ArgumentParser) -> None:
    parser.add_argument("-y", "--yes", "--assume-yes", action="store_true", help="Answer yes; ask nothing.")


def add_paging(parser: ArgumentParser, default: int = MAX_RESULTS) -> None:
    parser.add_argument(
        "-r",
        "--max-results",
        type=positive,
        default=default,
        metavar="N",
        help=f"How many to show at most ({default}).",
    )
    parser.add_argument("--all-results", action="store_true", help="Show all of them.")


def add_set(parser: ArgumentParser, text: str) -> None:
    parser.add_argument("--set", dest="overrides", action=KeyValues, nargs="+", metavar="PATH=VALUE", help=text)


def add_init(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--init", action=KeyValuesOrFile, nargs="+", metavar="KEY=VALUE",
        help="Arguments of the constructor, for a flex flow whose entry is a class; or one JSON file.",
    )  # fmt: skip


def add_environment_variables(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--environment-variables", action=EnvironmentVariables, nargs="*", metavar="KEY=VALUE",
        help="Environment variables of the flow, or .env files. ${connection.field} is replaced by that field.",
    )  # fmt: skip


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text}")
    return value


def _unquote(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text
