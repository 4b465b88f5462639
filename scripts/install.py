"""Create .venv, install the pinned dependencies, and obtain Asterisk (sipp, spin and espeak-ng for tests) without root.

Usage: ``python3 scripts/install.py run|dev``. Run by the Makefile; needs only the standard library.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / ".venv" / "bin"


def main() -> int:
    """Install for running or developing; return the exit code."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "run"
    if sys.version_info < (3, 11):
        print(f"outdial needs Python 3.11 or newer; this is {sys.version.split()[0]}. Try: make run PYTHON=python3.11")
        return 1
    if not (BIN / "python").exists():
        print("Creating .venv")
        venv.create(ROOT / ".venv", with_pip=True)
    print(f"Installing pinned dependencies ({kind}), a minute the first time")
    pip = [BIN / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", ROOT / "requirements" / f"{kind}.lock"], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], check=True)
    code = subprocess.run([sys.executable, ROOT / "src/outdial/telephony/obtain.py", kind], check=False).returncode
    if code == 0:
        (ROOT / ".venv" / kind).touch()
    return code


if __name__ == "__main__":
    sys.exit(main())
