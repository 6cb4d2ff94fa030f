"""Let a CPU build of torch import a CUDA build of torchvision.

The package index has torchvision only as CUDA builds. Their native library does not load beside a
CPU torch, and `import torchvision` then stops with "operator torchvision::nms does not exist",
although nothing that we use needs that library (vLLM and transformers want
`torchvision.transforms.v2`). Declaring the two operators whose schemas torchvision looks up at
import is enough.

`install.py` puts this module and a one-line `.pth` file into the virtual environment, so that it
holds in every Python process, those that vLLM and Ray start included. Nothing but a small finder is
installed at Python start: torch is imported only when somebody imports torchvision. Where the
native library loads (any GPU installation), nothing is declared.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class _TorchvisionFinder:
    """Meta path finder that steps in once, before torchvision is first imported."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec("torchvision")
        if spec is not None and spec.origin is not None:
            _declare_missing_operators(Path(spec.origin).parent)
        return spec


def _declare_missing_operators(torchvision_dir: Path) -> None:
    import torch

    for library in torchvision_dir.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return
    fragment = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        fragment.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    # A library's operators go away with the object that declared them.
    sys.modules[__name__].__dict__["_fragment"] = fragment


sys.meta_path.insert(0, _TorchvisionFinder())  # type: ignore[arg-type]
