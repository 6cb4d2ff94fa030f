"""What all sections of the configuration have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the tree; keys that it does not know are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
