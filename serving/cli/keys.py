"""`saccade keys`: API keys for those who may use the server."""

import json
import re
import sys
from typing import Annotated

import typer

from saccade.serving.cli.options import fail

app = typer.Typer(help="Make API keys.", no_args_is_help=True)

NUM_BYTES = 32


@app.callback()
def _keys() -> None:
    pass


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Whom the key stands for, such as team-a.")],
    max_running: Annotated[
        int | None,
        typer.Option(min=1, help="Answers of the tenant at once; more get 429."),
    ] = None,
) -> None:
    """Make a random key: its entry for api.keys_file on stdout, the key itself on stderr.

    The entry holds a digest, so the key is shown this once, and nowhere kept.

    Example: saccade keys create team-a >> keys.yaml
    """
    import hashlib
    import secrets

    from saccade.serving.config.keys import TENANT

    if not re.fullmatch(TENANT, tenant):
        fail(f"{tenant!r} is no name of a tenant: 64 letters, digits, `_`, `.`, `-` at most.", 2)
    key = f"sk-{secrets.token_urlsafe(NUM_BYTES)}"
    entry = {"sha256": hashlib.sha256(key.encode()).hexdigest(), "tenant": tenant}
    more = {} if max_running is None else {"max_running": max_running}
    print(f"The key of {tenant}, which is shown only now:\n  {key}", file=sys.stderr)
    # JSON is YAML too: a line of a list.
    print(f"- {json.dumps(entry | more)}")
