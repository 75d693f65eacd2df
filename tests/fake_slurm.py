"""Stand-ins for Slurm's commands: the array's jobs are run one after the other by bash, in the background."""

from __future__ import annotations

import textwrap
from pathlib import Path

SBATCH = """
    for script; do :; done  # the last argument
    [ -e "$STATE/refuse" ] && { echo "sbatch: error: Invalid partition" >&2; exit 1; }
    rm -f "$STATE/ended" "$STATE/cancelled"
    cp "$script" "$STATE/script"
    last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
    output=$(sed -n 's/^#SBATCH --output=\\(.*\\)/\\1/p' "$script")
    (
        for task in $(seq 0 "$last"); do
            [ -e "$STATE/cancelled" ] && break
            name=${output/\\%A/42}
            SLURM_ARRAY_TASK_ID=$task RUN_OFFSET=0 SLURM_NODELIST=localhost \\
                bash "$STATE/script" >"${name/\\%a/$task}" 2>&1 </dev/null
        done
        touch "$STATE/ended"
    ) >/dev/null 2>&1 &
    echo "Submitted batch job 42"
"""
SQUEUE = """
    [ "$*" = "--noheader --jobs 42" ] || exit 64
    [ -e "$STATE/ended" ] && { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
    echo "42_[0-9] main footnote R"
"""
SCANCEL = """
    echo "$*" > "$STATE/cancelled"
    until [ -e "$STATE/ended" ]; do sleep 0.02; done
"""
SCONTROL = "echo localhost"


def install(folder: Path) -> Path:
    """Put the commands into `folder/bin`, which is returned; `folder` holds what they know of the one job."""
    place = folder / "bin"
    place.mkdir()
    for name, body in {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": SCANCEL, "scontrol": SCONTROL}.items():
        (place / name).write_text(f"#!/bin/bash\nSTATE={folder}\n{textwrap.dedent(body)}")
        (place / name).chmod(0o755)
    return place
