"""`--fast` selects tests that need neither TensorFlow nor another process."""

import os
import subprocess
import sys

# Runs pytest in the process, so that what it imported can be looked at.
PYTEST = """
import sys, pytest
status = pytest.main(sys.argv[1:])
imported = {"tensorflow", "tfx", "apache_beam"} & sys.modules.keys()
sys.exit(f"imported: {imported}" if imported else status)
"""


def run_fast(*arguments):
    command = [sys.executable, "-c", PYTEST, "--fast", "-p", "no:cacheprovider", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_all_fast_tests_are_collected_without_tensorflow():
    done = run_fast("--collect-only")
    assert done.returncode == 0, done.stdout + done.stderr
    selected = [line for line in done.stdout.splitlines() if "::" in line]
    assert len(selected) > 300
    assert any("core/config_test.py" in line for line in selected)
    assert not any("trainer/loop_test.py" in line for line in selected)


def test_a_test_that_imports_tensorflow_or_starts_a_program_is_skipped(tmp_path):
    (tmp_path / "module_test.py").write_text("import tensorflow as tf\n\ndef test_module():\n    assert False\n")
    (tmp_path / "some_test.py").write_text(
        "def test_import():\n    from tfx import types\n\n"
        "def test_program():\n    import subprocess\n    subprocess.run(['true'])\n\n"
        "def test_pure():\n    pass\n"
    )
    done = run_fast("-p", "tests.conftest", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 3 skipped" in done.stdout
