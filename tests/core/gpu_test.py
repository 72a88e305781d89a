"""GPU support, tested without a GPU: fake wheels and a fake driver are real shared libraries."""

import ctypes.util
import dataclasses
import importlib.util
import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap

import pytest
import tensorflow as tf

from core import gpu
from core.errors import UserError
from core.versions import OLD_SET

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler to build the fake libraries")
WHEELS = importlib.util.find_spec("nvidia") is not None
needs_wheels = pytest.mark.skipif(not WHEELS, reason="the gpu extra is not installed")

# A machine where everything works.
GOOD = gpu.Facts(
    tensorflow_cuda="12.3",
    cuda_visible_devices=None,
    kernel_driver=True,
    cards=2,
    device_files=2,
    driver_cuda=(12, 4),
    driver_error=None,
    missing_libraries=(),
)
NO_DRIVER = dataclasses.replace(
    GOOD, kernel_driver=False, cards=0, device_files=0, driver_cuda=None, missing_libraries=("libcudart.so.12",)
)

CUDA_VARIABLES = ("LD_LIBRARY_PATH", "XLA_FLAGS", "CUDA_VISIBLE_DEVICES")


def facts(**changes):
    return dataclasses.replace(GOOD, **changes)


def compile_library(path, code="", needs=()):
    """Builds a shared library from C code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = path.with_suffix(".c")
    source.write_text(code)
    linked = [str(library) for library in needs]
    command = [COMPILER, "-shared", "-fPIC", "-Wl,--no-as-needed", f"-Wl,-soname,{path.name}"]
    subprocess.run([*command, "-o", str(path), str(source), *linked], check=True)
    return path


def python(code, path=None, **environment):
    """Runs code in a process without this one's CUDA variables; returns the last line of its output, as JSON."""
    clean = {k: v for k, v in os.environ.items() if k not in CUDA_VARIABLES}
    clean["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([str(path)] if path else [])])
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


# Defines a function that checks whether a library is loaded, by the name that TensorFlow opens.
IS_LOADED = """
import ctypes, json, os
from core import gpu

def is_loaded(name):
    try:
        return bool(ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW))
    except OSError:
        return False
"""


old_set = pytest.mark.skipif(not OLD_SET, reason="TensorFlow 2.21 finds the wheels by itself")


@pytest.fixture
def wheels(tmp_path):
    """The folder `nvidia`, laid out as in the wheels; its libcusolver depends on its libcublas."""
    nvidia = tmp_path / "site" / "nvidia"
    cudart = compile_library(nvidia / "cuda_runtime" / "lib" / "libcudart.so.12")
    cublas = compile_library(nvidia / "cublas" / "lib" / "libcublas.so.12", needs=[cudart])
    compile_library(nvidia / "cusolver" / "lib" / "libcusolver.so.11", needs=[cublas])
    compile_library(nvidia / "cuda_cupti" / "lib" / "libcupti.so.12")
    ptxas = nvidia / "cuda_nvcc" / "bin" / "ptxas"
    ptxas.parent.mkdir(parents=True)
    ptxas.touch()
    (nvidia / "__init__.py").touch()  # As in the wheels; without it installed wheels would come first.
    return nvidia


@needs_compiler
@old_set
def test_libraries_of_wheels_are_found_by_name_once_loaded(wheels):
    answer = python(
        IS_LOADED
        + """
names = ["libcudart.so.12", "libcublas.so.12", "libcusolver.so.11", "libcupti.so.12"]
before = [is_loaded(name) for name in names]
loaded = gpu.load_libraries()
print(json.dumps([before, loaded, [is_loaded(name) for name in names], gpu.load_libraries() == loaded]))
""",
        wheels.parent,
    )
    before, loaded, after, again = answer
    assert before == [False] * 4
    assert sorted(loaded) == ["libcublas.so.12", "libcudart.so.12", "libcupti.so.12", "libcusolver.so.11"]
    assert after == [True] * 4
    assert again


@needs_compiler
@old_set
def test_a_broken_library_is_reported_and_the_others_are_loaded(wheels):
    broken = wheels / "cublas" / "lib" / "libcublas.so.12"
    broken.write_bytes(b"not a library")
    loaded, warnings = python(
        """
        import json, logging
        from core import gpu

        warnings = []
        handler = logging.Handler()
        handler.emit = lambda record: warnings.append(record.getMessage())
        logging.getLogger().addHandler(handler)
        print(json.dumps([gpu.load_libraries(), warnings]))
        """,
        wheels.parent,
    )
    assert sorted(loaded) == ["libcudart.so.12", "libcupti.so.12"]
    assert warnings[0].startswith(f"can't load {broken}: ")


@needs_compiler
@old_set
def test_a_library_in_ld_library_path_takes_precedence(wheels, tmp_path):
    own = compile_library(tmp_path / "own" / "libcupti.so.12")
    loaded = python(
        "import json\nfrom core import gpu\nprint(json.dumps(gpu.load_libraries()))",
        wheels.parent,
        LD_LIBRARY_PATH=str(own.parent),
    )
    assert "libcupti.so.12" not in loaded
    assert "libcudart.so.12" in loaded


@needs_compiler
@old_set
def test_the_compiler_is_added_once_at_the_end_of_path(wheels):
    path, flags = python(
        "import json, os\nfrom core import gpu\ngpu.load_libraries(); gpu.load_libraries()\n"
        "print(json.dumps([os.environ['PATH'], os.environ['XLA_FLAGS']]))",
        wheels.parent,
        PATH="/usr/bin",
        XLA_FLAGS="--xla_dump_to=dump",
    )
    assert path == f"/usr/bin:{wheels}/cuda_nvcc/bin"
    assert flags == f'--xla_dump_to=dump --xla_gpu_cuda_data_dir="{wheels}/cuda_nvcc"'


def test_without_wheels_nothing_is_loaded_and_the_environment_is_unchanged(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    before = dict(os.environ)
    assert gpu.load_libraries() == []
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "flags, expected",
    [
        ("", '--xla_gpu_cuda_data_dir="/a b"'),
        ("--x=1", '--x=1 --xla_gpu_cuda_data_dir="/a b"'),
        ("--xla_gpu_cuda_data_dir=/own --x=1", "--xla_gpu_cuda_data_dir=/own --x=1"),
        ("flags.txt", "flags.txt"),
    ],
)
def test_existing_xla_flags_are_kept(flags, expected):
    assert gpu.xla_flags(flags, "/a b") == expected


@needs_wheels
@old_set
def test_every_required_library_is_loaded_from_the_installed_wheels():
    answer = python(
        IS_LOADED
        + """
before = [name for name in gpu.REQUIRED_LIBRARIES if is_loaded(name)]
loaded = gpu.load_libraries()
missing = [name for name in gpu.REQUIRED_LIBRARIES if not is_loaded(name)]
facts = gpu.collect_facts()
print(json.dumps([before, missing, loaded, facts.missing_libraries]))
"""
    )
    before, missing, loaded, unloadable = answer
    assert before == [] and missing == [] and unloadable == []
    assert set(gpu.REQUIRED_LIBRARIES) < set(loaded)
    assert "libcupti.so.12" in loaded


def test_the_required_libraries_are_those_of_the_installed_tensorflow():
    build = tf.sysconfig.get_build_info()
    if not build["is_cuda_build"]:
        pytest.skip("this TensorFlow is built without CUDA")
    assert f"libcudart.so.{build['cuda_version'].split('.')[0]}" in gpu.REQUIRED_LIBRARIES
    assert f"libcudnn.so.{build['cudnn_version']}" in gpu.REQUIRED_LIBRARIES


# A driver's library with one GPU of compute capability 8.0: the functions that TensorFlow calls to list it.
DRIVER = """
#include <string.h>
enum {{ PROCESSORS = 16, MAJOR = 75, MINOR = 76 }};
int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}
int cuInit(unsigned flags) {{ return {status}; }}
int cuGetErrorName(int status, const char **name) {{ *name = status == 100 ? "CUDA_ERROR_NO_DEVICE" : 0; return 0; }}
int cuDeviceGetCount(int *count) {{ *count = 1; return 0; }}
int cuDeviceGet(int *device, int index) {{ *device = index; return 0; }}
int cuDeviceGetName(char *name, int size, int device) {{ strcpy(name, "fake"); return 0; }}
int cuDeviceGetPCIBusId(char *id, int size, int device) {{ strcpy(id, "0000:01:00.0"); return 0; }}
int cuDeviceTotalMem_v2(size_t *bytes, int device) {{ *bytes = (size_t)16 << 30; return 0; }}
int cuDeviceComputeCapability(int *major, int *minor, int device) {{ *major = 8; *minor = 0; return 0; }}
int cuDeviceGetAttribute(int *value, int attribute, int device) {{
  *value = attribute == MAJOR ? 8 : attribute == MINOR ? 0 : attribute == PROCESSORS ? 108 : 1024;
  return 0;
}}
"""


@needs_compiler
@pytest.mark.parametrize(
    "version, status, answer",
    [
        (12040, 0, ((12, 4), None)),
        (11080, 0, ((11, 8), None)),
        (12020, 100, ((12, 2), "CUDA_ERROR_NO_DEVICE")),
        (12020, 77, ((12, 2), "CUDA error 77")),
    ],
)
def test_the_driver_reports_its_release_and_its_error(tmp_path, version, status, answer):
    # By its real name it would be found by TensorFlow and by later tests.
    library = compile_library(tmp_path / "libdriver.so", DRIVER.format(version=version, status=status))
    assert gpu.query_driver(str(library)) == answer


REQUIRE_GPU = """
import json
from core.errors import UserError
from core import gpu

try:
    gpus = gpu.visible_gpus("gpu")
    import tensorflow as tf
    print(json.dumps([tf.config.experimental.get_memory_growth(one) for one in gpus]))
except UserError as error:
    print(json.dumps(str(error)))
"""


@needs_compiler
@needs_wheels
def test_tensorflow_lists_the_gpu_of_a_fake_driver(tmp_path):
    compile_library(tmp_path / "libcuda.so.1", DRIVER.format(version=12030, status=0))
    assert python(REQUIRE_GPU, LD_LIBRARY_PATH=str(tmp_path)) == [True]


@needs_compiler
@pytest.mark.skipif(WHEELS or ctypes.util.find_library("cudart") is not None, reason="this machine has CUDA libraries")
def test_missing_libraries_of_a_gpu_are_named(tmp_path):
    compile_library(tmp_path / "libcuda.so.1", DRIVER.format(version=12030, status=0))
    answer = python(REQUIRE_GPU, LD_LIBRARY_PATH=str(tmp_path))
    assert "CUDA libraries can't be loaded: libcudart.so.12, libcublasLt.so.12, libcublas.so.12 and 4 more;" in answer


def test_a_missing_driver_has_no_release_and_no_error(tmp_path):
    assert gpu.query_driver(str(tmp_path / "libcuda.so.1")) == (None, None)


def test_facts_describe_this_machine(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    collected = gpu.collect_facts()
    assert collected.kernel_driver == os.path.exists("/proc/driver/nvidia/version")
    assert collected.cuda_visible_devices == "0,1"
    if collected.kernel_driver or collected.driver_cuda:
        pytest.skip("this machine has an NVIDIA driver; the rest is for a machine without one")
    assert (collected.cards, collected.device_files, collected.driver_error) == (0, 0, None)
    assert not collected.has_gpu
    assert "no NVIDIA driver" in gpu.explain(collected)


def test_facts_count_the_cards_of_the_host_and_the_files_of_the_process(tmp_path):
    for card in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "proc/driver/nvidia/gpus" / card).mkdir(parents=True)
    (tmp_path / "proc/driver/nvidia/version").touch()
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (tmp_path / "dev" / name).touch()
    collected = gpu.collect_facts(str(tmp_path))
    assert (collected.kernel_driver, collected.cards, collected.device_files) == (True, 2, 1)
    assert collected.has_gpu


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"driver_cuda": None, "cards": 0, "device_files": 0}, False),
        ({"driver_cuda": None, "cards": 0, "device_files": 1}, True),
        ({"driver_cuda": None, "cards": 1, "device_files": 0}, True),
        ({"cards": 0, "device_files": 0}, True),
        ({"driver_error": "CUDA_ERROR_NO_DEVICE", "cards": 0, "device_files": 0}, False),
    ],
)
def test_driver_or_files_show_that_a_machine_has_a_gpu(changes, expected):
    assert facts(**changes).has_gpu is expected


