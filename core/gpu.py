"""NVIDIA GPUs: makes the CUDA libraries of the `gpu` extra loadable, and says why TensorFlow sees no GPU.

Works on a machine without a GPU. Importing this module imports no TensorFlow, since `load_libraries` has to run
before that.
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

# What TensorFlow opens by these names before it offers a GPU, and the wheels' folder of each; a library comes
# after those that it needs.
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
    "libnvJitLink.so.12": "nvjitlink",  # cuSPARSE and cuSOLVER need it
    "libnvrtc.so.12": "cuda_nvrtc",  # cuDNN opens it, and looks in a folder that the wheels do not have
    "libcupti.so.12": "cuda_cupti",  # the profiler; TensorFlow's search path leaves it out
}

_DRIVER_LIBRARY = "libcuda.so.1"
_TOOLKIT_FLAG = "--xla_gpu_cuda_data_dir"
_INSTALL = "install the gpu extra: sh scripts/setup.sh gpu"


def load_libraries() -> list[str]:
    """Makes the CUDA libraries and the compiler of the `nvidia-*` wheels usable, whatever folder they are in.

    TensorFlow 2.16.2 finds most of the wheels if they lie in its own `site-packages`, none if they lie elsewhere,
    and the compiler's folder only by luck. A library that this process has loaded is found by its name from then
    on, so this loads them; the compiler is named in `XLA_FLAGS` and at the end of `PATH`. What the user has set in
    `LD_LIBRARY_PATH`, `XLA_FLAGS` and `PATH` goes first. Calling it twice does no harm.

    Call it before the first import of TensorFlow, which looks for libcudart then and never again: wheels that lie
    elsewhere would come too late, and the GPU would be listed but not work.

    Returns:
      Names of the libraries loaded from the wheels; empty where the wheels are not installed.
    """
    if not OLD_SET:
        return []  # TensorFlow 2.21 finds the wheels by itself.
    spec = importlib.util.find_spec("nvidia")
    loaded = []
    for wheels in (spec and spec.submodule_search_locations) or ():
        for name, package in {**_FURTHER_LIBRARIES, **REQUIRED_LIBRARIES}.items():
            file = os.path.join(wheels, package, "lib", name)
            # A library of the user's own choice stays: cuDNN would mix its parts with those of the wheel.
            if not os.path.exists(file) or _in_library_path(name):
                continue
            error = _load(file)
            if error is None:
                loaded.append(name)
            else:
                logging.warning("can't load %s: %s", file, error)
        _offer_compiler(os.path.join(wheels, "cuda_nvcc"))
    return loaded


def xla_flags(flags: str, toolkit: str) -> str:
    """Adds a CUDA toolkit's folder to a value of `XLA_FLAGS`, unless that names one or is a file's name."""
    if _TOOLKIT_FLAG in flags or (flags.strip() and not flags.lstrip().startswith("-")):
        return flags
    return f'{flags} {_TOOLKIT_FLAG}="{toolkit}"'.lstrip()


@dataclasses.dataclass(frozen=True)
class Facts:
    """What this process can see of NVIDIA GPUs and of what they need.

    Attributes:
      tensorflow_cuda: the CUDA release TensorFlow was built for, such as "12.3"; None: built without CUDA.
      cuda_visible_devices: that environment variable; None: not set.
      kernel_driver: whether NVIDIA's kernel driver is loaded; a container sees its host's.
      cards: GPUs that the kernel driver lists; a container sees its host's.
      device_files: GPUs that this process may open (`/dev/nvidia<n>`).
      driver_cuda: newest CUDA release that the driver's library serves, (major, minor); None: no such library.
      driver_error: CUDA's name for what is wrong with the driver; None: it works, or there is none.
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
        # Windows' Linux (WSL) has neither the list nor the files; there a driver that works is the sign.
        answers = self.driver_cuda is not None and self.driver_error is None
        return self.cards > 0 or self.device_files > 0 or answers


def collect_facts(root: str = "/") -> Facts:
    """Looks at this machine and at TensorFlow; call `load_libraries` first.

    Args:
      root: the folder that holds `dev` and `proc`.
    """
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    driver_cuda, driver_error = ask_driver(_DRIVER_LIBRARY)
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


