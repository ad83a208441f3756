"""Which files of a model are worth having, and which may do harm: pure functions over names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from catalog.hubinfo import RepoFile
from promptflow.exceptions import ValidationException

WEIGHTS = ("safetensors", "gguf", "onnx")
PICKLE, CODE, TEXT, OTHER = "pickle", "code", "text", "other"
# Loading one of these can run whatever is in it.
_PICKLES = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz", ".h5", ".hdf5", ".keras",
    ".msgpack", ".pdparams", ".nemo", ".mar", ".model.tar", ".tar", ".zip", ".t7",
)  # fmt: skip
_CODE = (".py", ".pyc", ".so", ".dll", ".dylib", ".sh", ".bat", ".ps1", ".exe", ".ipynb", ".js", ".wasm", ".whl")
_TEXT = (
    ".json", ".jsonl", ".txt", ".model", ".tiktoken", ".md", ".jinja", ".spm", ".vocab", ".merges", ".bpe", ".yaml",
    ".yml", ".toml", ".vocab.json", ".tsv",
)  # fmt: skip
_LEGAL = ("license", "licence", "notice", "use_policy", "copying")
# A model in GGUF comes in many sizes of one quality each: the usual compromise, then the next best.
_SIZES = ("q4_k_m", "q4_k_s", "q5_k_m", "q4_0", "q8_0", "bf16", "f16")
_MOST_NAME = 255


def kind(name: str) -> str:
    """ "safetensors", "gguf", "onnx", "pickle", "code", "text" (configuration, tokenizer, card) or "other"."""
    lower = name.lower().rpartition("/")[2]
    if lower.endswith(".safetensors"):
        return "safetensors"
    if lower.endswith(".gguf"):
        return "gguf"
    if lower.endswith((".onnx", ".onnx_data", ".onnx.data")):
        return "onnx"
    if lower.endswith(_PICKLES):
        return PICKLE
    if lower.endswith(_CODE):
        return CODE
    return TEXT if lower.endswith(_TEXT) or lower.startswith(_LEGAL) else OTHER


def formats(files: Sequence[RepoFile]) -> tuple[str, ...]:
    """The kinds of weights that a model has, "pickle" last."""
    found = {kind(file.name) for file in files}
    return tuple(kind for kind in (*WEIGHTS, PICKLE) if kind in found)


@dataclass(frozen=True)
class Wanted:
    """What to take of a model. ``include`` and ``exclude`` are patterns of names; ``format`` one of the weights' kinds.

    ``pickle`` and ``code``: also files that can run what is in them. Only with the user's word.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    format: str = ""
    pickle: bool = False
    code: bool = False


USUAL = Wanted()


@dataclass(frozen=True)
class Choice:
    """The files to take, those left out by why, and a word on each choice that was ours."""

    taken: tuple[RepoFile, ...]
    left_out: Mapping[str, tuple[RepoFile, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def choose(files: Sequence[RepoFile], wanted: Wanted) -> Choice:
    """One format of weights with all that is text; of GGUF one size. Patterns choose otherwise, but nothing that may
    do harm: ValidationException if that leaves no weights."""
    named = [file for file in files if _named(file.name, wanted)]
    second = _second_copies(named)
    usable = formats([file for file in named if kind(file.name) != PICKLE or wanted.pickle])
    format = wanted.format or (usable[0] if usable else "")
    taken: list[RepoFile] = []
    left: dict[str, list[RepoFile]] = {}
    for file in files:
        why = _why_not(file, wanted, format) if file in named else "not asked for"
        why = why or ("other formats" if file in second and not wanted.include else "")
        left.setdefault(why, []).append(file) if why else taken.append(file)
    notes: list[str] = []
    if format == "gguf" and not wanted.include:
        taken, others = _one_size(taken)
        if others:
            left["other sizes"] = others
            notes.append(f"of {_sizes(taken) + _sizes(others)} sizes, {taken[-1].name}; another: --include '*Q8_0*'")
    choice = Choice(tuple(taken), {why: tuple(found) for why, found in left.items()}, tuple(notes))
    _check(choice, wanted)
    return choice


def check_names(files: Sequence[RepoFile]) -> None:
    """Refuse names that lead out of their folder, and names of which one is the folder of another."""
    names = [file.name for file in files]
    for name in names:
        parts = name.split("/")
        if (
            any(part in ("", ".", "..") or len(part.encode(errors="replace")) > _MOST_NAME for part in parts)
            or "\\" in name
            or not name.isprintable()
        ):
            raise ValidationException(
                f"The hub names a file {name!r}, which leads out of the model's folder or is no name.",
                hint="nothing of it was fetched; do not trust this hub",
            )
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents}
    twice = sorted(name for name, count in Counter(names).items() if name in folders or count > 1)
    if twice:
        raise ValidationException(f"The hub names {twice[0]!r} twice.", hint="nothing of it was fetched")


def _named(name: str, wanted: Wanted) -> bool:
    included = not wanted.include or _matches(name, wanted.include)
    # A pattern that chooses weights is no wish to go without their configuration.
    return (included or kind(name) == TEXT) and not _matches(name, wanted.exclude)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern) for pattern in patterns)