@pytest.mark.parametrize(
    "machine, words",
    [
        (facts(tensorflow_cuda=None), ["built without CUDA", "sh scripts/setup.sh gpu"]),
        (facts(cuda_visible_devices="-1"), ['CUDA_VISIBLE_DEVICES="-1" hides all GPUs', "unset it"]),
        (NO_DRIVER, ["no NVIDIA driver", "install its driver", "nvidia-smi"]),
        (
            facts(driver_cuda=None, device_files=0),
            ["no access to libcuda.so.1 and /dev/nvidia0", "--gpus all", "nvidia.com/gpu"],
        ),
        (facts(driver_cuda=None), ["no access to libcuda.so.1;", "--gpus all"]),
        (facts(device_files=0, driver_error="CUDA_ERROR_NO_DEVICE"), ["no access to /dev/nvidia0;", "--gpus all"]),
        (facts(driver_cuda=(11, 4)), ["too old", "supports CUDA 11.4, TensorFlow needs 12", "CUDA Version 12.0"]),
        (
            facts(driver_error="CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
            ["fails to initialise (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)", "nvidia-smi", "reboot"],
        ),
        (
            facts(missing_libraries=("libcufft.so.11", "libcudnn.so.8")),
            ["can't be loaded: libcufft.so.11, libcudnn.so.8; install", "sh scripts/setup.sh gpu"],
        ),
        (
            facts(missing_libraries=tuple(gpu.REQUIRED_LIBRARIES)),
            ["libcudart.so.12, libcublasLt.so.12, libcublas.so.12 and 4 more;"],
        ),
        (GOOD, ["TF_CPP_MIN_LOG_LEVEL=0"]),
    ],
)
def test_each_cause_is_explained_with_its_remedy(machine, words):
    explanation = gpu.explain(machine)
    for word in words:
        assert word in explanation
    assert "\n" not in explanation and not explanation.endswith(".")


def test_wsl_needs_no_device_files():
    wsl = facts(kernel_driver=False, cards=0, device_files=0, missing_libraries=("libcudnn.so.8",))
    assert "libcudnn.so.8" in gpu.explain(wsl)


@pytest.mark.parametrize("value", ["", " ", "-1", "-1,0", "2", "7,0", "none", "NoDevFiles"])
def test_values_that_hide_both_gpus(value):
    assert "hides all GPUs" in gpu.explain(facts(cuda_visible_devices=value))


@pytest.mark.parametrize("value", ["0", "1", "1,-1", "0,7", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-1c2d3e4f"])
def test_values_that_leave_a_gpu_visible(value):
    assert "hides" not in gpu.explain(facts(cuda_visible_devices=value))


@pytest.fixture
def tensorflow_sees(monkeypatch):
    """Makes TensorFlow list the given devices as visible GPUs."""

    def set_visible(*gpus):
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(gpus) if kind == "GPU" else [])

    return set_visible


def test_required_but_missing_gpu_is_a_user_error(monkeypatch, tensorflow_sees):
    tensorflow_sees()
    monkeypatch.setattr(gpu, "collect_facts", lambda: NO_DRIVER)
    with pytest.raises(UserError, match="^trainer.device = gpu: TensorFlow sees no GPU: no NVIDIA driver; "):
        gpu.visible_gpus("gpu")


def test_auto_warns_if_the_machine_has_a_gpu_that_tensorflow_does_not_see(monkeypatch, tensorflow_sees, caplog):
    tensorflow_sees()
    monkeypatch.setattr(gpu, "collect_facts", lambda: facts(missing_libraries=("libcudnn.so.8",)))
    assert gpu.visible_gpus("auto") == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "NVIDIA GPU" in record.getMessage() and "libcudnn.so.8" in record.getMessage()


def test_auto_is_silent_on_a_machine_without_a_gpu(monkeypatch, tensorflow_sees, caplog):
    tensorflow_sees()
    monkeypatch.setattr(gpu, "collect_facts", lambda: NO_DRIVER)
    assert gpu.visible_gpus("auto") == []
    assert not caplog.records


def test_cpu_hides_the_gpus(monkeypatch):
    calls = []
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda *arguments: calls.append(arguments))
    assert gpu.visible_gpus("cpu") == []
    assert calls == [([], "GPU")]


def test_memory_growth_is_set_on_every_gpu(monkeypatch, tensorflow_sees, caplog):
    gpus = [tf.config.PhysicalDevice(f"/physical_device:GPU:{i}", "GPU") for i in range(2)]
    tensorflow_sees(*gpus)
    grown = []
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *arguments: grown.append(arguments))
    assert gpu.visible_gpus("auto") == gpus
    assert grown == [(gpus[0], True), (gpus[1], True)]
    assert not caplog.records


def test_a_gpu_in_use_without_memory_growth_is_reported(monkeypatch, tensorflow_sees, caplog):
    only = tf.config.PhysicalDevice("/physical_device:GPU:0", "GPU")
    tensorflow_sees(only)

    def fail(device, enable):
        raise RuntimeError("Physical devices cannot be modified after being initialized")

    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", fail)
    assert gpu.visible_gpus("gpu") == [only]
    assert "/physical_device:GPU:0" in caplog.text
