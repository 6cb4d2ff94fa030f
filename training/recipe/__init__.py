"""How saccade-tiny is trained: stages, each described by a YAML file in `training/recipes/`."""