def _why_not(file: RepoFile, wanted: Wanted, format: str) -> str:
    found = kind(file.name)
    if found == PICKLE and not wanted.pickle:
        return PICKLE
    if found == CODE and not wanted.code:
        return CODE
    if found in (*WEIGHTS, PICKLE) and found != format and not wanted.include:
        # Training states and the like lie beside weights that are asked for; they stay where they are.
        return "other formats"
    return OTHER if found == OTHER and not _matches(file.name, wanted.include) else ""


def _second_copies(files: Sequence[RepoFile]) -> list[RepoFile]:
    """The weights as their makers' own programs want them, where they are there for everybody else, too."""
    weights = [file for file in files if kind(file.name) == "safetensors"]
    second = [file for file in weights if file.name.startswith(("consolidated", "original/", "metal/"))]
    return second if len(second) < len(weights) else []


def _one_size(files: list[RepoFile]) -> tuple[list[RepoFile], list[RepoFile]]:
    """Of GGUF files one size, all its parts and what goes with it (mmproj); the others apart."""
    models = [file for file in files if kind(file.name) == "gguf" and "mmproj" not in file.name.lower()]
    stems: dict[str, list[RepoFile]] = {}
    for file in models:
        stems.setdefault(_stem(file.name), []).append(file)
    if len(stems) < 2:
        return files, []
    chosen = min(stems, key=lambda stem: (_rank(stem), sum(file.size or 0 for file in stems[stem])))
    others = [file for stem, found in stems.items() for file in found if stem != chosen]
    rest = [file for file in files if file not in models]
    return [*rest, *stems[chosen]], others


def _sizes(files: Sequence[RepoFile]) -> int:
    return len({_stem(file.name) for file in files if kind(file.name) == "gguf" and "mmproj" not in file.name.lower()})


def _stem(name: str) -> str:
    """The name without ``-00001-of-00003``."""
    head, of, _ = name.rpartition("-of-")
    return head.rpartition("-")[0] if of else name


def _rank(name: str) -> int:
    return next((place for place, size in enumerate(_SIZES) if size in name.lower()), len(_SIZES))


def _check(choice: Choice, wanted: Wanted) -> None:
    pickles = choice.left_out.get(PICKLE, ())
    if any(kind(file.name) in (*WEIGHTS, PICKLE) for file in choice.taken):
        return
    if wanted.include and not any(_matches(file.name, wanted.include) for file in choice.taken + pickles):
        raise ValidationException(f"No file is called {' or '.join(wanted.include)}.", hint="pf catalog show --files")
    if wanted.format:
        raise ValidationException(f"The model has no {wanted.format} weights.", hint="pf catalog show --files")
    if pickles:
        raise ValidationException(
            "Its weights are pickles, which can run any code when they are loaded.",
            hint="look for a safetensors version, or take them with --allow-pickle if you trust who made them",
        )
