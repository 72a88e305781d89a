"""ModelGate: checks of literal metrics and answers, then real evaluations of real models through the executor."""

import dataclasses
import math
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tfx.components.util import model_utils
from tfx.dsl.compiler import compiler
from tfx.dsl.components.common import importer
from tfx.orchestration import pipeline
from tfx.types import standard_artifacts

from artifacts import evaluation
from components import gate_config
from components.data_gate import profile, text_counts
from components.data_gate.vocabulary import make_vocabulary
from components.model_gate import executor, invariance, metric_checks
from components.model_gate.component import ModelGate
from components.model_gate.invariance import Answers, Pair
from components.model_gate.results import Comparison
from core import checks
from core.config import FailedPairs, GatesConfig, InvarianceGateConfig, MetricBound, SliceBound, load_config
from core.errors import UserError
from schema import slices
from tests import evaluations
from tests.saved_models import TASK

REPO = os.path.join(os.path.dirname(__file__), "..", "..")
BUNDLED = [os.path.join(REPO, "data", "invariance", name) for name in ("korean.tsv", "sample.tsv", "english.tsv")]


def comparison(value, before, error=0.001, rows=800, metric="accuracy"):
    return Comparison(rows, {"example_count": rows, metric: value}, {metric: before}, {metric: error})


def check_metric(compared, bound, metric="accuracy", not_compared=""):
    return metric_checks.check_metrics(compared, {metric: bound}, TASK, not_compared)


def change(*arguments, not_compared="", max_drop=0.01, **named):
    (check,) = check_metric(comparison(*arguments, **named), MetricBound(max_drop=max_drop), not_compared=not_compared)
    return check


@pytest.mark.parametrize(
    ("value", "passed", "words"),
    [
        (0.8, True, "accuracy 0.8000 is at least 0.8000"),
        (0.7999, False, "accuracy 0.7999 is 0.0001 below gates.model.accuracy.min = 0.8000"),
        (math.nan, False, "accuracy is undefined on 800 rows"),
    ],
)
def test_a_value_is_checked_against_its_bound_whatever_its_interval(value, passed, words):
    (check,) = check_metric(comparison(value, 0.9, error=0.5), MetricBound(min=0.8))
    assert (check.gate, check.check, check.passed, check.bound) == ("model", "accuracy", passed, 0.8)
    assert words in check.reason
    assert check.value is None if math.isnan(value) else check.value == value


@pytest.mark.parametrize(
    ("value", "passed", "words"),
    [
        (0.82, True, "accuracy 0.8200 is no worse than the 0.8000 of the model in serving"),
        (0.80, True, "no worse"),
        (0.79, True, "is 0.0100 below the 0.8000 of the model in serving, within gates.model.accuracy.max_drop"),
        (
            0.78,
            False,
            "is 0.0200 below the 0.8000 of the model in serving, more than gates.model.accuracy.max_drop = 0.0100; "
            "with 800 rows, the 95 % confidence interval of the difference is -0.0220 to -0.0180",
        ),
        (math.nan, False, "accuracy can't be compared"),
    ],
)
def test_a_drop_is_checked_against_its_margin(value, passed, words):
    check = change(value, 0.80)
    assert (check.check, check.passed, check.bound) == ("accuracy_drop", passed, 0.01)
    assert words in check.reason


@pytest.mark.parametrize(
    ("drop", "margin", "error", "passed"),
    [
        (0.012, 0.01, 0.0087, True),  # Beyond the margin, not significant.
        (0.012, 0.01, 0.0060, False),  # Beyond the margin, significant.
        (0.012, 0.02, 0.0001, True),  # Significant, but within the margin.
        (0.0196, 0.01, 0.0100, True),  # At the interval's end.
        (0.0197, 0.01, 0.0100, False),
        (0.9, 0.0, math.inf, True),
    ],
)
def test_a_drop_blocks_only_beyond_its_margin_and_if_significant(drop, margin, error, passed):
    assert change(0.9 - drop, 0.9, error=error, max_drop=margin).passed is passed


def test_a_drop_within_its_interval_passes_with_the_interval_in_the_reason():
    check = change(0.8210, 0.8330, error=0.00867, rows=799)
    assert check.reason == (
        "accuracy 0.8210 is 0.0120 below the 0.8330 of the model in serving, more than gates.model.accuracy.max_drop = "
        "0.0100, but not significant: with 799 rows, the 95 % confidence interval of the difference is -0.0290 to "
        "+0.0050"
    )


