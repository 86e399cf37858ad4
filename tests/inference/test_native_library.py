"""The library for this CPU is found and checked, and where there is none one line says why."""

import subprocess
import sys
from pathlib import Path

import pytest

from tinygpt.errors import ConfigError
from tinygpt.inference import native_library
from tinygpt.inference.native_library import ISAS, Library, library, unavailable

HERE = unavailable()
needs_engine = pytest.mark.skipif(HERE is not None, reason=str(HERE))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder where the library is looked for."""
    monkeypatch.setattr(native_library, "_FOLDER", tmp_path)
    monkeypatch.delenv("TINYGPT_NATIVE_ISA", raising=False)
    native_library._library.cache_clear()
    yield tmp_path
    native_library._library.cache_clear()


@needs_engine
class TestChoice:
    def test_the_best_that_the_cpu_runs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("TINYGPT_NATIVE_ISA", raising=False)
        monkeypatch.setenv("TINYGPT_NATIVE_ISA", "portable")
        portable = library()
        assert portable.isa == "portable"
        monkeypatch.delenv("TINYGPT_NATIVE_ISA")
        better = [isa for isa in ISAS[: ISAS.index(library().isa)] if native_library._find(isa)]
        assert not any(portable.supports(isa) for isa in better)

    def test_what_the_cpu_lacks_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Library, "supports", lambda self, isa: isa == "portable")
        native_library._library.cache_clear()
        try:
            assert library().isa == "portable"
            monkeypatch.setenv("TINYGPT_NATIVE_ISA", "avx2")
            assert "TINYGPT_NATIVE_ISA=avx2: this CPU lacks it" in str(unavailable())
        finally:
            native_library._library.cache_clear()

    def test_an_unknown_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TINYGPT_NATIVE_ISA", "avx")
        with pytest.raises(ConfigError, match='"avx" is not known; did you mean "avx2"'):
            library()

    def test_an_instruction_set_that_does_not_exist(self) -> None:
        assert not library().supports("sse9")


class TestUnavailable:
    def test_not_compiled(self, folder: Path) -> None:
        assert "needs a C++ compiler" in str(unavailable())

    def test_not_a_library(self, folder: Path) -> None:
        (folder / "_native_portable.abi3.so").write_bytes(b"\x7fELF nothing")
        assert "can't be loaded" in str(unavailable())

    @needs_engine
    def test_of_another_version(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = Path(native_library.__file__).parent
        for path in real.glob("_native_portable*"):
            (folder / path.name).symlink_to(path)
        assert unavailable() is None
        native_library._library.cache_clear()
        monkeypatch.setattr(native_library, "_ABI", 99)
        assert "of version 2, not 99" in str(unavailable())


@needs_engine
def test_no_torch_on_this_path() -> None:
    code = (
        "import sys\n"
        "from tinygpt.formats import weights\n"
        "from tinygpt.inference import native_session\n"
        "assert native_session.PackedModel\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@needs_engine
def test_null_pointers_are_refused() -> None:
    for name, arguments in (
        ("pack", (None, None, None, 0, 1)),
        ("open", (None, 1, None)),
        ("shape", (None, None)),
        ("session", (None, 1, 1, None)),
    ):
        with pytest.raises(RuntimeError, match="null pointer"):
            library().call(name, *arguments)
    for name in ("close", "end", "cancel"):
        library().release(name, 0)
