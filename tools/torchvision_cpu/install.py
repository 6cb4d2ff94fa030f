"""Install the torchvision shim into the virtual environment of the Python that runs this file."""

import shutil
import sysconfig
from pathlib import Path

SHIM = "torchvision_cpu_shim"


def main() -> None:
    site_packages = Path(sysconfig.get_path("purelib"))
    shutil.copy(Path(__file__).with_name(f"{SHIM}.py"), site_packages)
    (site_packages / f"{SHIM}.pth").write_text(f"import {SHIM}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
