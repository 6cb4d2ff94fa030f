"""How much each place of a clip changes from one frame to the next."""
