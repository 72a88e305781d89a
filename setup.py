"""Metadata and direct dependencies of the package; `make lock` resolves them into the requirements files.

Install from those files (`make run` and `make test` do): tfx asks for tensorflow-hub<0.16, which does not import
beside TensorFlow 2.16, so only a resolver that is given requirements-override.txt can put this set together.
"""

import pathlib

from setuptools import find_packages, setup

INSTALL_REQUIRES = [
    # The pipeline. Last release whose whole set is published; it needs Python < 3.11.
    "tfx==1.16.0",
    # What tfx 1.16 allows (< 2.17).
    "tensorflow==2.16.2",
    # Keras 2, which TFX Transform, TFMA and TF Hub are written for.
    "tf-keras==2.16.0",
    # First release that imports without tf.estimator, which TensorFlow 2.16 dropped (requirements-override.txt).
    "tensorflow-hub==0.16.1",
    # Tokenisation inside the SavedModel; its minor version has to be TensorFlow's.
    "tensorflow-text==2.16.1",
    # BERT networks, AdamW with warm-up, the exporter to TF Hub's format.
    "tf-models-official==2.16.0",
    # Data processing. Later releases drop dill, which tfx-bsl imports.
    "apache-beam==2.62.0",
    # The metrics behind the model gate; the release made for tfx 1.16.
    "tensorflow-model-analysis==0.47.0",
    # pkg_resources, which tensorflow-hub imports, is gone from 81 on.
    "setuptools==80.10.2",
    # Tokens, batches and masks; 1.x is what tfx 1.16 and TensorFlow 2.16 share.
    "numpy==1.26.4",
    # Jensen-Shannon divergence of two histograms.
    "scipy==1.12.0",
    # Validated, frozen configuration.
    "pydantic==2.14.3",
    # Configuration files.
    "pyyaml==6.0.3",
    # Progress on the terminal.
    "rich==15.0.0",
    # Learns a WordPiece vocabulary from 150,000 reviews in seconds.
    "tokenizers==0.23.3",
    # Pictures of loss and accuracy.
    "matplotlib==3.10.9",
    # The HTML report.
    "jinja2==3.1.6",
    # Downloads a data set once and checks its SHA-256.
    "pooch==1.9.0",
    # Asks a real model server: over gRPC, with its own messages, over REST, and on ports that are free.
    "grpcio==1.65.5",
    "tensorflow-serving-api==2.16.1",
    "requests==2.34.2",
    "portpicker==1.6.0",
    # One run at a time in a run folder.
    "filelock==4.1.0",
    # Kubeflow's client and its pipeline format; later ones need a protobuf that tensorflow-metadata can't use.
    "kfp==2.5.0",
    # Workers on a cluster; the newest that kfp allows.
    "kubernetes==26.1.0",
    # Tries again what an API server refused for a moment; 1.x is what kfp allows.
    "urllib3==1.26.20",
    # Conditions of a compiled pipeline, which are written in CEL, on this machine.
    "cel-python==0.5.0",
]

EXTRAS_REQUIRE = {
    "dev": [
        # The test runner.
        "pytest==8.4.2",
        # Two test files at a time: many wait for processes that they have started.
        "pytest-xdist==3.8.0",
        # Holds a TFJob against the schema of its custom resource.
        "jsonschema==4.26.0",
        # Property tests of parsing and batching.
        "hypothesis==6.168.5",
        # The linter.
        "ruff==0.17.6",
    ],
    "bench": [
        # What a user would pick instead, for the benchmarks to measure against.
        "torch==2.14.1",
        "transformers==5.20.2",
    ],
    "gpu": [
        # The CUDA libraries that this TensorFlow was built for.
        "tensorflow[and-cuda]==2.16.2",
    ],
}

HERE = pathlib.Path(__file__).parent
PACKAGES = ("local", "cluster", "pipeline", "components", "trainer", "launchers", "artifacts", "core", "schema")

setup(
    name="review-sentiment-pipeline",
    version="0.2.0",
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
    python_requires=">=3.10,<3.11",
    install_requires=INSTALL_REQUIRES,
    extras_require=EXTRAS_REQUIRE,
    packages=[
        *find_packages(include=[pattern for name in PACKAGES for pattern in (name, f"{name}.*")]),
        # Files only. They lie beside the packages as in a checkout, so `core/installation.py` finds them in both.
        "configs",
        "data.invariance",
        "data.sample",
    ],
    py_modules=["local_runner", "kubeflow_runner"],
    package_data={
        "schema": ["schema.pbtxt"],
        "components.run_report": ["report.html.j2"],
        "configs": ["*.yaml"],
        "data.invariance": ["*.tsv"],
        "data.sample": ["*.txt", "README.md"],
    },
    entry_points={
        "console_scripts": ["reviews = local_runner:main", "reviews-kubeflow = kubeflow_runner:main"],
    },
)
