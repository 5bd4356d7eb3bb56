"""How much of this machine a process may use: CPU affinity, and the limits of its control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
OWN_CGROUP: Final = Path("/proc/self/cgroup")


def usable_cpus(root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int:
    """Processors that this process may keep busy at once, at least 1: the smaller of affinity and quota, rounded down.

    Args:
        root: where control groups are mounted.
        own: the file that names this process's control group.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _cgroups(root, own, "cpu") if (quota := _cpu_quota(folder)) is not None]
    return max(1, min(affinity, *(int(quota) for quota in quotas)) if quotas else affinity)


def memory_limit(root: Path = CGROUP_ROOT, own: Path = OWN_CGROUP) -> int | None:
    """Bytes that the control group allows; None where it sets no limit."""
    limits = []
    for folder in _cgroups(root, own, "memory"):
        text = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        if text.isdigit() and int(text) < 1 << 60:
            limits.append(int(text))
    return min(limits, default=None)


def _cgroups(root: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control group and of those above it: version 2, or `controller` of version 1."""
    for line in _read(own).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0" and not controllers:
            base = root
        elif controller in controllers.split(","):
            base = root / controller
        else:
            continue
        inner = Path(place.lstrip("/"))
        for folder in (inner, *inner.parents):
            yield base / folder


def _cpu_quota(folder: Path) -> float | None:
    both = _read(folder / "cpu.max").split()
    if len(both) != 2:
        both = [_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")]
    quota, period = both
    if not quota.isdigit() or not period.isdigit() or int(period) == 0:
        return None
    return int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
