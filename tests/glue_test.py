"""The configurations of GLUE read its files exactly as they are distributed."""

import os

import pytest

from components.tsv_example_gen import executor, parse, sources
from core.config import load_config

CONFIGS = os.path.join(os.path.dirname(os.path.dirname(__file__)), "configs", "glue")

MRPC = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
PAIR = "index\tsentence1\tsentence2\tlabel\n"
MNLI_TRAIN = "index\tpromptID\tgenre\tsentence1\tsentence2\tlabel1\tgold_label\n"
MNLI_DEV = "index\tpromptID\tgenre\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n"
STSB = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
QQP = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"

# Configuration -> (training file, dev file, (texts, class) of the rows, number of rejected rows).
FILES = {
    "cola": (
        "gj04\t1\t\tOur friends won't buy this.\ngj04\t0\t*\tThey drank the pub \"dry.\n",
        "clc95\t0\t*\tIn which way is Sandy very anxious?\n",
        [
            (("Our friends won't buy this.",), "acceptable"),
            (('They drank the pub "dry.',), "unacceptable"),
            (("In which way is Sandy very anxious?",), "unacceptable"),
        ],
        0,
    ),
    "sst2": (
        "sentence\tlabel\nhide new secretions \t0\n",
        'sentence\tlabel\n" charming . \t1\n',
        [(("hide new secretions ",), "negative"), (('" charming . ',), "positive")],
        0,
    ),
    "mrpc": (
        f'{MRPC}1\t702876\t702977\t"Quoted , he said .\tHe said : " quoted .\n',
        f"{MRPC}0\t2108705\t2108831\tOne .\tAnother .\n",
        [(('"Quoted , he said .', 'He said : " quoted .'), "equivalent"), (("One .", "Another ."), "different")],
        0,
    ),
    "qqp": (
        f'{QQP}7\t1\t2\tWhy "x?\tWhy x?\t1\n8\t3\t4\tA?\n9\t5\t6\tB?\t\t0\n',
        f"{QQP}1\t7\t8\tHow?\tWhen?\t0\n",
        [(('Why "x?', "Why x?"), "duplicate"), (("How?", "When?"), "different")],
        2,
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\tWhen?\tIn 1998.\tentailment\n",
        "index\tquestion\tsentence\tlabel\n0\tWho?\tA lake.\tnot_entailment\n",
        [(("When?", "In 1998."), "entailment"), (("Who?", "A lake."), "not_entailment")],
        0,
    ),
    "rte": (
        f"{PAIR}0\tNo weapons.\tWeapons.\tnot_entailment\n",
        f"{PAIR}0\tA and B.\tB.\tentailment\n",
        [(("No weapons.", "Weapons."), "not_entailment"), (("A and B.", "B."), "entailment")],
        0,
    ),
    "mnli": (
        f'{MNLI_TRAIN}0\t1\tgov\tA mark " .\tNo mark .\tneutral\tneutral\n',
        f"{MNLI_DEV}0\t1\tfic\tOne .\tTwo .\tneutral\tentailment\tcontradiction\n",
        [(('A mark " .', "No mark ."), "neutral"), (("One .", "Two ."), "contradiction")],
        0,
    ),
    "stsb": (
        f'{STSB}0\tmain-news\tx\t2016\t0001\t-\t-\tA man .\tA "man .\t5.000\n',
        f"{STSB}1\tmain-news\tx\t2016\t0002\t-\t-\tA cat .\tA dog .\t1.25\n",
        [(("A man .", 'A "man .'), "5"), (("A cat .", "A dog ."), "1.25")],
        0,
    ),
    "wnli": (
        f"{PAIR}0\tI stuck a pin in it.\tThe carrot had a hole.\t1\n",
        f"{PAIR}0\tHe saw him.\tHim saw he.\t0\n",
        [
            (("I stuck a pin in it.", "The carrot had a hole."), "entailment"),
            (("He saw him.", "Him saw he."), "not_entailment"),
        ],
        0,
    ),
}


def test_every_configuration_has_files_here():
    assert {name.removesuffix(".yaml") for name in os.listdir(CONFIGS) if name.endswith(".yaml")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_official_files_are_read(name, tmp_path):
    train, dev, expected, rejected = FILES[name]
    for file, content in (("train.tsv", train), ("dev.tsv", dev)):
        (tmp_path / file).write_text(content, encoding="utf-8")
    loaded = load_config(
        os.path.join(CONFIGS, f"{name}.yaml"),
        [f"data.train={tmp_path / 'train.tsv'}", f"data.test={tmp_path / 'dev.tsv'}"],
    )
    plan = executor.make_plan(loaded.data)
    assert [file.name for file in plan.sources.test] == [str(tmp_path / "dev.tsv")]
    outcomes = [
        (part.file.role, outcome)
        for part in plan.ranges
        for _, outcome in executor.parsed_records(part, loaded.data, loaded.task)
    ]
    rows = [(role, row) for role, row in outcomes if isinstance(row, parse.Row)]
    assert [(row.texts, loaded.task.format_label(row.label)) for _, row in rows] == expected
    assert [role for role, _ in rows] == [sources.TRAIN] * (len(expected) - 1) + [sources.TEST]
    assert len(outcomes) - len(rows) == rejected
