"""Conda files and curated names as pip's requirements."""

import pytest

from promptflow.exceptions import ValidationException
from serve.endpoints.spec import EnvironmentSpec
from serve.environments.build import packages_of
from serve.environments.conda import from_conda
from serve.environments.curated import from_curated


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("numpy", "numpy"),
        ("numpy=1.26", "numpy==1.26.*"),
        ("numpy=1.26.4", "numpy==1.26.4"),
        ("numpy==1.26", "numpy==1.26"),
        ("numpy = 1.26", "numpy==1.26.*"),
        ("numpy=1.26.*", "numpy==1.26.*"),
        ("numpy>=1.20,<2", "numpy>=1.20,<2"),
        ("numpy 1.26.4", "numpy==1.26.4"),
        ("numpy=1.26.4=py311h64a7726_0", "numpy==1.26.4"),
        ("conda-forge::scikit-learn=1.5", "scikit-learn==1.5.*"),
        ("pytorch=2.13", "torch==2.13.*"),
        ("py-xgboost", "xgboost-cpu"),
        ("numpy=*", "numpy"),
    ],
)
def test_packages_of_conda(line, wanted):
    assert from_conda({"dependencies": [line]}).requirements == (wanted,)


def test_a_whole_file():
    content = {
        "name": "model-env",
        "channels": ["conda-forge"],
        "dependencies": [
            "python=3.9",
            "pip=23.0",
            "numpy=1.26",
            {"pip": ["joblib>=1.2", "azureml-defaults==1.2", "# no"]},
        ],
    }
    packages = packages_of(EnvironmentSpec(conda=content))
    assert packages.requirements == ("numpy==1.26.*", "joblib>=1.2") and packages.python == "3.9"
    assert "azureml-defaults==1.2 is left out" in packages.notes[0]


@pytest.mark.parametrize(
    ("lines", "bounded"),
    [
        (["scikit-learn=1.2.2", "numpy"], True),
        (["pandas=2.0"], True),
        (["scikit-learn=1.5", "numpy"], False),
        (["scikit-learn=1.2.2", "numpy=1.26"], False),
        (["scikit-learn"], False),
    ],
)
def test_packages_of_numpy_1_do_not_get_numpy_2(lines, bounded):
    packages = from_conda({"dependencies": lines})
    assert ("numpy<2" in packages.requirements) is bounded and bool(packages.notes) is bounded


def test_what_pip_cannot_bring_is_named():
    with pytest.raises(ValidationException, match="'cudatoolkit', which is no Python package"):
        from_conda({"dependencies": ["cudatoolkit=11.8"]})
    with pytest.raises(ValidationException, match="is no package"):
        from_conda({"dependencies": ["numpy/1"]})
    with pytest.raises(ValidationException, match="must be a list"):
        from_conda({"dependencies": "numpy"})
    for given in ("numpy", 5, {"numpy": 1}):
        with pytest.raises(ValidationException, match="The 'pip' of conda_file must be a list"):
            from_conda({"dependencies": [{"pip": given}]})


@pytest.mark.parametrize(
    "name", ["AzureML-sklearn-1.0-ubuntu20.04-py38-cpu", "sklearn-1.5", "azureml:AzureML-sklearn-1.5"]
)
def test_curated_names(name):
    assert "scikit-learn" in from_curated(name).requirements


def test_an_unknown_name_says_which_are_known():
    with pytest.raises(ValidationException, match="'mine' is not known here"):
        from_curated("mine")
