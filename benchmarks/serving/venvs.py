"""Virtual environments of the systems, made once in bintally's cache folder ($BINTALLY_CACHE); no rival meets ours."""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bintally.settings import cache_folder

REPOSITORY: Final = Path(__file__).parents[2]
RIVALS: Final = Path(__file__).parent / "rivals"
COUNTING: Final = ("msgspec", "numpy", "onnxruntime", "pillow")
"""What counting needs; every system has the versions that this process has."""


def venv_of(rival: str) -> Path:
    """The Python of a rival's virtual environment ("": of ours), made anew where its requirements have changed."""
    wanted = [f"{name}=={version(name)}" for name in COUNTING]
    if rival:
        wanted += (RIVALS / rival / "requirements.txt").read_text().split()
    else:
        project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        wanted += project["dependencies"]
    digest = hashlib.sha256("\n".join(wanted).encode()).hexdigest()[:12]
    place = cache_folder() / "rivals" / f"{rival or 'bintally'}-{digest}"
    python, done = place / "bin" / "python", place / "installed"
    if not done.is_file():
        print(f"Installing {rival or 'bintally'} into {place}", file=sys.stderr, flush=True)
        shutil.rmtree(place, ignore_errors=True)
        _run(sys.executable, "-m", "venv", place)
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _run(*pip, *wanted)
        if not rival:
            _run(*pip, "--no-deps", "--editable", REPOSITORY)
        done.touch()
    return python


def _run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-3000:]}")
