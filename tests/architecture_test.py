"""Rules of the code base: the direction of imports, names of modules in strings, the length of functions."""

import ast
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("local", "cluster", "pipeline", "components", "trainer", "launchers", "artifacts", "core", "schema")
PRODUCT = [*ROOT.glob("*_runner.py"), *(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))]


def test_imports_between_packages_point_down():
    command = pathlib.Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([command], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


def test_modules_named_in_strings_exist():
    # `trainer.kubeflow.org` is a group of the Kubernetes API.
    name = re.compile(rf"^({'|'.join(PACKAGES)})(\.[a-z_]+){{2,}}(?<!\.org)$")
    missing = []
    for file in PRODUCT:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and name.match(node.value):
                if not _exists(node.value):
                    missing.append(f"{file.relative_to(ROOT)}:{node.lineno}: {node.value}")
    assert missing == []


def _exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name at the top level of a module."""
    path, _, last = dotted.replace(".", "/").rpartition("/")
    if (ROOT / path / last).is_dir() or (ROOT / path / f"{last}.py").exists():
        return True
    owner = ROOT / f"{path}.py"
    return (
        owner.exists() and re.search(rf"^(def|class) {last}\b|^{last} =", owner.read_text(), re.MULTILINE) is not None
    )


def test_no_function_is_longer_than_60_lines():
    functions = [
        (f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1)
        for file in PRODUCT
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    assert len(functions) > 900
    assert [(name, lines) for name, lines in functions if lines > 60] == []