def test_lower_is_better_for_metrics_that_count_errors():
    compared = comparison(0.25, 0.10, metric="calibration_error")
    value, rise = check_metric(compared, MetricBound(max=0.2, max_rise=0.03), "calibration_error")
    assert (value.check, rise.check) == ("calibration_error", "calibration_error_rise")
    assert not value.passed and "0.2500 is 0.0500 above gates.model.calibration_error.max = 0.2000" in value.reason
    assert not rise.passed and "0.1500 above the 0.1000" in rise.reason and ".max_rise = 0.0300" in rise.reason
    better = comparison(0.05, 0.10, metric="calibration_error")
    assert all(check.passed for check in check_metric(better, MetricBound(max=0.2, max_rise=0.03), "calibration_error"))


def test_without_a_model_in_serving_nothing_is_compared():
    check = change(0.1, 0.9, not_compared="no other model is in serving")
    assert check.passed and "no other model is in serving" in check.reason


def test_a_null_bound_makes_no_check_and_a_warning_blocks_nothing():
    assert check_metric(comparison(0.1, 0.9), MetricBound()) == []
    results = check_metric(comparison(0.1, 0.9), MetricBound(min=0.8, max_drop=0.01, severity="warn"))
    assert not any(check.passed or check.blocks for check in results)


def test_each_slice_has_its_own_bound_and_a_small_one_is_not_checked():
    bound = SliceBound(min=0.6, max_drop=0.05, min_rows=50)
    bounds = {name: bound for name in ("length:1-9", "length:80+", "script:latin", "script:other")}
    comparisons = {
        "overall": comparison(0.1, 0.1),
        "length:1-9": comparison(0.7, 0.7, rows=50),
        "length:80+": comparison(0.5, 0.7, rows=1200),
        "script:latin": comparison(0.2, 0.9, rows=49),
    }
    results = {check.check: check for check in metric_checks.check_slices(comparisons, bounds, TASK, "")}
    assert {name: check.passed for name, check in results.items()} == {
        "accuracy/length:1-9": True,
        "accuracy_drop/length:1-9": True,
        "accuracy/length:80+": False,
        "accuracy_drop/length:80+": False,
        "accuracy/script:latin": True,
        "accuracy/script:other": True,
    }
    assert "length:80+ (1,200 rows): accuracy 0.5000 is 0.1000 below gates.slices.length:80+.min = 0.6000" in (
        results["accuracy/length:80+"].reason
    )
    assert "gates.slices.length:80+.max_drop = 0.0500" in results["accuracy_drop/length:80+"].reason
    assert "0.2000, not checked: fewer rows than gates.slices.script:latin.min_rows = 50" in (
        results["accuracy/script:latin"].reason
    )
    assert "no test rows" in results["accuracy/script:other"].reason
    assert {name for name, check in results.items() if check.verdict == "not checked"} == {
        "accuracy/script:latin",
        "accuracy/script:other",
    }
    first_run = metric_checks.check_slices(comparisons, bounds, TASK, "no other model is in serving")
    assert not any("drop" in check.check for check in first_run)


PAIRS = [
    Pair("same", "spacing", "정말 재밌다", "정말재밌다"),
    Pair("same", "spacing", "정말 별로다", "정말별로다"),
    Pair("different", "negation", "재밌다", "안 재밌다"),
]


def answers_of(*probabilities):
    """Answers from the two probabilities of class 1 of each pair."""
    scores = np.array(probabilities).T
    labels = [[("긍정", p) if p > 0.5 else ("부정", 1 - p) for p in row] for row in scores]
    return Answers(tuple(labels), scores)


def failed_pairs(*probabilities, **changed):
    """Shares of failed pairs by check."""
    results = invariance.check_pairs(PAIRS, answers_of(*probabilities), InvarianceGateConfig(**changed))
    return {check.check: check.value for check in results}


