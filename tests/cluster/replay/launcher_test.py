import pytest

from cluster.replay.launcher import Paths

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
def test_paths_of_the_container_are_replaced_wherever_they_stand(there, here):
    assert PATHS.here(there) == here


@pytest.mark.parametrize(
    "text",
    ["/apple/x", "/app.bak", "/home/app/x", "https://host/app/x", "minio://mnt/reviews", "s3://b/mnt/x", "and/or"],
)
def test_other_texts_stay(text):
    assert PATHS.here(text) == text


def test_json_values_are_replaced_through_and_through():
    assert PATHS.here({"a": ["/app/x", 3, None], "b": {"c": "/mnt"}}) == {
        "a": ["/home/repo/x", 3, None],
        "b": {"c": "/replay/one"},
    }
