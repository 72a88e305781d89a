import pytest

import kubeflow_runner
from cluster import compatibility

SETTINGS = """
name: x
data: {train: https://example.com/a.tsv}
serving: {dir: /mnt/serving}
kubeflow: {image: i, work_dir: /mnt/w, volumes: [{claim: c, path: /mnt}], host: "http://localhost:1"}
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(SETTINGS)
    return ["--config", "x.yaml"]


def error_output(capsys):
    return " ".join(capsys.readouterr().err.split())


def test_compile_names_the_file_after_the_pipeline(settings, capfd):
    assert kubeflow_runner.main(["compile", *settings, "--set", "name=reviews"]) == 0
    assert capfd.readouterr().out == "wrote reviews.yaml\n"
    compatibility.check_file("reviews.yaml")


@pytest.mark.parametrize(
    "words, message",
    [
        (["compile", "--config", "no.yaml"], "no.yaml: No such file or directory"),
        (["compile", "--set", "kubeflow=null"], "kubeflow: missing"),
        (["compile", "--set", "serving.dir=/srv"], "serving.dir = /srv: should be on a volume"),
        (["replay", "no.yaml"], "no.yaml: cannot be read"),
        (["replay", "x.yaml", "--param", "epochs"], "--param epochs: should be KEY=VALUE"),
        (["submit", "no.yaml"], "no.yaml: cannot be read"),
        (["schedule", "no.yaml", "--every", "6h"], "no.yaml: cannot be read"),
        (["schedule", "x.yaml", "--every", "6h"], "x.yaml: should contain one pipeline document"),
        (["runs"], "http://localhost:1: no connection"),
        (["unschedule"], "http://localhost:1: no connection"),
        (["runs", "--set", "kubeflow=null"], "kubeflow: missing"),
    ],
)
def test_an_error_of_the_user_is_one_line(settings, capsys, words, message):
    options = settings if words[0] not in ("replay",) and "--config" not in words else []
    assert kubeflow_runner.main([words[0], *options, *words[1:]]) == 2
    output = error_output(capsys)
    assert output.startswith("error:") and message in output and "Traceback" not in output


@pytest.mark.parametrize("words", [[], ["complie"], ["schedule", "x.yaml"], ["replay", "x.yaml", "--layout", "9"]])
def test_a_usage_error_prints_the_usage(words, capsys):
    with pytest.raises(SystemExit) as error:
        kubeflow_runner.main(words)
    assert error.value.code == 2
    assert "usage: kubeflow_runner.py" in capsys.readouterr().err
