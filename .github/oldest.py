"""Prints pip constraints: of each package but the tools of dev the oldest version that pyproject.toml allows.

python .github/oldest.py > oldest.txt
PIP_CONSTRAINT=oldest.txt python course.py test "unit tests"
"""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [lines for name, lines in project["optional-dependencies"].items() if name != "dev"]
for line in sum(extras, project["dependencies"]):
    name, _, oldest = line.partition(">=" if ">=" in line else "==")
    print(f"{name}=={oldest.partition(',')[0]}")
