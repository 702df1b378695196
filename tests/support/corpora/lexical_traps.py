"""A collection on which the sparse ranking is noise: each query has an answer in other words, and traps in its own."""

from __future__ import annotations

import json
from pathlib import Path

# A query, the document that answers it, and one that uses its words for something else.
TRIPLES = [
    (
        "how do I make my car go faster",
        "Tuning the engine of an automobile and reducing its weight raise its top speed and its acceleration.",
        "My uncle said: go and make do! How I go to the car park, my how; faster they make the car of cardboard I do.",
    ),
    (
        "what should a dog eat when it is sick",
        "For a puppy with an upset stomach, veterinarians advise bland food such as boiled chicken and rice.",
        "Sick is what the dog show should be when it is called dog eat dog; what is it, should it eat time, "
        "is it sick.",
    ),
    (
        "cheap places to sleep in big cities",
        "Hostels and budget guesthouses offer travellers a low-priced bed for the night in a metropolis.",
        "Big places sleep in cheap cities of code: to sleep in big cheap threads, to sleep in places, cities "
        "in cities.",
    ),
    (
        "why is the sky blue",
        "Air molecules scatter short wavelengths of sunlight more strongly, so the heavens look azure by day.",
        "The sky is the limit, the blue chip is blue, why is the blue the blue sky logo of the airline, why "
        "is it the sky.",
    ),
    (
        "stop a baby from crying at night",
        "An infant that wails after dark often calms down when it is rocked, fed, or given a dry nappy.",
        "Night stop: a baby grand from the crying game at night, a stop at baby street, crying at a stop "
        "from night to night.",
    ),
    (
        "fix a slow computer",
        "If your laptop responds sluggishly, close unused programs, add memory, or replace the hard disk.",
        "A fix of slow glass; a computer is a slow word, fix a date, a slow date, fix a computer fair date, "
        "a slow fix.",
    ),
    (
        "remove red wine from a shirt",
        "Blot the claret stain on the blouse, sprinkle salt over it, and wash the garment in cold water.",
        "The red team will remove from wine country a shirt sponsor; from red to wine, a shirt, a red shirt "
        "number, remove.",
    ),
    (
        "ways to save money on heating",
        "Insulating the attic and lowering the thermostat by one degree cut the household's fuel bill in winter.",
        "Money ways: save the date on money ways, heating up on stage, save on save, ways on ways, heating "
        "money debates.",
    ),
    (
        "who paints the walls of a new house",
        "A decorator coats the interior of a freshly built home with emulsion after the plaster has dried.",
        "The new house of walls street who paints a picture of the new house music, walls of sound, who "
        "paints who of a.",
    ),
    (
        "learn to swim as an adult",
        "Grown-ups who never mastered the crawl can take beginners' lessons at the local pool.",
        "An adult swim show to learn as an episode: to swim as an avatar, learn an adult code to learn, as "
        "to swim lanes.",
    ),
    (
        "is coffee bad for the heart",
        "Moderate consumption of caffeinated drinks does not appear to harm cardiac health in most people.",
        "The heart of the bad coffee house is for sale: is the bad bank for the heart, is coffee for the bad "
        "heart logo.",
    ),
    (
        "grow tomatoes on a balcony",
        "Vegetables such as cherry varieties thrive in pots on a sunny terrace when they are watered daily.",
        "A balcony scene on grow: tomatoes on the critics, grow a beard on a balcony, a rotten tomatoes "
        "score on a grow light.",
    ),
]
# Of other things, so that a ranking has something to choose from.
OTHERS = [
    "The parliament debated the budget of the railway for three days without a vote.",
    "Copper conducts electricity better than iron and is drawn into thin wires.",
    "The museum shows woodcuts of the sixteenth century in its eastern wing.",
    "A chess clock was first used at a tournament in London in 1883.",
    "Penguins huddle together to keep warm during the storms of the Antarctic winter.",
    "The treaty ended the war and moved the border to the river.",
    "Basalt forms when lava cools quickly at the surface.",
    "The violin concerto has three movements, the second of which is slow.",
]


def write_lexical_traps(corpus: Path, queries: int = len(TRIPLES)) -> Path:
    """Writes the collection ``traps`` with some of its queries judged; each trap is there twice, a little changed."""
    folder = corpus / "traps"
    folder.mkdir(parents=True)
    texts = {f"answer-{number}": answer for number, (_, answer, _) in enumerate(TRIPLES)}
    for number, (_, _, trap) in enumerate(TRIPLES):
        texts |= {f"trap-{number}": trap, f"trap-{number}-again": f"Once more: {trap}"}
    texts |= {f"other-{number}": text for number, text in enumerate(OTHERS)}
    rows = [{"_id": name, "title": "", "text": text} for name, text in texts.items()]
    asked = [{"_id": f"q{number}", "text": query} for number, (query, _, _) in enumerate(TRIPLES[:queries])]
    for file, lines in (("corpus.jsonl", rows), ("queries.jsonl", asked)):
        (folder / file).write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    judged = "".join(f"q{number}\tanswer-{number}\t1\n" for number in range(queries))
    (folder / "qrels.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
    return folder
