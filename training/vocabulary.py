"""The words from which the tokenizer learns its merges, most important first.

`SUBJECT` is what the small model is about: pictures of coloured shapes, questions about them and
their answers, and the words of a tool call. `COMMON` is everyday English in rough order of
frequency, so that plain chat does not fall apart into bytes. Changing a word changes the ids of
many tokens, and so needs a newly trained model.
"""

COLOURS = """
red green blue yellow orange purple pink brown black white grey gray cyan magenta violet turquoise
"""

SHAPES = """
circle square triangle rectangle pentagon hexagon star heart diamond cross ellipse oval ring arrow
crescent shape shapes circles squares triangles rectangles pentagons hexagons stars hearts diamonds
crosses ellipses ovals rings arrows crescents object objects
"""

QUESTIONS = """
what which how many where is are there the a an of in on to and or not no yes colour color colours
colors does do did it has have with left right above below than same different size small medium
large big bigger smaller tiny picture image photo background label labelled letter letters digit
digits number word written read reads say says show shows see shown count total all any both
between next near top bottom middle centre center corner side upper lower first last second third
before after then frame frames clip video move moves moving moved direction up down appear appears
appeared disappear order event left-hand right-hand describe answer question please one two three
four five six seven eight nine zero none true false nothing something plain striped textured dotted
"""

TOOLS = """
name arguments function type string integer object parameters properties required description tool
call tools result null value enum array items content role user assistant system message
"""

COMMON = """
be that for you he she they we this his her their our your my me him them us from by at as but if
when who why because so can could will would should may might must was were been being had having
get gets got give gives gave take takes took make makes made go goes went come comes came know
knows knew think thinks thought look looks looked want wants use uses used find found tell tells
told ask asks asked work works feel try call need become leave put mean keep let begin seem help
talk turn start might run play hold bring happen write provide sit stand lose pay meet include
continue set learn change lead understand watch follow stop create speak allow add spend grow open
walk win offer remember love consider buy wait serve die send expect build stay fall cut reach
kill remain suggest raise pass sell require report decide pull time year people way day man thing
woman life child world school state family student group country problem hand part place case week
company system program work night point home water room mother area money story fact month lot
study book eye job business issue kind head house service friend father power hour game line end
member law car city community name president team minute idea kid body information back parent
face others level office door health person art war history party morning reason research girl guy
moment air teacher force education foot boy age policy process music market sense nation plan
college interest death experience effect class good new old great high long little own other
public bad early young important few able best sure better free full special easy clear recent
certain personal open difficult available likely short single common poor natural possible nice
hot cold dark light simple similar real hard late strong whole ready main human local about also
just only now even back still well here very really never always often sometimes again too much
more most less least almost already together away around off over under into out through during
without within across behind against among along until while since such each every another some
someone everyone these those own per via like hello hi thanks thank welcome sorry okay fine today
tomorrow yesterday english language text sentence page list table code data model server test file
line input output error key token tokens random example weather Paris London degrees temperature
celsius metre kilometre
"""

LETTERS = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"
DIGITS = "0 1 2 3 4 5 6 7 8 9"
PUNCTUATION = """
. , ? ! : ; ' " ( ) [ ] { } - / = + * # < > _ & % $ @ ...
"? ?" ." ," ": ", {" "} "}} "}, [" "] {} []
"""

SUBJECT = (COLOURS + SHAPES + QUESTIONS + TOOLS).split()


def weighted_words() -> dict[str, int]:
    """Every form of every word, with the weight that it has when merges are learned.

    A leading space belongs to the word that follows it; a word also stands alone (at the start of
    an answer) and capitalised (at the start of a question).
    """
    weights: dict[str, int] = {}

    def add(form: str, weight: int) -> None:
        weights[form] = weights.get(form, 0) + weight

    for word in SUBJECT:
        add(f" {word}", 4000)
        add(word, 3000)
        add(word.capitalize(), 1000)
    for symbol in (LETTERS + " " + DIGITS).split():
        add(f" {symbol}", 2000)
    for symbol in PUNCTUATION.split():
        add(symbol, 1500)
        add(f" {symbol}", 500)
    for rank, word in enumerate(COMMON.split()):
        weight = 20_000 // (rank + 20)
        add(f" {word}", weight)
        add(word, weight // 8 + 1)
    return weights
