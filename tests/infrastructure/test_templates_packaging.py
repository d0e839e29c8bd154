"""The packages: the same bytes each time, with nothing in them that does not belong."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from infra import packaging
from infra.packaging import CONTROL_PLANE, PROXY, Package, PackagingError, build


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


@pytest.mark.parametrize("package", [PROXY, CONTROL_PLANE], ids=lambda package: package.name)
def test_the_same_sources_give_the_same_bytes(package: Package, tmp_path: Path) -> None:
    """Built twice, also after the sources' times changed, a package is the same to the byte."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one, two = build(package, tmp_path / "one"), build(package, tmp_path / "two")
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.key == two.key


def test_a_changed_source_changes_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key follows the content, so a changed function is deployed and an unchanged one is not."""
    source = tmp_path / "proxy"
    source.mkdir()
    (source / "handler.py").write_text("ONE = 1\n")
    monkeypatch.setattr(packaging, "ROOT", tmp_path)
    before = build(PROXY, tmp_path).key
    os.utime(source / "handler.py", (0, 0))
    assert build(PROXY, tmp_path).key == before
    (source / "handler.py").write_text("ONE = 2\n")
    assert build(PROXY, tmp_path).key != before


def test_the_proxys_package_is_the_proxy_alone(tmp_path: Path) -> None:
    """The data plane ships none of the control plane."""
    assert {name.split("/")[0] for name in names(build(PROXY, tmp_path).path)} == {"proxy"}


def test_the_control_planes_package_has_the_shared_schema_only(tmp_path: Path) -> None:
    """Of the proxy it holds the routing config's schema; a terminal's commands stay at home."""
    held = names(build(CONTROL_PLANE, tmp_path).path)
    assert {name for name in held if name.startswith("proxy/")} == {
        "proxy/__init__.py",
        "proxy/routing_config.py",
    }
    assert not any(name.startswith(("control_plane/cli/", "infra/", "tests/")) for name in held)
    assert "state_machine/remediation.asl.json" in held
    assert not any("__pycache__" in name for name in held)


@pytest.mark.parametrize(
    ("package", "module"),
    [
        (PROXY, "proxy.lambda_handler"),
        (PROXY, "proxy.authorizer"),
        (CONTROL_PLANE, "control_plane.functions.canary"),
        (CONTROL_PLANE, "state_machine.steps.observe"),
        (CONTROL_PLANE, "state_machine.steps.roll_back"),
    ],
)
def test_a_package_runs_by_itself(package: Package, module: str, tmp_path: Path) -> None:
    """Each handler can be imported from its package with none of the repository beside it."""
    archive = build(package, tmp_path).path
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r}); import {module} as m; "
        f"assert m.__file__.startswith({str(archive)!r}), m.__file__; assert callable(m.handler)"
    )
    environment = {**os.environ, "PYTHONPATH": "", "AWS_DEFAULT_REGION": "us-gov-west-1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_packages_stay_small(tmp_path: Path) -> None:
    """Own code is well below a mebibyte each: a cold start reads all of it."""
    for package in (PROXY, CONTROL_PLANE):
        artifact = build(package, tmp_path)
        assert artifact.size_bytes < 512 * 1024
        assert f"{artifact.path.name}: " in str(artifact)


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    """A package whose source is gone is not built without it."""
    with pytest.raises(PackagingError, match="odd: no nowhere in the repository"):
        build(Package("odd", ("nowhere",), ()), tmp_path)


def test_pins_are_constraints_that_pip_takes() -> None:
    """Versions and markers of the pinned requirements, no hashes and no extras, which a constraint may not have."""
    pins = packaging._PINNED_VERSION.findall(packaging.PINNED.read_text())
    assert any(pin.startswith("pydantic==") for pin in pins)
    assert not any("--hash" in pin or "[" in pin or "\\" in pin for pin in pins)


def test_a_package_beyond_its_bound_is_refused(tmp_path: Path) -> None:
    """A package that grew is noticed when it is built, with both sizes."""
    bounded = replace(PROXY, maximum_bytes=1000)
    with pytest.raises(PackagingError, match="proxy: .* bytes packed, more than the 1000 allowed"):
        build(bounded, tmp_path)
