"""How many questions about held-out pictures a model, or a server, answers exactly."""
