"""vLLM's HTTP application over our engine client; with `serving.engine` the only place that knows
vLLM's internals."""

from argparse import Namespace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from vllm import __version__ as vllm_version
from vllm.config import VllmConfig
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

from saccade.serving.api.envelope import error_body
from saccade.serving.config.settings import Settings
from saccade.serving.engine.args import gateway_engine_args
from saccade.serving.engine.client import GatewayEngineClient
from saccade.serving.errors import SaccadeError

VLLM_VERSION: str = vllm_version


def gateway_config(settings: Settings) -> VllmConfig:
    """vLLM's configuration for a process that renders prompts and has no engine."""
    return AsyncEngineArgs(**gateway_engine_args(settings)).create_engine_config()


async def build_vllm_app(settings: Settings, client: GatewayEngineClient) -> FastAPI:
    """The application with all of vLLM's routes; which of them are served is decided outside."""
    args = _server_args(settings)
    app = build_app(args, ("generate",), client.model_config)
    app.add_exception_handler(SaccadeError, _our_error)
    await init_app_state(client, app.state, args, ("generate",))
    return app


async def list_models(app: FastAPI) -> dict[str, Any]:
    """The body of `GET /v1/models`."""
    models = await app.state.openai_serving_models.show_available_models()
    listed: dict[str, Any] = models.model_dump()
    for model in listed["data"]:
        # vLLM puts the checkpoint's folder there.
        model["root"] = model["id"]
    return listed


def _server_args(settings: Settings) -> Namespace:
    parser = make_arg_parser(FlexibleArgumentParser())
    args: Namespace = parser.parse_args([])
    for name, value in gateway_engine_args(settings).items():
        setattr(args, name, value)
    args.chat_template = str(settings.model.chat_template) if settings.model.chat_template else None
    args.enable_prompt_tokens_details = True
    args.sse_keep_alive_interval = settings.api.keep_alive_s
    args.disable_log_stats = True
    if settings.model.tool_call_parser is not None:
        args.enable_auto_tool_choice = True
        args.tool_call_parser = settings.model.tool_call_parser
    validate_parsed_serve_args(args)
    return args


async def _our_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, SaccadeError)
    return JSONResponse(error_body(error), status_code=error.status)