def ask_driver(library: str) -> tuple[Optional[tuple[int, int]], Optional[str]]:
    """Asks the driver's library which CUDA release it serves, (major, minor), and for the name of its error if any.

    Args:
      library: name or path of the library; if it can't be loaded both answers are None.
    """
    try:
        cuda = ctypes.CDLL(library)
    except OSError:
        return None, None
    version, name = ctypes.c_int(), ctypes.c_char_p()
    cuda.cuDriverGetVersion(ctypes.byref(version))  # 1000 * major + 10 * minor; needs no cuInit
    status = cuda.cuInit(0)
    if status:
        cuda.cuGetErrorName(status, ctypes.byref(name))
    error = (name.value or b"CUDA error %d" % status).decode() if status else None
    return (version.value // 1000, version.value % 1000 // 10), error


def explain(facts: Facts) -> str:
    """Says why TensorFlow sees no GPU and what to do, as a clause without a full stop."""
    if facts.tensorflow_cuda is None:
        return f"this TensorFlow is built without CUDA; {_INSTALL}"
    hidden = facts.cuda_visible_devices
    if hidden is not None and _hides_all(hidden, facts.device_files):
        return f'CUDA_VISIBLE_DEVICES="{hidden}" hides every GPU; unset it or name one that is there (0 is the first)'
    problem = _driver_problem(facts)
    if problem is not None:
        return problem
    if facts.missing_libraries:
        shown = ", ".join(facts.missing_libraries[:3])
        more = len(facts.missing_libraries) - 3
        return f"CUDA libraries can't be loaded: {shown}{f' and {more} more' if more > 0 else ''}; {_INSTALL}"
    return (
        "the driver and the CUDA libraries work; run with TF_CPP_MIN_LOG_LEVEL=0 and read why TensorFlow skips the GPU"
    )


def visible_gpus(device: str) -> list[Any]:
    """Returns the GPUs to train on, with memory growth on; none is an error, a warning or fine, as `device` says.

    Call it before anything else makes TensorFlow use its devices.

    Args:
      device: `cpu` hides the GPUs from this process, `gpu` demands one, `auto` takes what there is and warns
        if the machine has a GPU that TensorFlow does not see.

    Returns:
      TensorFlow's physical devices; empty: the CPU does the work.

    Raises:
      UserError: `gpu`, and TensorFlow sees none.
      RuntimeError: `cpu`, and TensorFlow uses a GPU already.
    """
    load_libraries()
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
        return []
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        _tell_absence(device, collect_facts())
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow uses it already, without growth.
            logging.warning("%s: TensorFlow has taken all its memory; other processes get none", gpu.name)
    return gpus


def _tell_absence(device: str, facts: Facts) -> None:
    reason = explain(facts)
    if device == "gpu":
        raise UserError(
            f"trainer.device = gpu: TensorFlow sees no GPU: {reason}; trainer.device = auto goes on with the CPU"
        )
    if facts.has_gpu:
        logging.warning("the CPU does the work, though this machine has an NVIDIA GPU: %s", reason)


def _driver_problem(facts: Facts) -> Optional[str]:
    lacking = [] if facts.driver_cuda else [_DRIVER_LIBRARY]
    if facts.kernel_driver and not facts.device_files:
        lacking.append("/dev/nvidia0")
    if lacking and not facts.kernel_driver and not facts.device_files:
        return (
            "there is no NVIDIA driver here; if the machine has an NVIDIA GPU, install NVIDIA's driver and check with "
            "nvidia-smi"
        )
    if lacking:
        return (
            f"NVIDIA's driver runs, but there is no {' and no '.join(lacking)} here; start a container with --gpus all "
            "(NVIDIA Container Toolkit), ask for nvidia.com/gpu on Kubernetes, elsewhere reinstall the driver and "
            "check with nvidia-smi"
        )
    assert facts.tensorflow_cuda and facts.driver_cuda  # `explain` and the lines above have returned otherwise.
    needed = int(facts.tensorflow_cuda.split(".")[0])  # Any driver of a CUDA major release serves all of it.
    major, minor = facts.driver_cuda
    if major < needed:
        return (
            f"NVIDIA's driver is too old: it serves CUDA {major}.{minor}, TensorFlow needs {needed}; update the driver "
            f"until nvidia-smi shows CUDA Version {needed}.0 or newer"
        )
    if facts.driver_error is not None:
        return (
            f"NVIDIA's driver does not start ({facts.driver_error}); check with nvidia-smi, and reboot if the driver "
            "was updated"
        )
    return None


def _hides_all(visible_devices: str, device_files: int) -> bool:
    """Whether a value of CUDA_VISIBLE_DEVICES hides every GPU: CUDA stops reading at the first that is not there."""
    first = visible_devices.split(",")[0].strip()
    if first.startswith(("GPU-", "MIG-")):
        return False
    return not first.isdecimal() or 0 < device_files <= int(first)


def _in_library_path(name: str) -> bool:
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return any(folder and os.path.exists(os.path.join(folder, name)) for folder in folders)


def _load(library: str) -> Optional[str]:
    """Loads a library for the life of the process; returns the loader's message if it can't."""
    try:
        ctypes.CDLL(library)
    except OSError as error:
        return str(error)
    return None


def _offer_compiler(toolkit: str) -> None:
    """Tells XLA where ptxas and libdevice are.

    TensorFlow 2.16 knows this folder, but makes its name out of a C string that lacks its end (tsl's
    CandidateCudaRoots), so it is right or wrong with what happens to follow in memory.
    """
    compilers = os.path.join(toolkit, "bin")
    if not os.path.exists(os.path.join(compilers, "ptxas")):
        return
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""), toolkit)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    if compilers not in folders:
        os.environ["PATH"] = os.pathsep.join([*folders, compilers])
