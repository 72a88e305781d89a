"""NVIDIA GPUs: makes the CUDA libraries of the `gpu` extra loadable, and explains why TensorFlow sees no GPU.

Works on a machine without a GPU. Importing this module does not import TensorFlow, because `load_libraries` has to run
first.
"""

import ctypes
import dataclasses
import glob
import importlib.util
import logging
import os
from typing import Any, Optional

from core.errors import UserError
from core.versions import OLD_SET

# The libraries that TensorFlow opens before it lists a GPU -> the folder of each in the wheels. A library comes after
# those that it depends on.
REQUIRED_LIBRARIES = {
    "libcudart.so.12": "cuda_runtime",
    "libcublasLt.so.12": "cublas",
    "libcublas.so.12": "cublas",
    "libcufft.so.11": "cufft",
    "libcusparse.so.12": "cusparse",
    "libcusolver.so.11": "cusolver",
    "libcudnn.so.8" if OLD_SET else "libcudnn.so.9": "cudnn",
}

_FURTHER_LIBRARIES = {
    "libnvJitLink.so.12": "nvjitlink",  # For cuSPARSE and cuSOLVER.
    "libnvrtc.so.12": "cuda_nvrtc",  # For cuDNN, which looks for it in a folder that the wheels do not have.
    "libcupti.so.12": "cuda_cupti",  # For the profiler; it is not on TensorFlow's search path.
}

_DRIVER_LIBRARY = "libcuda.so.1"
_TOOLKIT_FLAG = "--xla_gpu_cuda_data_dir"
_INSTALL = "install the gpu extra: sh scripts/setup.sh gpu"


def load_libraries() -> list[str]:
    """Loads the CUDA libraries of the `nvidia-*` wheels from any folder, and makes their compiler available.

    TensorFlow 2.16.2 finds most of the wheels in its own `site-packages`, none in any other folder, and the compiler
    only by chance. Once a library is loaded, the process finds it by its name, so this loads all of them. It adds the
    compiler to `XLA_FLAGS` and to the end of `PATH`. The user's `LD_LIBRARY_PATH`, `XLA_FLAGS` and `PATH` take
    precedence. Calling it twice is harmless.

    Call it before the first import of TensorFlow, which looks for libcudart only then: a GPU whose libraries are loaded
    later is listed but does not work.

    Returns:
      Names of the libraries loaded from the wheels; empty if the wheels are not installed.
    """
    if not OLD_SET:
        return []  # TensorFlow 2.21 finds the wheels by itself.
    spec = importlib.util.find_spec("nvidia")
    loaded = []
    for wheels in (spec and spec.submodule_search_locations) or ():
        for name, package in {**_FURTHER_LIBRARIES, **REQUIRED_LIBRARIES}.items():
            file = os.path.join(wheels, package, "lib", name)
            # The user's own library takes precedence: cuDNN would mix its parts with those of the wheel.
            if not os.path.exists(file) or _in_library_path(name):
                continue
            error = _load(file)
            if error is None:
                loaded.append(name)
            else:
                logging.warning("can't load %s: %s", file, error)
        _add_compiler(os.path.join(wheels, "cuda_nvcc"))
    return loaded


def xla_flags(flags: str, toolkit: str) -> str:
    """Adds a CUDA toolkit's folder to a value of `XLA_FLAGS`, unless it has one already or is the name of a file."""
    if _TOOLKIT_FLAG in flags or (flags.strip() and not flags.lstrip().startswith("-")):
        return flags
    return f'{flags} {_TOOLKIT_FLAG}="{toolkit}"'.lstrip()


@dataclasses.dataclass(frozen=True)
class Facts:
    """The NVIDIA GPUs, driver and CUDA libraries that this process can see.

    Attributes:
      tensorflow_cuda: the CUDA release that TensorFlow was built for, such as "12.3"; None if built without CUDA.
      cuda_visible_devices: the environment variable; None if not set.
      kernel_driver: whether NVIDIA's kernel driver is loaded; a container sees its host's.
      cards: number of GPUs that the kernel driver lists; a container sees its host's.
      device_files: number of GPUs that this process may open (`/dev/nvidia<n>`).
      driver_cuda: newest CUDA release that the driver supports, (major, minor); None if its library can't be loaded.
      driver_error: CUDA's name of the driver's error; None if the driver works or is missing.
      missing_libraries: those of `REQUIRED_LIBRARIES` that can't be loaded.
    """

    tensorflow_cuda: Optional[str]
    cuda_visible_devices: Optional[str]
    kernel_driver: bool
    cards: int
    device_files: int
    driver_cuda: Optional[tuple[int, int]]
    driver_error: Optional[str]
    missing_libraries: tuple[str, ...]

    @property
    def has_gpu(self) -> bool:
        """Whether the machine has an NVIDIA GPU, usable or not."""
        # WSL has neither the list nor the files, only a driver that works.
        driver_works = self.driver_cuda is not None and self.driver_error is None
        return self.cards > 0 or self.device_files > 0 or driver_works


def collect_facts(root: str = "/") -> Facts:
    """Collects the facts about this machine and TensorFlow; call `load_libraries` first.

    Args:
      root: the folder that contains `dev` and `proc`.
    """
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    driver_cuda, driver_error = query_driver(_DRIVER_LIBRARY)
    return Facts(
        tensorflow_cuda=build["cuda_version"] if build["is_cuda_build"] else None,
        cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        kernel_driver=os.path.exists(os.path.join(root, "proc/driver/nvidia/version")),
        cards=len(glob.glob(os.path.join(root, "proc/driver/nvidia/gpus/*"))),
        device_files=len(glob.glob(os.path.join(root, "dev/nvidia[0-9]*"))),
        driver_cuda=driver_cuda,
        driver_error=driver_error,
        missing_libraries=tuple(name for name in REQUIRED_LIBRARIES if _load(name) is not None),
    )


