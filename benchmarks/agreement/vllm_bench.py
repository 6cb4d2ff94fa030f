"""`vllm bench serve`, for vLLM builds whose command `vllm` does not start."""

from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser


def run() -> None:
    """Takes the arguments of `vllm bench serve`."""
    parser = FlexibleArgumentParser(description=__doc__)
    add_cli_args(parser)
    main(parser.parse_args())


if __name__ == "__main__":
    run()
