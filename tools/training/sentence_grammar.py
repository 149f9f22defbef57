"""Sentences and digit strings of our own, so that the embedded users carry nobody else's text.

A small template grammar over a few hundred everyday words: the texts are made up, not quoted,
and a seed decides them. Digits are written as words ("THREE OH" never, "THREE ZERO" always).
"""

import random
import re

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")

_WORD_LISTS: dict[str, str] = {
    "name": "ANNA PETER MARIA DAVID LAURA SIMON EMMA THOMAS JULIA MARTIN CLARA OLIVER",
    "person": "MOTHER FATHER SISTER BROTHER DOCTOR TEACHER NEIGHBOUR DRIVER FARMER FRIEND COUSIN "
    "UNCLE GRANDMOTHER BAKER STUDENT CAPTAIN NURSE PAINTER",
    "noun": "TABLE CHAIR WINDOW DOOR BOTTLE BASKET LETTER PICTURE CAMERA TICKET BLANKET CANDLE "
    "KNIFE SPOON PLATE MIRROR LADDER HAMMER PENCIL JACKET UMBRELLA WALLET BICYCLE RADIO GUITAR "
    "CARPET PILLOW BUCKET ENGINE MACHINE PAPER BOX KEY LAMP CLOCK PHONE BAG BOOK COAT HAT",
    "animal": "HORSE RABBIT CHICKEN KITTEN PUPPY MONKEY TIGER PARROT SPIDER GOAT DUCK COW FISH "
    "TURTLE",
    "food": "BREAD BUTTER CHEESE COFFEE SUGAR TOMATO POTATO ORANGE BANANA LEMON ONION PEPPER SOUP "
    "RICE HONEY MILK WATER JUICE SALAD CHOCOLATE",
    "plural": "APPLES EGGS CANDLES BOTTLES TICKETS FLOWERS PENCILS STAMPS COOKIES BUTTONS CARROTS "
    "BOXES PLATES LETTERS BOOKS SHIRTS",
    "place": "GARDEN KITCHEN STATION MARKET LIBRARY HOSPITAL AIRPORT VILLAGE RIVER MOUNTAIN "
    "BRIDGE SCHOOL OFFICE CHURCH BEACH FOREST MUSEUM HOTEL CASTLE BASEMENT BALCONY HARBOUR "
    "BAKERY THEATRE PARK STREET CORNER FARM",
    "adjective": "LITTLE YELLOW GREEN PURPLE HEAVY EMPTY BROKEN WOODEN SILVER GOLDEN HAPPY ANGRY "
    "QUIET CLEVER LAZY HUNGRY THIRSTY FAMOUS MODERN ANCIENT CLEAN DIRTY BLACK WHITE BROWN OLD "
    "YOUNG SMALL LARGE STRANGE",
    "moved": "WALKED JUMPED TRAVELLED HURRIED WAITED STOOD STOPPED RESTED DANCED STAYED",
    "did": "FOUND OPENED CLOSED CARRIED PAINTED REPAIRED DROPPED WASHED BORROWED FORGOT BROUGHT "
    "WATCHED COVERED PUSHED PULLED MOVED CLEANED NOTICED",
    "wants": "LIKES WANTS NEEDS REMEMBERS LOVES PREFERS ORDERS COOKS TASTES SELLS",
    "order": "OPEN CLOSE CARRY CLEAN BRING MOVE COVER CHECK REPAIR FIND HOLD TAKE",
    "near": "BEHIND UNDER BESIDE NEAR INSIDE OUTSIDE ACROSS AROUND",
    "when": "TODAY TOMORROW YESTERDAY TONIGHT AGAIN EARLY OFTEN TOGETHER",
    "day": "MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY SUNDAY",
    "month": "JANUARY FEBRUARY APRIL JUNE AUGUST OCTOBER NOVEMBER DECEMBER",
    "season": "SPRING SUMMER AUTUMN WINTER MORNING EVENING AFTERNOON NIGHT",
    "weather": "RAIN SNOW WIND STORM THUNDER SUNSHINE FOG WEATHER",
    "felt": "COLD WARM SLOW SUDDEN TERRIBLE WONDERFUL PERFECT GENTLE STRONG LOUD",
    "how": "SLOWLY QUICKLY CAREFULLY QUIETLY ALWAYS NEVER USUALLY ALMOST",
    "device": "HEATER TIMER ALARM VOLUME LIGHT MUSIC TELEVISION COMPUTER",
    "digit": " ".join(DIGITS),
    "number": "TEN ELEVEN TWELVE FIFTEEN TWENTY THIRTY FORTY FIFTY HUNDRED",
    "colour": "RED BLUE GREEN YELLOW ORANGE PURPLE BLACK WHITE BROWN PINK",
    "job": "MESSAGE QUESTION STORY REPORT LESSON MEETING HOLIDAY PROBLEM ANSWER PROMISE",
}

