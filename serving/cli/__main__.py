"""`python -m saccade.serving.cli`: the command, where the console script is not on the path."""

from saccade.serving.cli.main import main

main()
