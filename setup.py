"""Compile native/*.cpp once per instruction set; all else is in pyproject.toml.

The libraries are optional: without a compiler that takes them, the package installs without, and
everything runs on torch.
"""

import copy
import os
import platform
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

AVX2 = ["-mavx2", "-mfma"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]
X86 = {"avx2": AVX2, "avx512": AVX512, "vnni": [*AVX512, "-mavx512vnni"]}
# No contraction and no fast maths: a sum has the same bits wherever it is made.
FLAGS = ["-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off"]
FLAGS += ["-fvisibility=hidden", "-pthread", "-g0"]
FLAGS += ["-Wno-maybe-uninitialized", "-Wno-uninitialized"]  # of GCC 12's own headers of intrinsics


class BuildLibraries(build_ext):
    """Each library from its own objects; they are loaded by ctypes, so none is a Python module."""

    def build_extension(self, ext: Extension) -> None:
        """Build one library where no other one's objects lie."""
        own = copy.copy(self)
        own.build_temp = os.path.join(self.build_temp, ext.name)
        build_ext.build_extension(own, ext)

    def get_export_symbols(self, ext: Extension) -> list[str]:
        """Name no PyInit function."""
        return list(ext.export_symbols)


def libraries() -> list[Extension]:
    """Return the portable library, and on x86 those of its larger instruction sets."""
    x86 = platform.machine().lower() in ("x86_64", "amd64") and "arm64" not in os.environ.get(
        "ARCHFLAGS", ""
    )
    sets = {"portable": [], **(X86 if x86 else {})}
    return [
        Extension(
            f"tinygpt.inference._native_{isa}",
            ["native/decode.cpp", "native/train.cpp"],
            depends=["native/common.h"],
            language="c++",
            extra_compile_args=[*FLAGS, *flags],
            extra_link_args=[] if sys.platform == "win32" else ["-pthread"],
            py_limited_api=True,  # no Python in it: one wheel for every version
            optional=True,
        )
        for isa, flags in sets.items()
    ]


setup(
    ext_modules=libraries(),
    cmdclass={"build_ext": BuildLibraries},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
