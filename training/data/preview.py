"""A contact sheet of examples."""

import textwrap
from functools import partial
from itertools import islice

from PIL import Image, ImageDraw, ImageFont

from saccade.training.data.clips import NUM_FRAMES
from saccade.training.data.examples import Example, clip, still, stream
from saccade.training.data.questions import STILL_KINDS
from saccade.training.data.scenes import Split

PICTURE, FRAME, GAP = 210, 120, 12
TEXT_WIDTH, LINE = 330, 17
COLUMNS = 3
PAPER, INK, FAINT = (255, 255, 255), (25, 25, 25), (110, 110, 110)


def contact_sheet(split: Split, seed: int, stills: int, clips: int, questions: int) -> Image.Image:
    """Stills in three columns, each with its questions and answers; a row for each clip."""
    still_height = max(PICTURE, (questions + 2) * LINE) + GAP
    rows = -(-stills // COLUMNS)
    clip_height = FRAME + 2 * LINE + GAP
    width = GAP + COLUMNS * (PICTURE + TEXT_WIDTH + 2 * GAP)
    sheet = Image.new("RGB", (width, GAP + rows * still_height + clips * clip_height), PAPER)
    drawer = ImageDraw.Draw(sheet)
    make = partial(still, split, seed, kinds=STILL_KINDS, num_questions=questions)
    for index, example in enumerate(islice(stream(make), stills)):
        left = GAP + (index % COLUMNS) * (PICTURE + TEXT_WIDTH + 2 * GAP)
        top = GAP + (index // COLUMNS) * still_height
        _still(sheet, drawer, example, left, top)
    for index, example in enumerate(islice(stream(partial(clip, split, seed)), clips)):
        _clip(sheet, drawer, example, GAP + rows * still_height + index * clip_height)
    return sheet


def _still(
    sheet: Image.Image, drawer: ImageDraw.ImageDraw, example: Example, left: int, top: int
) -> None:
    picture = example.pictures[0].copy()
    picture.thumbnail((PICTURE, PICTURE))
    sheet.paste(picture, (left, top))
    drawer.rectangle((left, top, left + picture.width, top + picture.height), outline=FAINT)
    font = ImageFont.load_default(13)
    for number, question in enumerate(example.questions):
        text = textwrap.shorten(question.text, 44, placeholder="…")
        place = (left + PICTURE + GAP, top + number * LINE)
        drawer.text(place, text, fill=FAINT, font=font)
        drawer.text((place[0] + TEXT_WIDTH - 52, place[1]), question.answer, fill=INK, font=font)


def _clip(sheet: Image.Image, drawer: ImageDraw.ImageDraw, example: Example, top: int) -> None:
    step = (sheet.width - 2 * GAP) // NUM_FRAMES
    for number, frame in enumerate(example.pictures):
        small = frame.copy()
        small.thumbnail((step - 6, FRAME))
        left = GAP + number * step
        sheet.paste(small, (left, top))
        drawer.rectangle((left, top, left + small.width, top + small.height), outline=FAINT)
    text = "     ".join(f"{q.text} {q.answer}" for q in example.questions)
    drawer.text((GAP, top + FRAME + 4), text, fill=INK, font=ImageFont.load_default(13))