WORDS: dict[str, tuple[str, ...]] = {kind: tuple(w.split()) for kind, w in _WORD_LISTS.items()}

TEMPLATES: tuple[str, ...] = (
    "THE {adjective} {noun} IS {near} THE {place}",
    "THE {adjective} {animal} {moved} {near} THE {place}",
    "{name} {did} THE {adjective} {noun} {when}",
    "{name} AND {name} {moved} {near} THE {place}",
    "MY {person} {wants} {food} AND {food}",
    "MY {person} {did} THE {noun} IN THE {place}",
    "OUR {person} {how} {wants} THE {adjective} {noun}",
    "PLEASE {order} THE {noun} {when}",
    "PLEASE {order} THE {adjective} {noun} IN THE {place}",
    "WHERE IS THE {adjective} {noun}",
    "WHERE DID YOUR {person} LEAVE THE {noun}",
    "WHEN WILL THE {person} VISIT THE {place}",
    "WHY IS THE {animal} IN THE {place}",
    "I WANT {digit} {plural} FROM THE {place}",
    "I NEED {digit} {plural} AND SOME {food}",
    "WE BOUGHT {number} {plural} ON {day}",
    "WE {moved} {how} {near} THE {place}",
    "THEY {did} THE {noun} ON {day} {season}",
    "THE {weather} WAS {felt} IN {month}",
    "THE {weather} IS {felt} THIS {season}",
    "SET THE {device} TO {number} {when}",
    "TURN THE {device} DOWN {when}",
    "TURN OFF THE {device} IN THE {place}",
    "SEND A {job} TO {name} ON {day}",
    "READ ME THE {job} FROM {name}",
    "CALL MY {person} {when}",
    "CALL {name} ABOUT THE {job}",
    "SHE {did} A {colour} {noun} FOR {name}",
    "HE GAVE THE {animal} SOME {food} AND {food}",
    "THE {person} {how} {did} THE {colour} {noun}",
    "THERE ARE {digit} {plural} {near} THE {noun}",
    "THERE IS A {adjective} {animal} {near} THE {noun}",
    "{food} AND {food} ARE IN THE {noun}",
    "EVERY {season} THE {person} {moved} {near} THE {place}",
    "THE {job} IS ON {day} {season}",
    "{name} HAS A {colour} {noun} AND A {animal}",
    "NO ONE {did} THE {noun} {near} THE {place}",
    "ADD {food} AND {food} TO MY LIST",
    "IT WAS A {felt} {season} IN {month}",
    "CAN YOU {order} THE {colour} {noun} {when}",
)

ALL_WORDS: tuple[str, ...] = tuple(
    sorted(
        {word for words in WORDS.values() for word in words}
        | {word for t in TEMPLATES for word in re.sub(r"\{\w+\}", " ", t).split()}
    )
)


def sentence(rng: random.Random) -> str:
    """Return one sentence of the grammar, 3 to 10 words, upper case without punctuation."""
    template = rng.choice(TEMPLATES)
    return re.sub(r"\{(\w+)\}", lambda match: rng.choice(WORDS[match.group(1)]), template)


def digit_string(rng: random.Random, fewest: int, most: int) -> str:
    """Return `fewest` to `most` digits spelled as words."""
    return " ".join(rng.choice(DIGITS) for _ in range(rng.randint(fewest, most)))


def loose_words(rng: random.Random, fewest: int, most: int) -> str:
    """Return vocabulary words in random order: no grammar to lean on, only the sound."""
    return " ".join(rng.choice(ALL_WORDS) for _ in range(rng.randint(fewest, most)))
