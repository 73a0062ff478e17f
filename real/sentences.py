"""Write sentences.jsonl, the prompts of `make real`: who was where on which day, with the record as JSON.

python sentences.py [COUNT]    # more begin with the same 1,200
"""

import json
import random
import sys
from pathlib import Path

NAMES = [
    "Maria", "Tom", "Aisha", "Pedro", "Lena", "Omar", "Grace", "Ivan", "Mei", "Jonas", "Ruth", "Samir", "Clara",
    "Diego", "Nina", "Paul", "Yuki", "Anna", "Leo", "Hana", "Fatima", "Oscar", "Priya", "Marco", "Elsa", "Karim",
    "Julia", "Hugo", "Zara", "Peter", "Amara", "Felix", "Sofia", "Daniel", "Ingrid", "Kofi", "Laura", "Viktor",
    "Noor", "Simon",
]  # fmt: skip
CITIES = [
    "Berlin", "Madrid", "Lagos", "Oslo", "Lima", "Cairo", "Delhi", "Boston", "Rome", "Paris", "Tokyo", "Sydney",
    "Dublin", "Vienna", "Prague", "Quito", "Seoul", "Athens", "Miami", "Denver", "Lisbon", "Zurich", "Nairobi",
    "Havana", "Bogota", "Toronto", "Munich", "Helsinki", "Jakarta", "Chicago", "Warsaw", "Geneva", "Kyoto",
    "Mumbai", "Naples", "Bergen", "Accra", "Dakar", "Tunis", "Perth",
]  # fmt: skip
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
FORMS = (
    "{who} flew to {where} on {day}.",
    "On {day}, {who} took the train to {where}.",
    "{who} will visit {where} next {day}.",
    "Last {day} {who} moved to {where}.",
    "{who} called from {where} on {day} evening.",
    "It was {day} when {who} arrived in {where}.",
    "The conference in {where} starts on {day}, and {who} will be there.",
    "{who} has lived in {where} since {day}.",
    "By {day}, {who} had already left for {where}.",
    "In {where} it rained all {day}, so {who} stayed at the hotel.",
)
COUNT = 1200


def main(count: int) -> None:
    rng = random.Random("make real")
    rows = {}
    while len(rows) < count:
        record = {"who": rng.choice(NAMES), "where": rng.choice(CITIES), "day": rng.choice(DAYS)}
        rows[rng.choice(FORMS).format(**record)] = json.dumps(record)
    lines = [json.dumps({"prompt": sentence, "answer": record}) for sentence, record in rows.items()]
    Path("sentences.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else COUNT)
