"""`import bintally` costs nothing, its names load lazily, and counting stays free of what it does not need."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import bintally
from tests.conftest import ROOT

SOURCE = ROOT / "src" / "bintally"


def _loaded_by(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter holds after `code`."""
    program = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    return set(ended.stdout.split())


HEAVY = {"torch", "lightning", "timm", "polars", "pydantic", "fastapi", "matplotlib", "obstore", "jinja2", "moto"}


def test_importing_the_package_loads_nothing_of_weight() -> None:
    loaded = _loaded_by("import bintally")
    assert not loaded & (HEAVY | {"numpy", "onnxruntime", "PIL", "typer", "rich", "msgspec"})
    assert {name for name in loaded if name.startswith("bintally.")} == set()


def test_counting_loads_only_what_it_needs() -> None:
    loaded = _loaded_by("from bintally.counting.batch import count\nfrom bintally import Counter")
    assert "onnxruntime" in loaded
    assert not loaded & HEAVY
    assert not loaded & {"rich", "typer", "onnx"}


def test_training_needs_no_more_than_torch_timm_and_lightning_beside_the_base() -> None:
    """On a cluster's own image, what only tuning, profiling or another machine needs may be missing."""
    loaded = _loaded_by("import bintally.training.run")
    assert "lightning" in loaded
    assert not loaded & {"psutil", "tomli_w", "optuna", "ray", "mlflow", "onnx", "onnxscript"}


def test_every_name_of_the_package_has_a_home() -> None:
    assert sorted(bintally.__all__) == sorted(["__version__", *bintally._HOMES])
    for name, home in bintally._HOMES.items():
        path = SOURCE / f"{home.replace('.', '/')}.py"
        if not path.is_file():
            pytest.fail(f"bintally.{name} lives in {home}, which is not there")
        defined = {
            node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        assert name in defined, f"{home} defines no {name}"


def test_names_for_type_checkers_are_those_that_load() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    told = {
        alias.name: str(node.module)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == {name: f"bintally.{home}" for name, home in bintally._HOMES.items()}


def test_a_name_loads_when_it_is_first_used() -> None:
    assert bintally.CountEstimate.__name__ == "CountEstimate"
    assert bintally.Counter.__module__ == "bintally.counting.counter"
    with pytest.raises(AttributeError, match="no attribute 'Countr'"):
        bintally.Countr  # noqa: B018 - the look-up is the test


def test_the_version_is_the_projects() -> None:
    assert f'version = "{bintally.__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_every_folder_of_the_source_is_a_package_with_a_sentence() -> None:
    packages = [path for path in SOURCE.rglob("*") if path.is_dir() and list(path.glob("*.py"))]
    for package in [SOURCE, *packages]:
        docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text()))
        assert docstring, f"{package.relative_to(SOURCE.parent)} says nothing about itself"
    assert find_spec("bintally") is not None
    assert Path(str(bintally.__file__)).is_relative_to(SOURCE)


def test_onnx_runtime_tells_nobody_what_it_does() -> None:
    code = "import os, bintally.counting.network; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
