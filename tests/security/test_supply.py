"""S1, S6, S7 and S20 to S22 of docs/trust.md: what the sources never do, and what CI installs."""

import ast
import io
import re
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import tinygpt
from tinygpt.errors import MachineError
from tinygpt.storage.archive import read_members
from tinygpt.storage.network import download

ROOT = Path(__file__).parents[2]
SOURCE = Path(tinygpt.__file__).parent

FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"),
    *("tarfile.extractall", "zipfile.extractall", "shutil.unpack_archive"),
    *("torch.jit.load", "torch.hub.load", "numpy.load", "np.load", "joblib.load"),
}


def called(node: ast.Call) -> str:
    """Return the dotted name of what is called; "" for anything else."""
    names: list[str] = []
    target: ast.expr = node.func
    while isinstance(target, ast.Attribute):
        names.append(target.attr)
        target = target.value
    return ".".join([*([target.id] if isinstance(target, ast.Name) else [""]), *names[::-1]])


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: p.name)
def test_s1_the_sources_run_nothing_that_a_file_says(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        assert name not in FORBIDDEN_CALLS, (path, node.lineno)
        assert not name.endswith((".extractall", ".extract")), (path, node.lineno)
        given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        assert given.get("shell") is not True, (path, node.lineno)
        assert given.get("weights_only") is not False, (path, node.lineno)
        assert given.get("trust_remote_code") is not True, (path, node.lineno)
        if name == "torch.load":
            assert given.get("weights_only") is True, (path, node.lineno)


def test_s1_there_is_no_way_back_to_unsafe_loading() -> None:
    found = [
        p.relative_to(SOURCE).as_posix()
        for p in SOURCE.rglob("*.py")
        if "torch.load(" in p.read_text("utf-8")
    ]
    assert found == ["formats/weights.py"]


@pytest.mark.parametrize("url", ["http://x.example/a", "ftp://x/a", "file:///etc/passwd", "a", ""])
def test_s6_downloads_come_over_https(url: str) -> None:
    with pytest.raises(MachineError, match="not an https address"):
        download(url, 1.0)


NAMES = ("../x", "/etc/x", "a/../../x", "a\\..\\x", "C:\\x")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_s7_no_member_of_an_archive_leaves_it(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x")
    else:
        with tarfile.open(path, "w:gz") as archive:
            item = tarfile.TarInfo(name)
            item.size = 1
            archive.addfile(item, io.BytesIO(b"x"))
    with pytest.raises(MachineError, match=r"not a plain file|can't be called"):
        read_members(path, lambda member: member.rpartition("/")[2] or member, 100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_s7_links_and_bombs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with tarfile.open(path, "w:gz") as archive:
        item = tarfile.TarInfo("x")
        item.type, item.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(item)
    with pytest.raises(MachineError, match="not a plain file"):
        read_members(path, lambda member: "x", 100)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("x", b"\0" * 10**7)
    assert path.stat().st_size < 20_000
    with pytest.raises(MachineError, match="more than 1,000,000 bytes"):
        read_members(path, lambda member: "x", 10**6)


def pins(text: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\;]+)", text, re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_s20_the_lock_and_the_list_agree() -> None:
    constraints = pins((ROOT / "constraints.txt").read_text("utf-8"))
    lock = (ROOT / "requirements-ci.txt").read_text("utf-8")
    assert constraints.pop("torch")  # by its version: its CPU build is on no common index
    assert pins(lock) == constraints, "run `make lock`"
    entries = re.split(r"\n(?=\S)", "\n".join(x for x in lock.splitlines() if x[:1] != "#"))
    for entry in entries:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in lock
    assert not re.search(r"^\s*--?(index|extra|find|trusted|i |f )", lock, re.M)


def test_s20_every_dependency_is_in_the_lock() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["project"]["dependencies"], *project["build-system"]["requires"]]
    wanted += [r for extra in project["project"]["optional-dependencies"].values() for r in extra]
    names = {re.match(r"[A-Za-z0-9._-]+", r)[0].lower().replace("_", "-") for r in wanted}
    known = pins((ROOT / "requirements-ci.txt").read_text("utf-8")).keys() | {"torch"}
    assert names <= known


def test_s20_ci_installs_by_hash() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "--no-deps --require-hashes -r requirements-ci.txt" in makefile
    assert "--no-deps --no-build-isolation ." in makefile
    assert "export CI=true" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_s22_the_trust_model_is_written_down() -> None:
    policy = (ROOT / "SECURITY.md").read_text("utf-8")
    for word in ("safetensors", "pickle", "--allow-pickle", "transformers", "native engine"):
        assert word in policy
