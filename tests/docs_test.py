"""What the documents tell a reader to type and to open exists."""

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
    """The arguments of each call of a runner in the documents, in code of several lines."""
    found = []
    for document in DOCUMENTS:
        text = (ROOT / document).read_text().replace("\\\n", " ")
        for block in re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL):
            lines = re.findall(rf"python {runner} (.*)", block)
            found.extend(shlex.split(line, comments=True) for line in lines)
    return found


@pytest.mark.parametrize("runner", PARSERS)
def test_commands_of_the_documents_are_understood(runner):
    assert len(commands(runner)) >= 8
    for arguments in commands(runner):
        PARSERS[runner]().parse_args(arguments)  # exits where it does not understand


def test_files_that_the_documents_name_are_there():
    made = {"build", "dist", "encoders", "runs"}
    folders = "|".join(path.name for path in ROOT.glob("[!.]*") if path.is_dir() and path.name not in made)
    for document in DOCUMENTS:
        for path in re.findall(rf"(?<![\w./])((?:{folders})/[\w./-]+\.\w+)\b", (ROOT / document).read_text()):
            assert (ROOT / path).exists() or path == "configs/nightly.yaml", f"{document}: {path}"


def anchors(document: pathlib.Path) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_a_page_and_a_heading(document):
    for link in re.findall(r"\]\((?!https?://)([^)]+)\)", (ROOT / document).read_text()):
        page, _, anchor = link.partition("#")
        target = (ROOT / document).parent / page if page else ROOT / document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
