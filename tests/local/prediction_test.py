"""What asking a model prints: for a person nothing that a terminal obeys, for a program the text as it is."""

import json

from local import prediction

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[bold]</title><script>alert(1)</script>"


class Answers:
    """A model that calls every text the same."""

    def predict(self, texts):
        return [(f"긍정{HOSTILE}", 0.75) for _ in texts]


def test_sentences_and_labels_are_made_safe_for_a_person(capsys):
    assert prediction.predict_sentences(Answers(), ["굿\n", HOSTILE], as_json=False) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and lines[0].startswith("긍정\\x1b]0;owned") and lines[0].endswith("75.0%  굿\\n")
    assert not set("\x1b\x07\x9b\u202e") & set("".join(lines))


def test_a_program_gets_the_text_as_it_is(capsys):
    prediction.predict_sentences(Answers(), [HOSTILE], as_json=True)
    assert json.loads(capsys.readouterr().out)["text"] == HOSTILE
