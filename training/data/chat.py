"""Text-only turns about the vocabulary of the pictures, so that plain chat works too."""

from random import Random

from saccade.training.data.palette import COLOURS
from saccade.training.data.questions import Question
from saccade.training.data.shapes import SHAPES

CORNERS = {"triangle": 3, "square": 4, "rectangle": 4, "diamond": 4, "pentagon": 5, "hexagon": 6}
ROUND = ("circle", "oval", "ring")
GREETINGS = ("Hello", "Hello!", "Hi", "Hi!", "Good morning", "Hello there", "hey")
WHO = (
    "Who are you?",
    "What are you?",
    "What can you do?",
    "What is your name?",
    "How can you help me?",
)
INTRODUCTION = "I am saccade-tiny, a small model. I answer questions about pictures of shapes."
NO_PICTURE = "There is no picture."


def sample_chat(rng: Random) -> Question:
    colour, shape = rng.choice(COLOURS), rng.choice(SHAPES)
    cornered = rng.choice(tuple(CORNERS))
    match rng.randrange(12):
        case 0:
            text, answer = rng.choice(GREETINGS), "Hello! Ask me about a picture."
        case 1:
            text, answer = rng.choice(WHO), INTRODUCTION
        case 2 | 3:
            text = rng.choice((f"How many sides does a {cornered} have?",
                               f"How many corners does a {cornered} have?",
                               f"How many sides has a {cornered}?"))  # fmt: skip
            answer = str(CORNERS[cornered])
        case 4:
            word, sort = rng.choice(((colour, "colour"), (shape, "shape")))
            text, answer = f"Is {word} a colour or a shape?", sort
        case 5:
            word, sort = rng.choice(((colour, "colour"), (shape, "shape")))
            asked = rng.choice(("colour", "shape"))
            text, answer = f"Is {word} a {asked}?", "yes" if sort == asked else "no"
        case 6:
            text = rng.choice((f"Is a {shape} round?", f"Is the {shape} a round shape?"))
            answer = "yes" if shape in ROUND else "no"
        case 7:
            text, answer = "Which shapes do you know?", ", ".join(SHAPES)
        case 8:
            text, answer = "Which colours do you know?", ", ".join(COLOURS)
        case 9:
            text, answer = rng.choice(("Thanks!", "Thank you.", "Thanks")), "You are welcome."
        case _:
            text = rng.choice((f"What colour is the {shape}?", f"What shape is {colour}?",
                               "How many objects are there?", f"Is there a {shape}?",
                               "Describe the picture.", "What do you see?"))  # fmt: skip
            answer = NO_PICTURE
    return Question("chat", text, answer)
