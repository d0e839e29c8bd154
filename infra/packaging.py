"""The packages that the functions run from: the same bytes from the same sources, every time.

`proxy.zip` holds the proxy alone, so that the data plane ships none of the control plane. The control
plane's package takes from the proxy only the schema that both share. Names carry a hash of the content,
so CloudFormation sees a new package exactly when something in it changed.

Not guaranteed: dependencies. They are left out unless asked for (`with_dependencies`), because a process
that has them installed needs no second copy; what `pip` then downloads has the pinned
versions, and is not checked against their hashes; of a version that is pinned twice, the deploying interpreter's is taken. boto3 is not packed: Lambda's runtime has it.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "requirements" / "embedded-cloud.txt"
RUNTIME = "3.12"
PLATFORM = "manylinux2014_aarch64"
# Lambda's limit for a package, unpacked with everything in it.
_MIB = 1024 * 1024
MAXIMUM_UNPACKED_BYTES = 250 * _MIB

# The earliest time that a zip archive can tell.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_TEMPLATE_PATH = re.compile(r"^(?P<key> +TemplateURL: )(?P<path>[\w./-]+\.yaml)$", re.MULTILINE)
# A pin with its marker, without its hashes; extras, which no constraint may have, are left out.
_PINNED_VERSION = re.compile(r"^[A-Za-z0-9._-]+==[^\s;\\]+(?: ; [^\\\n]*)?", re.MULTILINE)
_KINDS = frozenset({".py", ".json", ".typed"})
# What pip writes of the machine and the moment that it ran on; nothing of it is read at run time.
_OF_THIS_INSTALLATION = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})


class PackagingError(Exception):
    """A package could not be built; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Package:
    """What one package is made of: folders and files of the repository, and distributions.

    `leaves_out`: folders inside the sources that do not go in. `maximum_bytes`: what the packed archive may
    weigh at most. A cold start reads all of it, so growth is to be decided and not to happen.
    """

    name: str
    sources: tuple[str, ...]
    distributions: tuple[str, ...]
    leaves_out: tuple[str, ...] = ()
    maximum_bytes: int = 50 * _MIB


PROXY = Package("proxy", ("proxy",), ("httptools", "msgspec", "urllib3"), maximum_bytes=6 * _MIB)
CONTROL_PLANE = Package(
    "control-plane",
    ("control_plane", "state_machine", "proxy/__init__.py", "proxy/routing_config.py"),
    ("aws-lambda-powertools", "msgspec", "networkx", "pydantic", "pydantic-settings"),
    # An operator's business, with a terminal's and a web server's dependencies.
    leaves_out=(
        "control_plane/cli",
        "control_plane/console",
        "control_plane/overview",
        "control_plane/schemas",
    ),
    maximum_bytes=12 * _MIB,
)


@dataclass(frozen=True, slots=True)
class Artifact:
    """A built package. `sha256`, in hex, is of the names and contents of its files: other than the
    archive's bytes it does not depend on the version of zlib that packed them. Sizes in bytes."""

    name: str
    path: Path
    sha256: str
    size_bytes: int
    unpacked_bytes: int

    @property
    def key(self) -> str:
        """Its name in the artifact bucket."""
        return f"{self.name}-{self.sha256[:16]}{self.path.suffix}"

    def __str__(self) -> str:
        unpacked = self.unpacked_bytes / 1024
        return f"{self.path.name}: {self.size_bytes / 1024:.0f} KiB, {unpacked:.0f} KiB unpacked"


def build(package: Package, directory: Path, *, with_dependencies: bool = False) -> Artifact:
    """Build `<name>.zip` in `directory`.

    Raises:
        PackagingError: a source is missing, `pip` failed, or the package is too large for Lambda.
    """
    files = _sources(package)
    path = directory / f"{package.name}.zip"
    if with_dependencies:
        with tempfile.TemporaryDirectory(prefix="twinspan-package-") as vendored:
            _install(package, Path(vendored))
            files.update(_tree(Path(vendored)))
            unpacked, digest = _write(path, files)
    else:
        unpacked, digest = _write(path, files)
    if unpacked > MAXIMUM_UNPACKED_BYTES:
        raise PackagingError(
            f"{package.name}: {unpacked} bytes unpacked, more than Lambda's {MAXIMUM_UNPACKED_BYTES}"
        )
    packed = path.stat().st_size
    if packed > package.maximum_bytes:
        raise PackagingError(
            f"{package.name}: {packed} bytes packed, more than the {package.maximum_bytes} allowed"
        )
    return Artifact(package.name, path, digest, packed, unpacked)


def definition(machine: str) -> Artifact:
    """A state machine's definition as an artifact, unchanged: `remediation` or `sweep`."""
    source = ROOT / "state_machine" / f"{machine}.asl.json"
    if not source.is_file():
        raise PackagingError(f"no state machine definition at {source.relative_to(ROOT)}")
    return artifact(machine, source)


