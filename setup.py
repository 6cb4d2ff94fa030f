"""Generates the gRPC code as a step of every build; everything else stands in pyproject.toml."""

from pathlib import Path
from typing import ClassVar

from setuptools import Command, setup
from setuptools.command.build import build

PROTO = Path("saccade/serving/transport/instance.proto")


class GenerateGrpc(Command):
    """Writes instance_pb2{,_grpc}.py into the build; beside the .proto for an editable install."""

    description = "generate Python code from " + PROTO.name
    user_options: ClassVar[list[tuple[str, str | None, str]]] = []
    editable_mode = False
    build_lib: str | None

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        from grpc_tools import protoc

        out = self._out()
        out.mkdir(parents=True, exist_ok=True)
        # Relative to the repository root, so that the generated modules import each other by their
        # full name (saccade.serving.transport.instance_pb2).
        options = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", "--proto_path=.", *options, str(PROTO)]) != 0:
            raise SystemExit(f"protoc could not compile {PROTO}")

    def _out(self) -> Path:
        return Path() if self.editable_mode or self.build_lib is None else Path(self.build_lib)

    def get_source_files(self) -> list[str]:
        return [str(PROTO)]

    def get_outputs(self) -> list[str]:
        stem = self._out() / PROTO.with_suffix("")
        return [f"{stem}{suffix}" for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Build(build):
    # After build_py, which may have copied the files of an earlier editable install.
    sub_commands: ClassVar = [*build.sub_commands, ("generate_grpc", None)]


setup(cmdclass={"build": Build, "generate_grpc": GenerateGrpc})
