"""What a picture shows, in a sentence: for the contrastive stage, and as answers to requests that
take more than one word.

Descriptions go through the objects in order, so learning them is learning to find every object
once, and where it is.
"""

from collections.abc import Sequence
from random import Random

from saccade.training.data.questions import Question, article
from saccade.training.data.scenes import Object, Scene


def caption(rng: Random, scene: Scene) -> str:
    """Every object in any order, each with some of its qualities."""
    things = rng.sample(scene.objects, len(scene.objects))
    says_size, says_label = rng.random() < 0.5, rng.random() < 0.8
    said = [full_name(o, size=says_size, label=says_label) for o in things]
    opening = rng.choice(("", "", "a picture of ", "this shows "))
    return opening + listed(said)


def full_name(thing: Object, *, size: bool = True, label: bool = True) -> str:
    words = [thing.size] * size + [thing.colour, thing.shape]
    named = article(" ".join(words))
    return f"{named} labelled {thing.label.lower()}" if label and thing.label else named


def listed(said: Sequence[str]) -> str:
    *most, last = said
    return f"{', '.join(most)} and {last}" if most else last


def describe(rng: Random, scene: Scene) -> Question:
    """A request whose answer tells of every object."""
    by_x = sorted(scene.objects, key=lambda o: o.x)
    by_y = sorted(scene.objects, key=lambda o: o.y)
    match rng.randrange(4):
        case 0:
            text = rng.choice(
                ("Describe the picture.", "What is in the picture?", "What do you see?",
                 "Describe the image.", "What does the picture show?")
            )  # fmt: skip
            answer = listed([full_name(o) for o in by_x])
        case 1:
            text = rng.choice(
                ("List the objects from left to right.", "Name the objects from left to right.")
            )
            answer = listed([f"{o.colour} {o.shape}" for o in by_x])
        case 2:
            text = rng.choice(
                ("List the objects from top to bottom.", "Name the objects from top to bottom.")
            )
            answer = listed([f"{o.colour} {o.shape}" for o in by_y])
        case _:
            text = rng.choice(("Where is each object?", "Where are the objects?"))
            answer = listed([f"{full_name(o, size=False)} {place(o, scene)}" for o in by_x])
    return Question("description", text, answer)


def place(thing: Object, scene: Scene) -> str:
    """One of nine fields of the picture."""
    rows = ("top", "middle", "bottom")
    columns = ("left", "centre", "right")
    row = rows[min(2, int(3 * thing.y / scene.height))]
    column = columns[min(2, int(3 * thing.x / scene.width))]
    if (row, column) == ("middle", "centre"):
        return "in the centre"
    return f"at the {row} {column}"