def distributed_sweep(directory: Path) -> Artifact:
    """The sweep's definition with a distributed map: each batch in an execution of its own.

    An inline map is limited by its one execution: 40 batches at a time, 25,000 events of history.
    """
    document = json.loads(definition("sweep").path.read_text())
    batches = document["States"]["Batches"]
    batches |= {"Label": "Batches", "MaxConcurrency": 100, "ToleratedFailurePercentage": 100.0}
    batches["ItemProcessor"]["ProcessorConfig"] = {
        "Mode": "DISTRIBUTED",
        "ExecutionType": "STANDARD",
    }
    path = directory / "sweep-distributed.asl.json"
    path.write_text(json.dumps(document, indent=2))
    return artifact("sweep-distributed", path)


def templates(
    root: Path,
    directory: Path,
    url_of: Callable[[Artifact], str],
    rewritten: Callable[[str], str] = str,
) -> list[Artifact]:
    """A template and those nested in it, innermost first, the root last.

    As `aws cloudformation package` does, each `TemplateURL` that is a path, relative to its template,
    becomes the address that `url_of` gives the nested one. Addresses carry the content's digest, so a
    change in a nested template changes its parents too. `rewritten` changes a template's text otherwise. The
    results are put into `directory`.

    Raises:
        PackagingError: a nested template is missing.
    """
    built: list[Artifact] = []

    def build_nested(path: Path) -> Artifact:
        def replaced(match: re.Match[str]) -> str:
            nested = path.parent / match["path"]
            if not nested.is_file():
                raise PackagingError(f"{path.name}: no nested template {match['path']}")
            return f"{match['key']}{url_of(build_nested(nested))}"

        text = rewritten(_TEMPLATE_PATH.sub(replaced, path.read_text()))
        name = "-".join(path.relative_to(root.parent).with_suffix("").parts)
        target = directory / f"{name}.yaml"
        target.write_text(text)
        made = artifact(name, target)
        built.append(made)
        return made

    build_nested(root)
    return built


def artifact(name: str, path: Path) -> Artifact:
    """A file as an artifact, as it is."""
    content = path.read_bytes()
    return Artifact(name, path, hashlib.sha256(content).hexdigest(), len(content), len(content))


def _sources(package: Package) -> dict[str, Path]:
    """Archive names and the files behind them."""
    files: dict[str, Path] = {}
    for source in package.sources:
        path = ROOT / source
        if path.is_file():
            files[source] = path
        elif path.is_dir():
            files |= {
                item.relative_to(ROOT).as_posix(): item
                for item in path.rglob("*")
                if item.is_file() and item.suffix in _KINDS and not _left_out(package, item)
            }
        else:
            raise PackagingError(f"{package.name}: no {source} in the repository")
    return files


def _left_out(package: Package, path: Path) -> bool:
    return any(path.is_relative_to(ROOT / folder) for folder in package.leaves_out)


def _tree(directory: Path) -> Mapping[str, Path]:
    return {
        item.relative_to(directory).as_posix(): item
        for item in directory.rglob("*")
        if item.is_file()
        and "__pycache__" not in item.parts
        # Commands begin with the path of the interpreter that installed them; a function calls none.
        and item.relative_to(directory).parts[0] != "bin"
        and not (item.name in _OF_THIS_INSTALLATION and item.parent.suffix == ".dist-info")
    }


def _write(path: Path, files: Mapping[str, Path]) -> tuple[int, str]:
    """Write the archive; returns its unpacked size in bytes and the digest of its content."""
    unpacked, digest = 0, hashlib.sha256()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, date_time=_TIMESTAMP)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, whatever built it
            entry.external_attr = 0o100644 << 16
            content = files[name].read_bytes()
            unpacked += len(content)
            digest.update(f"{name}\0{len(content)}\0".encode() + content)
            archive.writestr(entry, content)
    return unpacked, digest.hexdigest()


def _install(package: Package, target: Path) -> None:
    constraints = target.parent / f"{target.name}-constraints.txt"
    # With hashes in a constraint pip wants one of every requirement, and ours are named without versions.
    constraints.write_text("\n".join(_PINNED_VERSION.findall(PINNED.read_text())) + "\n")
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", str(target), "--constraint", str(constraints)),
        *("--platform", PLATFORM, "--python-version", RUNTIME, "--implementation", "cp"),
        *("--only-binary", ":all:"),
        *package.distributions,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    constraints.unlink()
    if done.returncode != 0:
        raise PackagingError(f"{package.name}: pip failed: {done.stderr.strip()[-800:]}")


def main(arguments: Iterable[str] | None = None) -> int:
    """`python -m infra.packaging [--with-dependencies] DIRECTORY`: build both, print their sizes."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m infra.packaging", description=main.__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--with-dependencies", action="store_true")
    options = parser.parse_args(None if arguments is None else list(arguments))
    options.directory.mkdir(parents=True, exist_ok=True)
    try:
        for package in (PROXY, CONTROL_PLANE):
            print(build(package, options.directory, with_dependencies=options.with_dependencies))
    except PackagingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
