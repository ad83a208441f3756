"""Engines that need a Python environment of their own: which packages, where they are kept, how they get there."""

from __future__ import annotations

from serve.installs.build import InstallError, install
from serve.installs.driver import cuda_of_driver
from serve.installs.kept import Install, Installs
from serve.installs.recipes import Recipe, cpu_recipe, gpu_recipe

__all__ = ["Install", "InstallError", "Installs", "Recipe", "cpu_recipe", "cuda_of_driver", "gpu_recipe", "install"]
