"""One module per family; `encoders.registry` names them."""
