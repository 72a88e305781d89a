"""Metadata and direct dependencies of the package; `make lock` resolves them into the files of requirements/.

There are two sets of versions, distinguished by the version of Python: the current one, and the old one for systems
with a glibc older than 2.39, for which TFX 1.21 has no wheels. scripts/setup.sh chooses between them.

Install from the lock files, as `make run` and `make test` do: some packages require versions that do not work together,
so a set can only be resolved with requirements/<set>/override.txt.
"""

import pathlib
import re

from setuptools import find_packages, setup

CURRENT, OLD = 'python_version >= "3.11"', 'python_version < "3.11"'

INSTALL_REQUIRES = [
    # The pipeline. 1.21 has wheels for glibc 2.39 and newer only; 1.16 is the newest for Python 3.10.
    f"tfx==1.21.0; {CURRENT}",
    f"tfx==1.16.0; {OLD}",
    # The newest with a release of TensorFlow Text; the newest that tfx 1.16 allows (< 2.17).
    f"tensorflow==2.21.0; {CURRENT}",
    f"tensorflow==2.16.2; {OLD}",
    # Keras 2, which TFX Transform, TFMA and TF Hub need; its version has to match TensorFlow's.
    f"tf-keras==2.21.0; {CURRENT}",
    f"tf-keras==2.16.0; {OLD}",
    # First release that imports without tf.estimator, which TensorFlow 2.16 dropped (override.txt).
    "tensorflow-hub==0.16.1",
    # Tokenisation inside the SavedModel; its minor version has to match TensorFlow's.
    f"tensorflow-text==2.21.1; {CURRENT}",
    f"tensorflow-text==2.16.1; {OLD}",
    # BERT networks, AdamW with warm-up, the exporter to TF Hub's format.
    f"tf-models-official==2.20.0; {CURRENT}",
    f"tf-models-official==2.16.0; {OLD}",
    # Data processing. tfx-bsl before 1.21 imports dill, which Beam after 2.62 no longer installs.
    f"apache-beam==2.77.0; {CURRENT}",
    f"apache-beam==2.62.0; {OLD}",
    # The metrics behind the model gate; the releases made for tfx 1.21 and 1.16.
    f"tensorflow-model-analysis==0.52.0; {CURRENT}",
    f"tensorflow-model-analysis==0.47.0; {OLD}",
    # Imported by tf-models; TensorFlow 2.21 no longer installs it.
    f"tensorboard==2.21.0; {CURRENT}",
    # pkg_resources, which tensorflow-hub imports, was removed in 81.
    "setuptools==80.10.2",
    # Tokens, batches and masks; 1.x for tfx 1.16 and TensorFlow 2.16.
    f"numpy==2.4.6; {CURRENT}",
    f"numpy==1.26.4; {OLD}",
    # Jensen-Shannon divergence of two histograms; 1.17 is the last for Python 3.11.
    f"scipy==1.17.1; {CURRENT}",
    f"scipy==1.12.0; {OLD}",
    # Validated, frozen configuration.
    "pydantic==2.14.3",
    # Configuration files.
    "pyyaml==6.0.3",
    # Progress on the terminal.
    "rich==15.0.0",
    # Learns a WordPiece vocabulary from 150,000 reviews in seconds.
    "tokenizers==0.23.3",
    # Plots of loss and accuracy.
    "matplotlib==3.10.9",
    # Parquet files; the release that apache-beam and tfx-bsl allow.
    f"pyarrow==18.1.0; {CURRENT}",
    f"pyarrow==10.0.1; {OLD}",
    # Files that are compressed with zstd.
    "zstandard==0.25.0",
    # The HTML report.
    "jinja2==3.1.6",
    # The HTTP server of `serve`.
    "uvicorn==0.54.0",
    # Its parser, which uvicorn finds: in C, it saves a tenth of the processor time of a request.
    "httptools==0.9.0",
    # Its routes and responses; later releases need Python 3.11.
    "starlette==1.7.0",
    # Its metrics, in Prometheus' format.
    "prometheus-client==0.26.0",
    # Downloads a data set once and checks its SHA-256.
    "pooch==1.9.0",
    # Queries to a real model server: gRPC, its messages, REST, and free ports.
    f"grpcio==1.85.3; {CURRENT}",
    f"grpcio==1.65.5; {OLD}",
    f"tensorflow-serving-api==2.19.1; {CURRENT}",
    f"tensorflow-serving-api==2.16.1; {OLD}",
    "requests==2.34.2",
    # Guesses the codec of a table for `init`.
    f"charset-normalizer==3.5.3; {CURRENT}",
    f"charset-normalizer==3.5.2; {OLD}",
    # Shell completion of the command lines.
    "shtab==1.13.0",
    "portpicker==1.6.0",
    # Locks a run folder, so that only one run at a time uses it.
    "filelock==4.1.0",
    # Kubeflow's client and its pipeline format; releases after 2.5 need a protobuf that tensorflow-metadata for Python
    # 3.10 does not support.
    f"kfp==2.16.1; {CURRENT}",
    f"kfp==2.5.0; {OLD}",
    # The runtime of the messages of TFX, TensorFlow and kfp; tensorflow-metadata for Python 3.10 needs < 4.21.
    f"protobuf==6.33.6; {CURRENT}",
    f"protobuf==3.20.3; {OLD}",
    # Starts workers on a cluster; the newest that tfx and kfp allow.
    "kubernetes==26.1.0",
    # Retries requests to an API server; kfp 2.5 needs 1.x.
    f"urllib3==2.8.0; {CURRENT}",
    f"urllib3==1.26.20; {OLD}",
]

