"""The native programs under the address, undefined-behaviour and thread sanitizers."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tinygpt.inference.native_library import library, unavailable

HERE = Path(__file__).parent
FLAGS = ["-std=c++17", "-O1", "-g", "-ffp-contract=off", "-fno-math-errno", "-pthread", "-w"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(unavailable() is not None, reason=str(unavailable())),
]


@pytest.mark.parametrize("source", ["native_fuzz.cpp", "native_train_fuzz.cpp"])
@pytest.mark.parametrize(
    ("sanitizers", "threads", "rounds"), [("address,undefined", 2, 60), ("thread", 4, 25)]
)
def test_fuzz(tmp_path: Path, source: str, sanitizers: str, threads: int, rounds: int) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    flags = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", *FLAGS]
    flags += ["-mavx2", "-mfma"] if library().supports("avx2") else []
    empty, program = tmp_path / "empty.cpp", tmp_path / "fuzz"
    empty.write_text("int main() {}", "utf-8")
    if subprocess.run([compiler, *flags, empty, "-o", program], capture_output=True).returncode:
        pytest.skip(f"the compiler has no runtime for -fsanitize={sanitizers}")
    subprocess.run([compiler, *flags, HERE / source, "-o", program], check=True)
    done = subprocess.run(
        [program, tmp_path, "1", str(rounds), str(threads)], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