@pytest.mark.parametrize(
    ("answers", "spacing", "negation"),
    [
        ([(0.9, 0.9), (0.1, 0.1), (0.9, 0.1)], 0.0, 0.0),
        ([(0.9, 0.6), (0.1, 0.4), (0.9, 0.1)], 0.0, 0.0),  # Far apart, but the same label.
        ([(0.54, 0.46), (0.1, 0.1), (0.54, 0.46)], 0.0, 0.0),  # Two labels, but next to each other.
        ([(0.6, 0.4), (0.1, 0.1), (0.9, 0.6)], 0.5, 1.0),
        ([(0.6, 0.4), (0.1, 0.9), (0.9, 0.9)], 1.0, 1.0),
        ([(math.nan, 0.9), (0.1, 0.1), (math.nan, 0.1)], 0.5, 1.0),
    ],
)
def test_which_pairs_fail(answers, spacing, negation):
    assert failed_pairs(*answers) == {"same/spacing": spacing, "different/negation": negation}


def test_distance_of_scores_of_several_classes_is_the_largest_one():
    scores = np.array([[[0.5, 0.45, 0.05]], [[0.3, 0.5, 0.2]]])
    answers = Answers(([("a", 0.5)], [("b", 0.5)]), scores)
    for tolerance, passed in ((0.21, True), (0.19, False)):
        (check,) = invariance.check_pairs(PAIRS[:1], answers, InvarianceGateConfig(tolerance=tolerance))
        assert check.passed is passed


def test_each_kind_has_its_own_share_and_a_reason_quotes_the_pairs():
    answers = answers_of((0.6, 0.4), (0.1, 0.1), (0.9, 0.8))
    bounds = InvarianceGateConfig(max_failed=FailedPairs(same=0.5, different=0.9), severity="warn")
    different, same = invariance.check_pairs(PAIRS, answers, bounds)
    assert (same.check, same.passed, same.bound) == ("same/spacing", True, 0.5)
    assert (different.check, different.passed, different.bound) == ("different/negation", False, 0.9)
    assert different.gate == "invariance" and not different.blocks
    assert different.reason == (
        "negation: 1 of 1 pairs that should differ agree (100.0%), more than gates.invariance.max_failed.different = "
        '0.9: "재밌다" (긍정 0.90) and "안 재밌다" (긍정 0.80)'
    )


def test_a_reason_quotes_a_few_pairs_and_shortens_long_ones():
    pairs = [Pair("different", "negation", "가" * 500, f"나{i}") for i in range(9)]
    (check,) = invariance.check_pairs(pairs, answers_of(*[(0.9, 0.9)] * 9), InvarianceGateConfig())
    assert check.reason.count("나") == 3 and check.reason.endswith("; ...") and len(check.reason) < 500


HEADER = b"kind\twhat\tfirst\tsecond\n"


@pytest.mark.parametrize("file", BUNDLED)
def test_bundled_pairs_cover_every_kind(file):
    pairs = invariance.read_pairs(file)
    assert {(pair.kind, pair.what) for pair in pairs} - {("same", "case")} == {
        ("same", "spacing"),
        ("same", "punctuation"),
        ("same", "repetition"),
        ("different", "negation"),
    }
    assert all(pair.first.replace(" ", "") == pair.second.replace(" ", "") for pair in pairs if pair.what == "spacing")
    letters = re.compile(r"[^\w ]")
    for pair in pairs:
        if pair.what == "punctuation":
            assert letters.sub("", pair.first) == letters.sub("", pair.second)


def test_the_bundled_korean_pairs_are_over_a_hundred():
    assert len(invariance.read_pairs(BUNDLED[0])) >= 100


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "line 1: should be the tab-separated column names kind, what, first, second"),
        (b"kind,what,first,second\n", "line 1: should be the tab-separated column names"),
        (HEADER, "no sentence pairs"),
        (HEADER + b"\n\n", "no sentence pairs"),
        (HEADER + b"same\tspacing\ta b\n", "line 2: 3 columns, should be 4"),
        (HEADER + b"same\tspacing\ta b\tab\tc\n", "line 2: 5 columns"),
        (HEADER + b"equal\tspacing\ta b\tab\n", "line 2: kind = 'equal': should be same or different"),
        (HEADER + b"same\t\ta b\tab\n", "line 2: what = ''"),
        (HEADER + b"same\tspace/tab\ta b\tab\n", "line 2: what = 'space/tab': should be a short name"),
        (HEADER + b"same\tspacing\t \tab\n", "line 2: first: the sentence is empty"),
        (HEADER + b"same\tspacing\tab\t\n", "line 2: second: the sentence is empty"),
        (HEADER + b"\nsame\tspacing\tab\tab\n", "line 3: first and second are the same"),
        (HEADER + b"same\tx\ta\tb\n\nsame\tx\ta\tb\n", "line 4: duplicate of line 2"),
        (HEADER + b"same\tx\ta\tb\nsame\tx\t\xb0\xa1\tb\n", "line 3: not UTF-8"),
    ],
)
def test_error_of_a_wrong_line_has_the_expected_format(content, words):
    with pytest.raises(UserError, match="^pairs.tsv") as error:
        invariance.parse_pairs(content, "pairs.tsv")
    assert words in str(error.value)