_ONNX = [
    # Another engine of `serve` and `predict`, in 8-bit integers if asked; the last release for Python 3.10.
    f"onnxruntime==1.32.0; {CURRENT}",
    f"onnxruntime==1.23.2; {OLD}",
    # The graph that it computes; releases after 1.17 need a protobuf that the old set can't have.
    f"onnx==1.23.2; {CURRENT}",
    f"onnx==1.17.0; {OLD}",
    # A third engine, which can be faster than ONNX Runtime for encoders of BERT-base's size.
    "openvino==2026.4.1",
]

EXTRAS_REQUIRE = {
    "dev": [
        # The tests of the engines.
        *_ONNX,
        # The test runner.
        "pytest==8.4.2",
        # Runs two test files at a time: many wait for processes that they have started.
        "pytest-xdist==3.8.0",
        # Test coverage.
        "pytest-cov==7.1.0",
        # Validates a TFJob against the schema of its custom resource.
        "jsonschema==4.26.0",
        # Property tests of parsing and batching.
        "hypothesis==6.168.5",
        # Finds processes that a test has left running; not every system has `ps`.
        "psutil==7.2.2",
        # The linter.
        "ruff==0.17.6",
        # The type checker, and type stubs.
        "mypy==2.4.1",
        "types-protobuf==6.32.1.20260221",
        "types-PyYAML==6.0.12.20261122",
        # The last release for urllib3 1.x is for the old set.
        f"types-requests==2.33.0.20261030; {CURRENT}",
        f"types-requests==2.31.0.6; {OLD}",
        # Checks which package may import which.
        "import-linter==2.15",
    ],
    "bench": [
        # The usual alternative, for comparison in the benchmarks.
        "torch==2.14.1",
        "transformers==5.20.2",
    ],
    "onnx": _ONNX,
    "gpu": [
        # The CUDA libraries that this TensorFlow was built for.
        f"tensorflow[and-cuda]==2.21.0; {CURRENT}",
        f"tensorflow[and-cuda]==2.16.2; {OLD}",
    ],
}

HERE = pathlib.Path(__file__).parent
PACKAGES = ("local", "cluster", "pipeline", "components", "trainer", "launchers", "artifacts", "core", "schema")

setup(
    name="review-sentiment-pipeline",
    version=re.search(r'^VERSION = "(.+)"', (HERE / "core/versions.py").read_text(encoding="utf-8"), re.M)[1],
    description="A TFX pipeline from review TSVs to a gated, served sentiment model",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["tfx", "tensorflow", "apache-beam", "kubeflow", "bert", "sentiment", "nsmc"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Environment :: GPU :: NVIDIA CUDA",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Natural Language :: Korean",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
    ],
    python_requires=">=3.10,<3.14",
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    packages=[
        *find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
        # Files only, installed beside the packages as in a checkout, where `core/installation.py` finds them.
        "configs",
        "data.encoder",
        "data.invariance",
        "data.sample",
    ],
    py_modules=["local_runner", "kubeflow_runner"],
    package_data={
        "schema": ["schema.pbtxt", "score_schema.pbtxt"],
        "components.run_report": ["report.html.j2", "model_page.md.j2"],
        "local": ["history.html.j2"],
        "local.monitoring": ["page.html.j2", "drift.html.j2", "shadow.html.j2"],
        "local.server": ["page.html.j2"],
        "configs": ["*.yaml", "examples/*.yaml", "glue/*.yaml"],
        "data.encoder": ["README.md", "ko-reviews-small/*"],
        "data.invariance": ["*.tsv"],
        "data.sample": ["*.txt", "README.md"],
    },
    entry_points={
        "console_scripts": ["reviews = local_runner:main", "reviews-kubeflow = kubeflow_runner:main"],
    },
)
