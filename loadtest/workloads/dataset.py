"""Questions about pictures whose answers are known, to score answers under load."""

import base64
import io
from collections.abc import Iterator

from PIL import Image

from saccade.loadtest.workloads.session import MediaUrl, Session, Turn
from saccade.loadtest.workloads.spec import DatasetSpec


def dataset_sessions(spec: DatasetSpec, seed: int) -> Iterator[Session]:
    """Endless: a picture and a question each, with the one-word answer."""
    from saccade.training.data import Split, still, stream

    split = Split(spec.split)
    for example in stream(lambda index: still(split, seed, index)):
        (picture,), (question,) = example.pictures, example.questions
        turn = Turn(
            text=question.text,
            media=(MediaUrl(_png_url(picture), num_pixels=picture.width * picture.height),),
            max_tokens=spec.output_tokens,
            expected=question.answer,
        )
        yield Session(component=question.kind, turns=(turn,))


def _png_url(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