def test_a_missing_file_is_reported_with_its_setting(tmp_path):
    with pytest.raises(UserError, match="gates.invariance.pairs = .*nowhere.tsv: No such file"):
        invariance.read_pairs(str(tmp_path / "nowhere.tsv"))


def test_a_bom_windows_line_ends_and_letters_that_look_like_line_ends_are_read():
    content = b"\xef\xbb\xbf" + HEADER.replace(b"\n", b"\r\n") + 'same\tx\t"a\u2028b"\ta\x0bb\r\n'.encode()
    assert invariance.parse_pairs(content, "") == [Pair("same", "x", '"a\u2028b"', "a\x0bb")]


sentences = st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"])).filter(str.strip)


names = st.from_regex(r"[\w-]{1,40}", fullmatch=True)
any_pair = st.builds(Pair, st.sampled_from(["same", "different"]), names, sentences, sentences)


@given(st.lists(any_pair.filter(lambda pair: pair.first != pair.second), min_size=1, unique=True))
def test_pairs_round_trip(pairs):
    lines = ["\t".join(dataclasses.astuple(pair)) for pair in pairs]
    assert invariance.parse_pairs(HEADER + "\n".join(lines).encode(), "") == pairs


@given(st.binary())
def test_any_bytes_are_pairs_or_a_user_error(content):
    for whole in (content, HEADER + content):
        try:
            assert invariance.parse_pairs(whole, "pairs.tsv")
        except UserError as error:
            assert str(error).startswith("pairs.tsv")


@pytest.fixture(name="file")
def _file(tmp_path):
    (tmp_path / "job.yaml").write_text("name: job\ndata: {train: train.tsv}\n")
    return str(tmp_path / "job.yaml")


def test_bounds_come_from_the_task_then_the_default_then_the_slice(file):
    given_bounds = ["gates.slices.default.min=0.6", "gates.slices.script:latin.min=0.3"]
    loaded = load_config(file, given_bounds).gates.slices
    assert set(loaded) == set(slices.NAMES)
    assert (loaded["length:80+"].min, loaded["script:latin"].min) == (0.6, 0.3)
    assert {bound.max_drop for bound in loaded.values()} == {TASK.default_slice_bound["max_drop"]}


def test_bounds_survive_being_written_and_read(file):
    config = load_config(file, ["gates.model.auc.min=null", "gates.slices.length:1-9.severity=warn"])
    assert GatesConfig.model_validate_json(config.gates.model_dump_json()) == config.gates
    assert config.gates.model["auc"].min is None and config.gates.slices["length:1-9"].severity == "warn"


def test_relative_path_of_the_pairs(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    assert load_config(file).gates.invariance.pairs == "auto"
    assert load_config(file, ["gates.invariance.pairs=p.tsv"]).gates.invariance.pairs == str(tmp_path.parent / "p.tsv")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("gates.model.calibration_error.min=0.1", "lower is better for this metric; use max"),
        ("gates.model.calibration_error.max_drop=0.1", "lower is better for this metric; use max_rise"),
        ("gates.model.accuracy.max_rise=0.1", "higher is better for this metric; use max_drop"),
        ("gates.model.recall_2.min=0.1", "gates.model.recall_2: no such metric; did you mean recall_1"),
        ("gates.model.accuracy.min=2", "gates.model.accuracy.min = 2"),
        ("gates.slices.length:5.min=0.1", "gates.slices.length:5: no such slice; available: default, length:1-9"),
        ("gates.slices.default=0.1", "with any of the keys min, max_drop, min_rows"),
        ("gates.slices.length:1-9.min_rows=0", "min_rows = 0"),
        ("gates.invariance.max_failed.same=2", "gates.invariance.max_failed.same = 2"),
        ("gates.invariance.severity=stop", "gates.invariance.severity = 'stop'"),
    ],
)  # fmt: skip
def test_error_of_a_wrong_key_suggests_the_right_one(file, override, words):
    with pytest.raises(UserError) as error:
        load_config(file, [override])
    assert words in str(error.value)


