import pytest

from cluster.replay.kfp_launcher import Paths

PATHS = Paths({"/app": "/home/repo", "/mnt": "/replay/one", "/mnt/reviews": "/replay/two"})


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("/app", "/home/repo"),
        ("/app/data/x.tsv", "/home/repo/data/x.tsv"),
        ("--dir=/app/data", "--dir=/home/repo/data"),
        ('{"a": "/mnt/reviews/serving", "b": ["/mnt/x"]}', '{"a": "/replay/two/serving", "b": ["/replay/one/x"]}'),
        ('{\\"a\\": \\"/app/x\\"}', '{\\"a\\": \\"/home/repo/x\\"}'),
        ("/usr/bin:/app/bin", "/usr/bin:/home/repo/bin"),
    ],
)
def test_container_paths_are_translated_anywhere_in_a_text(there, here):
    assert PATHS.translate(there) == here


@pytest.mark.parametrize(
    "text",
    ["/apple/x", "/app.bak", "/home/app/x", "https://host/app/x", "minio://mnt/reviews", "s3://b/mnt/x", "and/or"],
)
def test_other_texts_are_unchanged(text):
    assert PATHS.translate(text) == text


def test_nested_json_values_are_translated():
    assert PATHS.translate({"a": ["/app/x", 3, None], "b": {"c": "/mnt"}}) == {
        "a": ["/home/repo/x", 3, None],
        "b": {"c": "/replay/one"},
    }
