"""How the test server answers a request: delays and faults that are known beforehand."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FIELD = "test_server"
"""Of a request's body: a script for this request alone."""


class Script(BaseModel):
    """One answer. Times in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ttft_s: float = Field(default=0.05, ge=0)
    """From the request to the first chunk with content."""
    gap_s: float = Field(default=0.01, ge=0)
    """From one chunk with content to the next."""
    num_chunks: int | None = Field(default=None, ge=0)
    """With content; None takes as many as make `max_tokens`."""
    tokens_per_chunk: int = Field(default=1, ge=1)
    empty_chunks: bool = False
    """An empty delta before every chunk with content, and one halfway to the first."""
    comments: bool = False
    """A keep-alive comment before every chunk."""
    usage: Literal["chunk", "finish", "none"] = "chunk"
    """In a chunk of its own after the last, in the one with the finish reason, or not at all."""
    usage_delay_s: float = Field(default=0.0, ge=0)
    """Before the usage chunk: no part of the answer's latency."""
    done_marker: bool = True
    """End with `data: [DONE]`."""
    status: int = Field(default=200, ge=200, le=599)
    """Anything else is an error at once."""
    error_after: int | None = Field(default=None, ge=0)
    """Report an error in the stream after this many chunks."""
    disconnect_after: int | None = Field(default=None, ge=0)
    """Cut the connection after this many chunks."""
    stop_after: int | None = Field(default=None, ge=0)
    """End the stream after this many chunks, properly but without a finish reason."""
    glue: int = Field(default=1, ge=1)
    """Write this many chunks at once, when the last of them is due."""

    def chunks_for(self, max_tokens: int) -> int:
        """Number of chunks with content."""
        if self.num_chunks is not None:
            return self.num_chunks
        return -(-max_tokens // self.tokens_per_chunk)
