"""Each kept token takes in the tokens that it stands for."""
