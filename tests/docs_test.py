"""The commands, files and links in the documentation are valid."""

import pathlib
import re
import shlex

import pytest

import kubeflow_runner
import local_runner

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
PARSERS = {"kubeflow_runner.py": kubeflow_runner._parser, "local_runner.py": local_runner._parser}


def commands(runner: str) -> list[list[str]]:
    """Returns the arguments of each call of a runner in the code blocks of the documents."""
    calls = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text().replace("\\\n", " ")
        for block in re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            lines = re.findall(rf"python {runner} (.*)", block)
            calls.extend(shlex.split(line, comments=True) for line in lines)
    return calls


@pytest.mark.parametrize("runner", PARSERS)
def test_commands_in_the_documents_parse(runner):
    assert len(commands(runner)) >= 8
    for arguments in commands(runner):
        PARSERS[runner]().parse_args(arguments)  # exits after an error


def test_files_named_in_the_documents_exist():
    generated = {"build", "dist", "encoders", "runs"}
    folders = "|".join(path.name for path in ROOT.glob("[!.]*") if path.is_dir() and path.name not in generated)
    for document in DOCUMENTS:
        for path in re.findall(rf"(?<![\w./])((?:{folders})/[\w./-]+\.\w+)\b", (ROOT / document).read_text()):
            assert (ROOT / path).exists() or path == "configs/nightly.yaml", f"{document}: {path}"


def anchors(document: pathlib.Path) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_point_to_existing_pages_and_headings(document):
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", (ROOT / document).read_text()):
        page, _, anchor = link.partition("#")
        target = (ROOT / document).parent / page if page else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