def query_driver(library: str) -> tuple[Optional[tuple[int, int]], Optional[str]]:
    """Queries the driver's library.

    Args:
      library: name or path of the library.

    Returns:
      The newest CUDA release that it supports, (major, minor), and the name of its error, None if there is none. Both
      are None if the library can't be loaded.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return None, None
    version, name = ctypes.c_int(), ctypes.c_char_p()
    cuda.cuDriverGetVersion(ctypes.byref(version))  # 1000 * major + 10 * minor, even before cuInit.
    status = cuda.cuInit(0)
    if status:
        cuda.cuGetErrorName(status, ctypes.byref(name))
    error = (name.value or b"CUDA error %d" % status).decode() if status else None
    return (version.value // 1000, version.value % 1000 // 10), error


def explain(facts: Facts) -> str:
    """Explains why TensorFlow sees no GPU and what to do, as a clause without a full stop."""
    if facts.tensorflow_cuda is None:
        return f"this TensorFlow is built without CUDA; {_INSTALL}"
    hidden = facts.cuda_visible_devices
    if hidden is not None and _hides_all(hidden, facts.device_files):
        return (
            f'CUDA_VISIBLE_DEVICES="{hidden}" hides all GPUs; unset it, or set it to an existing GPU (the first is 0)'
        )
    problem = _driver_problem(facts)
    if problem is not None:
        return problem
    if facts.missing_libraries:
        shown = ", ".join(facts.missing_libraries[:3])
        more = len(facts.missing_libraries) - 3
        return f"CUDA libraries can't be loaded: {shown}{f' and {more} more' if more > 0 else ''}; {_INSTALL}"
    return "the driver and the CUDA libraries work; run with TF_CPP_MIN_LOG_LEVEL=0 to log why TensorFlow skips the GPU"


def visible_gpus(device: str) -> list[Any]:
    """Returns the GPUs to train on, with memory growth enabled.

    Call it before TensorFlow initialises its devices.

    Args:
      device: `cpu` hides the GPUs from this process, `gpu` requires one, `auto` uses all that TensorFlow sees and warns
        if the machine has a GPU but TensorFlow sees none.

    Returns:
      TensorFlow's physical devices; empty to train on the CPU.

    Raises:
      UserError: `device` is `gpu`, and TensorFlow sees none.
      RuntimeError: `device` is `cpu`, and TensorFlow has already initialised a GPU.
    """
    load_libraries()
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return []
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        _report_missing_gpu(device, collect_facts())
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow has already initialised it.
            logging.warning("%s: already in use without memory growth; TensorFlow reserves all of its memory", gpu.name)
    return gpus


def _report_missing_gpu(device: str, facts: Facts) -> None:
    reason = explain(facts)
    if device == "gpu":
        raise UserError(
            f"trainer.device = gpu: TensorFlow sees no GPU: {reason}; or set trainer.device = auto to train on the CPU"
        )
    if facts.has_gpu:
        logging.warning("using the CPU although this machine has an NVIDIA GPU: %s", reason)


def _driver_problem(facts: Facts) -> Optional[str]:
    missing = [] if facts.driver_cuda else [_DRIVER_LIBRARY]
    if facts.kernel_driver and not facts.device_files:
        missing.append("/dev/nvidia0")
    if missing and not facts.kernel_driver and not facts.device_files:
        return "no NVIDIA driver; if the machine has an NVIDIA GPU, install its driver and check it with nvidia-smi"
    if missing:
        return (
            f"the NVIDIA driver is loaded, but this process has no access to {' and '.join(missing)}; start a "
            "container with --gpus all (NVIDIA Container Toolkit), request nvidia.com/gpu on Kubernetes, elsewhere "
            "reinstall the driver and check it with nvidia-smi"
        )
    assert facts.tensorflow_cuda and facts.driver_cuda  # `explain` and the lines above have returned otherwise.
    needed = int(facts.tensorflow_cuda.split(".")[0])  # A driver for any CUDA 12.x supports all of CUDA 12.
    major, minor = facts.driver_cuda
    if major < needed:
        return (
            f"the NVIDIA driver is too old: it supports CUDA {major}.{minor}, TensorFlow needs {needed}; install one "
            f"for which nvidia-smi shows CUDA Version {needed}.0 or newer"
        )
    if facts.driver_error is not None:
        return (
            f"the NVIDIA driver fails to initialise ({facts.driver_error}); check it with nvidia-smi, and reboot if it "
            "was updated"
        )
    return None


def _hides_all(visible_devices: str, device_files: int) -> bool:
    """Whether a value of CUDA_VISIBLE_DEVICES hides all GPUs: CUDA ignores the first invalid entry and all after it."""
    first = visible_devices.split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return False
    return not first.isdecimal() or 0 < device_files <= int(first)


def _in_library_path(name: str) -> bool:
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return any(folder and os.path.exists(os.path.join(folder, name)) for folder in folders)


def _load(library: str) -> Optional[str]:
    """Loads a library for the lifetime of the process; returns the loader's error message if that fails."""
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return None


def _add_compiler(toolkit: str) -> None:
    """Makes XLA find ptxas and libdevice.

    TensorFlow 2.16 looks in this folder, but builds its path from a C string without a terminator (tsl's
    CandidateCudaRoots), so the path depends on the memory that follows.
    """
    compilers = os.path.join(toolkit, "bin")
    if not os.path.exists(os.path.join(compilers, "ptxas")):
        return
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""), toolkit)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if compilers not in folders:
        os.environ["PATH"] = os.pathsep.join([*folders, compilers])