# Forty reviews: ten of at least 80 characters, one in two of each label.
ROWS = [(f"{'길' * 80 if i < 10 else ''} 문장 {i}", i % 2) for i in range(40)]
ROW_PAIRS = b"same\tspacing\tso good\tsogood\ndifferent\tnegation\tgood\tnot good\n"
PAIR_ANSWERS = {"so good": 0.9, "sogood": 0.8, "good": 0.9, "not good": 0.2}
BOUNDS = GatesConfig(
    model={name: MetricBound(**bound) for name, bound in TASK.default_bounds.items()},
    slices={name: SliceBound(min=0.55, max_drop=0.05, min_rows=10) for name in slices.NAMES},
)


def confident(label):
    return 0.95 if label else 0.05


GOOD = {text: confident(label) for text, label in ROWS}
# Wrong on six of the ten long reviews: 34 of 40 are right.
BAD_ON_LONG = {text: confident(label ^ (i < 6)) for i, (text, label) in enumerate(ROWS)}
UNSURE = {text: 0.55 if label else 0.45 for text, label in ROWS}


def gate(folder, candidate, baseline, pairs=True):
    """Evaluates and checks the candidate; returns the blessing."""
    evaluated = evaluations.evaluate(str(folder), ROWS, candidate, baseline)
    file = folder / "pairs.tsv"
    file.write_bytes(HEADER + ROW_PAIRS)
    blessing = standard_artifacts.ModelBlessing()
    blessing.uri = str(folder / "gate")
    os.makedirs(blessing.uri)
    bounds = BOUNDS.model_copy(update={"invariance": InvarianceGateConfig(pairs=str(file) if pairs else None)})
    executor.Executor().Do(
        {executor.EVALUATION: [evaluated], executor.MODEL: [candidate], executor.BASELINE: [baseline]},
        {executor.BLESSING: [blessing]},
        {gate_config.PARAMETER: gate_config.dump(TASK, bounds, executor.sections(has_teacher=False))},
    )
    return blessing


def failing(blessing):
    return {(check.gate, check.check) for check in checks.read_checks(blessing.uri) if not check.passed}


def test_a_good_model_is_blessed_against_a_worse_one(tmp_path):
    candidate = evaluations.save_table(str(tmp_path / "model"), {**GOOD, **PAIR_ANSWERS})
    baseline = evaluations.save_baseline(str(tmp_path / "baseline"), BAD_ON_LONG)
    blessing = gate(tmp_path, candidate, baseline)
    assert failing(blessing) == set()
    assert model_utils.is_model_blessed(blessing)
    assert os.path.exists(os.path.join(blessing.uri, "BLESSED"))
    metrics = checks.read_metrics(blessing.uri)
    assert (metrics["candidate"]["accuracy"], metrics["baseline"]["accuracy"]) == (1.0, 34 / 40)
    assert set(metrics["candidate"]) == {"example_count", *TASK.evaluation_metrics}
    evaluated = evaluation.read(blessing.uri)
    assert evaluated.has_baseline and evaluated.label_names == ("부정", "긍정")
    assert (evaluated.scores.fixed, evaluated.scores.broken, len(evaluated.fixed)) == (6, 0, 6)
    assert set(evaluated.changes) == set(TASK.evaluation_metrics)
    assert evaluated.changes["accuracy"].difference == pytest.approx(6 / 40)
    # Wilson's interval of 40 of 40.
    assert evaluated.intervals["accuracy"].low == pytest.approx(0.9124, abs=1e-4)
    assert evaluated.mistakes == ()
    assert {check.gate for check in checks.read_checks(blessing.uri)} == {"model", "invariance"}


def test_a_model_that_is_bad_on_long_reviews_fails_their_slice_only_on_the_first_run(tmp_path):
    candidate = evaluations.save_table(str(tmp_path / "model"), {**BAD_ON_LONG, **PAIR_ANSWERS})
    candidate.set_string_custom_property("source", "candidate")
    blessing = gate(tmp_path, candidate, candidate, pairs=False)
    assert failing(blessing) == {("model", "accuracy/length:80+")}
    assert not model_utils.is_model_blessed(blessing)
    assert os.path.exists(os.path.join(blessing.uri, "NOT_BLESSED"))
    assert checks.read_metrics(blessing.uri)["baseline"] is None
    assert any(check.check == "pairs" and "not checked" in check.reason for check in checks.read_checks(blessing.uri))


