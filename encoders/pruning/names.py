"""The built-in pruning methods by name, for those who only list them: without torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuiltIn:
    """A class in `encoders.pruning.methods`."""

    class_name: str
    needs_attention: bool = False
    """Of the tower; a family has to show it."""


BUILT_IN = {
    "cdpruner": BuiltIn("CDPruner"),
    "divprune": BuiltIn("DivPrune"),
    "holitom": BuiltIn("HoliTom", needs_attention=True),
    "llavolta": BuiltIn("LLaVolta"),
    "random": BuiltIn("Random"),
    "uniform": BuiltIn("Uniform"),
    "visionzip": BuiltIn("VisionZip", needs_attention=True),
}
