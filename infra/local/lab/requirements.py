"""What the lab needs of the machine, and what of it is missing.

Not guaranteed: that everything which passes here works; a kernel that lacks one feature shows it only when
the lab starts, and the error then names the command that failed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from pathlib import Path

# By Debian package: one file that it brings.
_PACKAGES = {
    "charon-systemd": "/usr/sbin/charon-systemd",
    "strongswan-swanctl": "/usr/sbin/swanctl",
    "libcharon-extra-plugins": "/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so",
    "libstrongswan-standard-plugins": "/usr/lib/ipsec/plugins/libstrongswan-gcm.so",
    "bird2": "/usr/sbin/bird",
    "frr": "/usr/lib/frr/bgpd",
    "tcpdump": "/usr/bin/tcpdump",
    "nftables": "/usr/sbin/nft",
    "iproute2": "/usr/sbin/ip",
    "iputils-ping": "/usr/bin/ping",
    "procps": "/usr/sbin/sysctl",
}
_TUN = Path("/dev/net/tun")


def missing() -> str | None:
    """One line on what is missing, or None if the lab can run here."""
    lacking = []
    if platform.system() != "Linux":
        return f"the lab needs Linux, not {platform.system()}"
    if os.geteuid() != 0:
        lacking.append("root")
    elif not os.access(_TUN, os.R_OK | os.W_OK):
        lacking.append(f"{_TUN}")
    packages = [name for name, file in _PACKAGES.items() if not _is_there(file)]
    if packages:
        lacking.append(f"Debian packages ({' '.join(packages)})")
    if importlib.util.find_spec("vici") is None:
        lacking.append("the Python package vici")
    return f"the lab needs {', '.join(lacking)}" if lacking else None


def _is_there(file: str) -> bool:
    return Path(file).exists() or shutil.which(Path(file).name) is not None