def test_an_unsure_model_fails_calibration_only_and_a_negation_blind_one_invariance_only(tmp_path):
    blind = {**GOOD, **PAIR_ANSWERS, "not good": 0.9}
    good = evaluations.save_baseline(str(tmp_path / "good"), {**GOOD, **PAIR_ANSWERS})
    (tmp_path / "unsure").mkdir()
    unsure = evaluations.save_table(str(tmp_path / "unsure" / "model"), {**UNSURE, **PAIR_ANSWERS})
    assert failing(gate(tmp_path / "unsure", unsure, good)) == {
        ("model", "calibration_error"),
        ("model", "calibration_error_rise"),
    }
    (tmp_path / "blind").mkdir()
    blessing = gate(tmp_path / "blind", evaluations.save_table(str(tmp_path / "blind" / "model"), blind), good)
    assert failing(blessing) == {("invariance", "different/negation")}
    assert not model_utils.is_model_blessed(blessing)


def test_a_model_that_cannot_be_loaded_fails_the_check(tmp_path):
    (tmp_path / "pairs.tsv").write_bytes(HEADER + ROW_PAIRS)
    bounds = InvarianceGateConfig(pairs=str(tmp_path / "pairs.tsv"))
    (check,) = executor._check_pairs(str(tmp_path), bounds, TASK)
    assert check.blocks and check.gate == "invariance" and "failed to predict the sentence pairs" in check.reason


def test_the_component_compiles_with_a_blessing_as_its_output():
    importers = {
        name: importer.Importer(source_uri="/x", artifact_type=kind).with_id(name)
        for name, kind in (
            ("evaluation", standard_artifacts.ModelEvaluation),
            ("model", standard_artifacts.Model),
            ("baseline", standard_artifacts.Model),
        )
    }
    channels = {name: node.outputs["result"] for name, node in importers.items()}
    node = ModelGate(**channels, gate="{}")
    compiled = compiler.Compiler().compile(
        pipeline.Pipeline("p", pipeline_root="/root", components=[*importers.values(), node])
    )
    spec = compiled.nodes[-1].pipeline_node
    assert spec.outputs.outputs["blessing"].artifact_spec.type.name == "ModelBlessing"
    assert set(spec.inputs.inputs) == {"evaluation", "model", "baseline"}


def profile_with(text, words=()):
    counts = text_counts.TextCounts([text])
    vocabulary = make_vocabulary(counts).model_copy(update={"words": tuple(words)})
    splits = {"train": profile.make_split_profile({}, counts)}
    return profile.Profile(fingerprint="f", examples_sha256="e", reference="none", splits=splits, vocabulary=vocabulary)


ENGLISH = ("the", "movie", "and", "is", "this", "not", "it", "was")


@pytest.mark.parametrize(
    "data, file",
    [
        (profile_with("재미있는 영화"), "korean.tsv"),
        (profile_with("this movie", ENGLISH), "english.tsv"),
        (profile_with("film yang bagus", ("yang", "bagus", "film", "my", "it")), None),
        (profile_with("хороший фильм"), None),
        (profile_with("재미있는 영화 good movie", ENGLISH), None),
    ],
)
def test_bundled_pairs_are_chosen_by_language(data, file):
    pairs = invariance.choose_pairs(InvarianceGateConfig(pairs="auto"), data)
    if file is None:
        assert (pairs.verdict, pairs.blocks) == ("not checked", False) and "language of the data" in pairs.reason
    else:
        bundled = invariance.read_pairs(os.path.join(REPO, "data", "invariance", file))
        assert pairs == [pair for pair in bundled if pair.kind == "same"] and len(pairs) >= 20


def test_pairs_in_other_letters_than_the_data_are_not_used():
    bounds = InvarianceGateConfig(pairs=BUNDLED[0])
    check = invariance.choose_pairs(bounds, profile_with("this movie", ENGLISH))
    assert check.verdict == "not checked" and "are in Hangul letters, the training rows in Latin" in check.reason
    bundled = invariance.read_pairs(BUNDLED[0])
    assert invariance.choose_pairs(bounds, profile_with("재미있는 영화")) == bundled
    assert invariance.choose_pairs(bounds, None) == bundled
