"""The command line `rerank`."""

from __future__ import annotations

import base64
import errno
import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click import Context
from click.testing import CliRunner, Result

from calls import client_of
from cases import cases
from docs_support import DOCS
from loopback import TIME, Received, Reply, Server, ranks_all
from pages import encoded
from rerank_integrations import __version__, cli
from rerank_integrations._checkpoint import JsonlStore
from rerank_integrations.cli._app import COMMANDS, app
from terminal import terminal
from test_many import Held

KEY = "sk-or-v1-of-the-command-line"
ADDRESS = ["--model", "openrouter:m", "--base-url"]
PROGRAM = [sys.executable, "-m", "rerank_integrations"]
MODELS = {"data": [{"id": "m", "context_length": 4096, "pricing": {"request": "0.001"}}]}


@pytest.fixture(name="key", autouse=True)
def key_fixture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is one key, no proxy, and a directory of its own."""
    monkeypatch.setenv("OPENROUTER_API_KEY", KEY)
    for name in (
        "RERANK_MODEL",
        "RERANK_API_KEY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "NO_COLOR",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def rerank(*words: object, stdin: str | bytes = "") -> Result:
    """Run a command in this process; no key is ever in what it says."""
    done = CliRunner().invoke(app, [str(word) for word in words], input=stdin, prog_name="rerank")
    assert KEY not in done.output
    return done


def lines(text: str) -> list[Any]:
    """The JSON of each line."""
    return [json.loads(line) for line in text.splitlines()]


def written(name: str, content: str | bytes) -> str:
    """A file in this directory."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def rows(name: str, *given: dict[str, Any] | str) -> str:
    """A file of rows; a str is a line as it is."""
    texts = [row if isinstance(row, str) else json.dumps(row) for row in given]
    return written(name, "".join(f"{text}\n" for text in texts))


def row(number: int) -> dict[str, Any]:
    """A row whose id is its query."""
    return {"id": f"q{number}", "query": f"q{number}", "documents": ["a", f"q{number}"]}


def costs(received: Received) -> Reply:
    """Ranks every document for a tenth of a cent; a query that says so fails, or is refused."""
    if received.query.startswith("bad"):
        return Reply({"error": {"message": "no"}}, 400)
    return Reply(ranks_all(received).body | {"usage": {"cost": 0.001, "search_units": 1}})


def refuses(received: Received) -> Reply:
    """Refuses the key, and repeats it."""
    return Reply({"error": {"message": f"no key {received.headers['authorization']}"}}, 401)


@cases("name", ["", *COMMANDS])
def test_help_has_examples(name: str) -> None:
    """The help of each command has examples that name it, and fits a terminal of 80 columns.

    Where there are many options they are under headings.
    """
    done = rerank(*filter(None, [name]), "--help")

    assert done.exit_code == 0
    assert f"  rerank {name or 'demo'}" in done.output.partition("Examples:")[2]
    assert max(map(len, done.output.splitlines())) <= 80
    headings = re.findall(r"^(\w[\w ]*):$", done.output, re.MULTILINE)
    if name in {"run", "batch"}:
        assert headings == ["Options", "Model", "Ranking", "Cost and speed", "Output"]


def test_each_option_is_on_the_page() -> None:
    """The page of the command line names every option, and none that is not there."""
    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    known = {"--help", "--oneline"}  # of git
    for name in COMMANDS:
        command = app.get_command(Context(app), name)
        assert command is not None
        known |= {word for one in command.params for word in one.opts if word.startswith("--")}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page)) == known


def test_help_and_completion_load_nothing_heavy() -> None:
    """Help, version and completion load neither the client nor what is slow to import."""
    code = f"""
import os, sys
from rerank_integrations.cli._app import app
for words in (["--help"], ["--version"], *([name, "--help"] for name in {COMMANDS!r})):
    app.main(words, standalone_mode=False)
for words, count in (("rerank ", 1), ("rerank run --model ", 3)):
    os.environ |= {{"_RERANK_COMPLETE": "bash_complete", "COMP_WORDS": words}}
    os.environ["COMP_CWORD"] = str(count)
    try:
        app.main([], prog_name="rerank")
    except SystemExit:
        pass
heavy = ["pydantic", "httpx", "rich", "rerank_integrations.client", "importlib.metadata", "asyncio"]
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    *shown, heavy = done.stdout.splitlines()
    assert f"rerank, version {__version__}" in shown
    assert {f"plain,{name}" for name in COMMANDS} <= set(shown)
    assert "plain,openrouter:" in shown
    assert heavy == "[]"


@cases("name", ["click", "rich"])
def test_the_extra_is_missed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a package of the extra, one line says how to install it, and the exit code is 1."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert "pip install 'rerank-integrations[cli]'" in str(ended.value.code)
    assert "\n" not in str(ended.value.code)


OBJECTS = [{"title": "car", "text": "blue, dark"}, {"title": "bicycle", "text": "red"}]
TABLE = 'title,text\ncar,"blue, dark"\n\nbicycle,red\n'
KINDS: list[tuple[str, str, list[str], list[Any], list[str]]] = [
    ("a.txt", "\ufeffapple\r\n\n  \nred\n", [], ["apple", "red"], ["a.txt:1", "a.txt:4"]),
    ("a.txt", "apple\nred\n", ["--whole-files"], ["apple\nred\n"], ["a.txt"]),
    ("a.md", "apple", [], ["apple"], ["a.md:1"]),
    ("a.jsonl", '{"a": 1}\n\n"red"\n', [], [{"a": 1}, "red"], ["a.jsonl:1", "a.jsonl:3"]),
    ("a.json", '[{"a": 1}, "red"]', [], [{"a": 1}, "red"], ["a.json:[0]", "a.json:[1]"]),
    ("a.csv", TABLE, [], OBJECTS, ["a.csv:2", "a.csv:4"]),
    ("a.csv", "\n\na\nx\u2028y\x0bz\n", [], [{"a": "x\u2028y\x0bz"}], ["a.csv:4"]),
    ("a.jsonl", '{"a": 1, "b": NaN}\n', [], [{"a": 1, "b": None}], ["a.jsonl:1"]),
    ("a.csv", 'a;"b,c"\n1,5;x\n', [], [{"a": "1,5", "b,c": "x"}], ["a.csv:2"]),
    ("a.csv", "a,,\n1,2,3\n", [], [{"a": "1", "column 2": "2", "column 3": "3"}], ["a.csv:2"]),
    ("a.tsv", "title\na, b\n", [], [{"title": "a, b"}], ["a.tsv:2"]),
    ("-", "apple\nred\n", [], ["apple", "red"], ["-:1", "-:2"]),
    ("-", TABLE, ["--from", "csv"], OBJECTS, ["-:2", "-:4"]),
]


@cases("kind", KINDS)
def test_documents_of_every_kind(
    kind: tuple[str, str, list[str], list[Any], list[str]],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each kind of file gives its documents, as they are, with the file and line of each.

    In a pipe a result is a line of JSON, best first.
    """
    name, content, options, documents, sources = kind
    monkeypatch.chdir(tmp_path)
    files = ["-"] if name == "-" else [written(name, content)]
    done = rerank(
        "run", "red", *files, *options, *ADDRESS, server.url, stdin=content if name == "-" else ""
    )

    assert (done.exit_code, done.stderr) == (0, "")
    found = sorted(lines(done.stdout), key=lambda one: one["index"])
    assert [one["document"] for one in found] == documents
    assert [one["source"] for one in found] == sources
    scores = [one["relevance_score"] for one in lines(done.stdout)]
    assert scores == sorted(scores, reverse=True)
    assert len(server.received[0].body["documents"]) == len(documents)


def test_images_are_read_from_paths_and_passed_on_as_urls(server: Server) -> None:
    """An image is a file, or named by a field: a path beside the file that names it, or a URL."""
    url = "https://example.org/page.png"
    written("pictures/page.png", encoded("sales"))
    named = [{"text": "one", "photo": "page.png"}, {"photo": url}, {"text": "no picture"}]
    table = rows("pictures/pages.jsonl", *named)
    options = ["--image-field", "photo", "--model", "openrouter:nvidia/llama-nemotron-rerank-vl-1b"]
    done = rerank("run", "red", table, "pictures/page.png", *options, "--base-url", server.url)

    assert done.exit_code == 0, done.output
    data = "data:image/png;base64," + base64.b64encode(encoded("sales")).decode()
    assert server.received[0].body["documents"] == [
        {"text": "one", "image": data},
        {"image": url},
        "no picture",
        {"image": data},
    ]
    shown = sorted(lines(done.stdout), key=lambda one: one["index"])
    assert [one["document"] for one in shown] == [*named, "pictures/page.png"]

    image, there = ["--query-image", "pictures/page.png"], ["--base-url", server.url]
    assert rerank("run", "", table, *image, *there, "--model", "vllm:m").exit_code == 0
    (part,) = server.received[1].body["query"]["content"]
    assert part["image_url"]["url"] == data
    blind = rerank("run", "red", table, *image, *options, *there)
    assert "takes a query of text only" in blind.stderr
    assert rerank("run", "red", table, "--query-image", "none.png", *options).exit_code == 1
    assert len(server.received) == 2


def test_each_option_arrives(server: Server) -> None:
    """Options become settings of the call, and the environment names a model."""
    written("a.csv", "title,text,more\ncar,blue,1\nbicycle,red,2\n")
    options = ["--fields", "title,text", "-n", 1, "--threshold", 0.5, "--timeout", 5]
    options += ["--instruction", "find red", "--model", "fireworks:m", "--base-url", server.url]
    options += ["--extra-body", '{"own": [1]}', "--score-transform", "sigmoid"]
    options += ["--max-document-chars", 14]
    done = CliRunner().invoke(
        app,
        ["run", "red", "a.csv", "--json", *map(str, options)],
        env={"FIREWORKS_API_KEY": KEY, "RERANK_MODEL": "openrouter:other"},
    )

    assert done.exit_code == 0, done.output
    sent = server.received[0].body
    assert (sent["model"], sent["top_n"]) == ("m", 1)
    assert "find red" in json.dumps(sent)
    assert sent["own"] == [1]
    assert max(map(len, sent["documents"])) <= 14
    assert [document.count("2") for document in sent["documents"]] == [0, 0]
    found = json.loads(done.stdout)
    assert [one["index"] for one in found["results"]] == [0]
    assert found["results"][0]["relevance_score"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert (found["model"], found["provider"]) == ("m", "fireworks")


def test_options_for_what_cannot_be_sent_or_fails(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image is left out, a document skipped, a fallback asked, a score found in a cache."""
    monkeypatch.setenv("CO_API_KEY", KEY)
    written("page.png", encoded("sales"))
    photo = {"text": "red", "photo": "page.png"}
    rows("a.jsonl", photo, '"red"')
    words = ["run", "red", "a.jsonl", "--image-field", "photo", "-m", "cohere:m"]
    words += ["--base-url", server.url]
    refused = rerank(*words)
    assert (refused.exit_code, server.received) == (1, [])
    for more, sent in (
        (["--on-invalid-document", "skip"], ["red"]),
        (["--on-invalid-document", "text"], ["red", "red"]),
    ):
        done = rerank(*words, *more)
        assert (done.exit_code, len(lines(done.stdout))) == (0, len(sent)), done.stderr
        assert server.received[-1].body["documents"] == sent
    kept = [*words, "--on-image", "text", "--cache", Path("scores.db").absolute()]
    count = len(server.received)
    for _ in range(2):
        done = rerank(*kept)
        assert "page.png" in done.stdout
        assert len(server.received) == count + 1
    server.plays(Reply({"error": {"message": "no"}}, 404))
    fallen = rerank(*words, "--on-image", "text", "--fallback", "local:bm25", "--json")
    assert json.loads(fallen.stdout)["provider"] == "local"
    monkeypatch.delenv("CO_API_KEY")
    monkeypatch.setenv("RERANK_API_KEY", KEY)  # the key of the model, and of no other provider
    server.received.clear()
    rerank(*words, "--on-image", "text", "--fallback", "cohere:n")
    assert [received.body["model"] for received in server.received] == ["m", "n"]


def test_a_local_model_without_a_name() -> None:
    """Without a model a local one ranks, which stderr says unless it is to be quiet."""
    written("a.txt", "a blue car\na red bicycle\n")
    said = rerank("run", "red bicycle", "a.txt", "--table")
    quiet = rerank("run", "red bicycle", "a.txt", "-q")
    words = ["run", "red bicycle", "a.txt", "--table"]
    narrow = CliRunner().invoke(app, words, env={"COLUMNS": "20"})

    assert "a red bic" in narrow.stdout
    assert "ranking with local:hybrid" in said.stderr
    assert said.stdout.index("a red bicycle") < said.stdout.index("a blue car")
    assert (quiet.stderr, lines(quiet.stdout)[0]["index"]) == ("", 1)


COMPATIBLE = ["-m", "compatible:m", "--base-url", "https://a"]
WRONG: list[tuple[list[str], int, str]] = [
    (["run", "red", "bad.jsonl"], 1, "bad.jsonl, line 2: not valid JSON"),
    (
        ["run", "red", "number.jsonl"],
        1,
        "number.jsonl, line 1: a document must be a string or an object, not a number",
    ),
    (["run", "red", "bad.csv"], 1, "bad.csv, line 3: 3 cells, but the header has 2"),
    (
        ["run", "red", "semicolons.csv"],
        1,
        "3 cells, but the header has 2; quote cells that contain a s",
    ),
    (["run", "red", "bad.json"], 1, "the JSON must be an array of documents"),
    (["run", "red", "open.csv"], 1, "open.csv, line 2: unexpected end of data"),
    (["run", "red", "twice.csv"], 1, "twice.csv, line 1: the header has 'a' twice"),
    (["run", "red", "utf16.txt"], 1, "utf16.txt, line 1: not UTF-8 text"),
    (["run", "red", "a.txt", "--extra-body", "[1]"], 2, "'--extra-body': it must be a JSON obj"),
    (["run", "red", "a.txt", "--extra-body", '{"query": 1}'], 2, "--extra-body must not have th"),
    (["run", "red", "a.txt", "--fallback", "cohere:m"], 4, "the fallback cohere needs a key: exp"),
    (["run", "red", "a.csv", "--image-field", "photo"], 2, "no document has the field 'photo'"),
    (["run", "red", "image.jsonl", "--image-field", "a"], 1, "'none.png' (image.jsonl:1)"),
    (["run", "red", "latin.txt"], 1, "latin.txt, line 2: not UTF-8 text"),
    (["run", "red", "empty.txt"], 1, "no documents in empty.txt"),
    (["run", "", "a.txt"], 2, "QUERY is empty"),
    (["demo", " "], 2, "QUERY is empty"),
    (["run", "red", "a.txt", "--json", "--table"], 2, "choose one of --"),
    (["run", "red", "a.txt", "-m", "local:no"], 2, "local:cross-encoder/<model or folder>\n"),
    (["run", "red", "a.txt", "--threshold", "1"], 2, "such as local:bm25\n"),
    (["run", "red", "rows.csv", "-f", "no,none"], 1, "of --fields no,none; "),
    (
        ["run", "red", "a.txt", "--instruction", "x", *COMPATIBLE],
        2,
        "the command line cannot set how a compatible: server receives an --instruction",
    ),
    (["models", "jina"], 1, "jina has no endpoint that lists its rerank models"),
    (["models", "voyage"], 1, "voyage has no endpoint that lists"),  # without a key
    (["doctor", "--base-url", "https://a"], 2, "--base-url needs --model"),
    (["batch", "rows.csv", "out.jsonl"], 2, "rows.csv is not JSONL: each line of IN must be"),
    (["batch", "array.json", "out.jsonl"], 2, "array.json is not JSONL"),
    (["batch", "in.jsonl", "no/folder/out.jsonl"], 2, "the directory no/folder does not exist"),
    (
        ["run", "red", "page.png", "-q"],
        1,
        "set --on-image text to rank by the text alone; --on-invalid-document skip leaves out",
    ),
    (["run", "red", "none.txt"], 2, "'none.txt' does not exist"),
    (
        ["run", "red", "a.csv", "--fields", "no"],
        1,
        "of --fields no; the fields of the documents",
    ),
    (["run", "red", "a.txt", "--model", "nobody:m"], 2, "unknown provider 'nobody'"),
    (["run", "red", "a.txt", "--base-url", "https://a"], 2, "--base-url needs --model"),
    (["run", "red", "a.txt", "--instruction", "x"], 2, "takes no --instruction"),
    (
        ["run", "red", "a.txt", "-m", "vllm:m", "--base-url", "http://a"],
        2,
        "allow it: --allow-http",
    ),
    (["run", "red", "a.txt", "-m", "azureai:m"], 2, "pass --base-url or set AZURE_AI_API_BASE"),
    (["run", "red", "a.txt", "-m", "cohere:m"], 4, "cohere needs a key: export CO_API_KEY=..."),
    (["run", "red", "a.txt", "-m", "m"], 2, "xinference, zeroentropy\n"),
    (
        ["run", "red", "a.txt", "-m", "vllm:m", "--base-url", "http://a:b@c"],
        2,
        "keys go into environment variables",
    ),
    (["models", "nobody"], 2, "unknown provider 'nobody'"),
    (["models", "cohere"], 4, "cohere needs a key"),
    (["batch", "a.txt", "out.csv"], 2, "OUT must end in .jsonl or .ndjson"),
    (["batch", "in.jsonl", "./in.jsonl", "--force"], 2, "would overwrite its input"),
    (["batch", "in.errors.jsonl", "in.jsonl", "--resume"], 2, "would overwrite its input"),
    (["batch", "in.jsonl", "out.jsonl", "--resume", "--force"], 2, "choose one"),
    (["batch", "in.jsonl", "done.jsonl", "--force", "--max-cost", "nan"], 2, "not a finite number"),
    (["batch", "in.jsonl", "in.rejected.jsonl", "--on-error", "reject"], 2, "name another OUT"),
    (["nothing"], 2, "No such command 'nothing'"),
]


def test_a_mistake_is_a_line_and_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake is told in the words of the options, without a traceback, and has an exit code."""
    monkeypatch.setenv("JINA_API_KEY", KEY)
    written("a.txt", "red\n")
    written("a.csv", "title,text\na,b\n")
    written("bad.jsonl", '"red"\n{bad\n')
    written("number.jsonl", "1\n")
    written("bad.csv", "a,b\n1,2\n1,2,3\n")
    written("bad.json", '{"a": "red"}')
    written("array.json", "[\n" + json.dumps(row(0)) + "]")
    written("rows.csv", "id,query\na,red\n")
    written("semicolons.csv", "a;b\n1;2;3\n")
    written("open.csv", 'a,b\n1,"2\n3,4\n5,6\n')
    written("twice.csv", "a,b,a\n1,2,3\n")
    written("utf16.txt", "red\n".encode("utf-16-le") * 2)
    written("image.jsonl", '{"a": "none.png"}\n')
    written("latin.txt", b"red\nbl\xe9\n")
    written("empty.txt", "\n \n")
    written("page.png", encoded("sales"))
    for name in ("in.jsonl", "in.errors.jsonl", "done.jsonl"):
        rows(name, row(0))
    for words, code, said in WRONG:
        done = rerank(*words)
        assert (done.exit_code, done.stdout) == (code, ""), (words, done.output)
        assert said in done.stderr, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert lines(Path("in.jsonl").read_text()) == [row(0)]
    assert lines(Path("done.jsonl").read_text()) == [row(0)]


@cases(
    ("status", "code"),
    [(401, 4), (403, 4), (402, 3), (404, 1), (400, 1), (503, 1)],
)
def test_the_exit_code_of_a_status(status: int, code: int, server: Server) -> None:
    """Credentials are 4, money is 3, and what else is 1; nothing is sent again without retries."""
    server.plays(Reply({"error": {"message": "no"}}, status))
    options = ["--max-retries", 0, *ADDRESS, server.url]
    done = rerank("run", "red", "-", *options, stdin="red\n")

    assert (done.exit_code, done.stdout, len(server.received)) == (code, "", 1)
    assert str(status) in done.stderr


def test_debug_shows_the_requests_and_where_it_failed_and_no_key(server: Server) -> None:
    """`--debug` logs each request and shows the traceback, in which there is no key."""
    server.plays(refuses)
    done = rerank("run", "red", "-", "--debug", *ADDRESS, server.url, stdin="red\n")

    assert done.exit_code == 4
    assert "Traceback" in done.stderr
    assert done.stderr.count("AuthenticationError") >= 1
    assert "openrouter m: 1 documents, 401" in done.stderr


def test_a_batch_writes_a_row_for_each_row(server: Server) -> None:
    """A row of OUT has id, results, model, usage and cost; without an id, that of its line."""
    server.plays(costs)
    rows("in.jsonl", row(0), "", {"query": "x", "documents": ["x", "y"]})
    options = ["-n", 1, "--max-concurrency", 10**9, *ADDRESS, server.url]
    done = rerank("batch", "in.jsonl", "out.jsonl", *options)

    assert (done.exit_code, done.stdout) == (0, "")
    found = {one["id"]: one for one in lines(Path("out.jsonl").read_text())}
    assert set(found) == {"q0", 3}
    assert found["q0"]["results"] == [{"index": 1, "relevance_score": 1.0}]
    assert (found[3]["model"], found[3]["cost"]) == ("m", 0.001)
    assert found[3]["usage"] == {"cost": 0.001, "search_units": 1}
    assert "out.jsonl: 2 rows" in done.stderr
    assert "2 requests, $0.0020" in done.stderr


def test_a_batch_overwrites_nothing_and_goes_on(server: Server) -> None:
    """An OUT that is there needs `--resume`, which pays for what is missing, or `--force`."""
    server.plays(costs)
    address = [*ADDRESS, server.url]
    rows("in.jsonl", row(0))
    fresh = rerank("batch", "in.jsonl", "out.jsonl", "--resume", *address)
    rows("in.jsonl", row(0), row(1))
    refused = rerank("batch", "in.jsonl", "out.jsonl", *address)
    resumed = rerank("batch", "in.jsonl", "out.jsonl", "--resume", *address)
    other = rerank("batch", "in.jsonl", "out.jsonl", "--resume", "--top-n", 1, *address)
    assert (fresh.exit_code, refused.exit_code) == (0, 2)
    assert "--resume continues that run, --force overwrites the file" in refused.stderr
    assert resumed.exit_code == 0
    assert "out.jsonl: 2 rows (1 from earlier runs)\n1 request, $0.0010" in resumed.stderr
    assert [one.query for one in server.received] == ["q0", "q1"]
    assert other.exit_code == 2
    assert (
        "--top-n was not given, and is 1. Use another file, the settings of that run, or --force"
        in (other.stderr)
    )

    forced = rerank("batch", "in.jsonl", "out.jsonl", "--force", "--top-n", 1, "-q", *address)
    assert (forced.exit_code, forced.stderr) == (0, "")
    assert [len(one["results"]) for one in lines(Path("out.jsonl").read_text())] == [1, 1]


@cases("on_error", ["keep", "reject", "stop"])
def test_a_row_that_fails(
    on_error: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that fails is told with its line; by choice it is listed, set aside, or the end."""
    monkeypatch.chdir(tmp_path)
    server.plays(costs)
    bad = {"id": "bad", "query": "bad", "documents": ["a"]}
    rows("in.jsonl", "{broken", {"query": "no documents"}, bad, row(0))
    options = ["--on-error", on_error, "--max-concurrency", 1, *ADDRESS, server.url]
    done = rerank("batch", "in.jsonl", "out.jsonl", *options)

    assert done.exit_code == 1
    assert "in.jsonl, line 1: not valid JSON" in done.stderr
    must = " once in.jsonl is corrected" if on_error == "stop" else ""
    again = f"to resume{must}: rerank batch in.jsonl out.jsonl --on-error"
    assert done.stderr.splitlines()[-1].startswith(again)
    assert done.stderr.endswith(" --resume\n")
    stored = [one["id"] for one in lines(Path("out.jsonl").read_text())]
    rejected = Path("in.rejected.jsonl")
    assert rejected.exists() == (on_error == "reject")
    if on_error == "stop":
        assert stored == []
        return
    assert stored == ["q0"]
    assert "in.jsonl, line 2: the row has no key 'documents'" in done.stderr
    assert "openrouter answered 400: no (in.jsonl, line 3, id 'bad')" in done.stderr
    failed = lines(Path("out.errors.jsonl").read_text())
    assert [one["id"] for one in failed] == [1, 2, "bad"]
    assert all(f"failed: {one['message']}\n" in done.stderr for one in failed)
    if on_error == "reject":
        assert rejected.read_text() == '{"id": 1, broken\n{"query": "no documents", "id": 2}\n'
        assert "in.rejected.jsonl: 2 rows to correct" in done.stderr


def test_the_file_of_errors_has_the_words_of_the_options(server: Server) -> None:
    """What a terminal shows of a failed row is in the file too, with options for arguments."""
    server.plays(costs)
    rows("in.jsonl", {"id": "a", "query": "red", "documents": [{"text": "red"}]})
    options = ["--fields", "title", *ADDRESS, server.url]
    done = rerank("batch", "in.jsonl", "out.jsonl", *options)
    [failed] = lines(Path("out.errors.jsonl").read_text())

    assert failed["message"].startswith("in.jsonl, line 1: no document has a field of --fields ti")
    assert f"failed: {failed['message']}\n" in done.stderr
    with client_of(server, rank_fields=["title"]) as client:
        [came] = client.rerank_many("in.jsonl", checkpoint="own.jsonl", on_error="keep")
    assert lines(Path("own.errors.jsonl").read_text())[0]["message"] == str(came.error)
    assert "rank_fields=['title']" in str(came.error)


def odd_target(kind: str) -> Path:
    """An OUT that is no regular file, or leads to one."""
    path = Path("out.jsonl")
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(kind)
    return path


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither of them")
@cases("more", [[], ["--resume"], ["--force"]])
@cases(
    "out",
    [
        ("directory", "'out.jsonl' is a directory"),
        ("pipe", "'out.jsonl' is not a regular file; use another path"),
        ("/dev/full", "'out.jsonl' is not a regular file, as a link to /dev/full"),
        ("/dev/null", "'out.jsonl' is not a regular file, as a link to /dev/null"),
        ("out.jsonl", "Too many levels of symbolic links"),
        ("disk/rows.jsonl", ""),
    ],
)
def test_a_batch_writes_to_a_regular_file_alone(
    out: tuple[str, str],
    more: list[str],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Anything else is refused before a row is sent, and stays; a link to a file is followed."""
    kind, told = out
    monkeypatch.chdir(tmp_path)
    Path("disk").mkdir()
    server.plays(costs)
    rows("in.jsonl", row(0))
    path = odd_target(kind)
    done = rerank("batch", "in.jsonl", path, *more, *ADDRESS, server.url)

    if told:
        assert told in done.stderr
        assert (done.exit_code in {1, 2}, server.received) == (True, [])
        assert path.is_symlink() or not path.is_file()
        return
    again = rerank("batch", "in.jsonl", path, "--force", *ADDRESS, server.url)
    assert (done.exit_code, again.exit_code, len(server.received)) == (0, 0, 2)
    assert path.is_symlink()
    assert len(lines(Path("disk/rows.jsonl").read_text())) == 1


def test_corrections_are_kept_and_take_their_own_places(server: Server) -> None:
    """A file of rejected rows is not overwritten, and what is corrected there is ranked once."""
    server.plays(costs)
    broken = '{"query": "x", "documents": ["x"]'
    other = {"query": "y", "documents": ["y"]}
    rows("in.jsonl", {"query": "none"}, broken, "[1]", other, '{"id": "own", "query": ')
    options = ["--on-error", "reject", *ADDRESS, server.url]
    done = rerank("batch", "./in.jsonl", "out.jsonl", *options)
    rejected = Path("in.rejected.jsonl")
    given = rejected.read_text().splitlines()

    assert (done.exit_code, len(given)) == (1, 4)
    assert "to resume: " not in done.stderr
    command = "rerank batch in.rejected.jsonl out.jsonl --on-error reject"
    assert f"in.rejected.jsonl once corrected: {command}" in done.stderr
    assert [json.loads(given[0])["id"], json.loads(given[2])["id"]] == [1, 3]
    fixed = {"id": 3, "query": "z", "documents": ["z"]}
    ends = '"own", "documents": ["o"]}'
    rows(str(rejected), {**json.loads(given[0]), **other}, f"{given[1]}}}", fixed, given[3] + ends)
    corrected = rejected.read_text()

    resumed = rerank("batch", "in.jsonl", "out.jsonl", *options, "--resume")
    assert resumed.exit_code == 1
    assert rejected.read_text() == corrected
    assert Path("in.rejected.2.jsonl").read_text().splitlines() == given
    ranked = rerank("batch", "in.rejected.jsonl", "out.jsonl", *options, "--resume")
    assert ranked.exit_code == 0, ranked.output
    found = [one["id"] for one in lines(Path("out.jsonl").read_text())]
    assert sorted(found, key=str) == [1, 2, 3, 4, "own"]
    forced = rerank("batch", "in.jsonl", "out.jsonl", *options, "--force")
    assert (forced.exit_code, rejected.read_text().splitlines()) == (1, given)


def test_an_id_that_is_twice(server: Server) -> None:
    """Of two rows with one id the first counts, and the message names both lines."""
    server.plays(costs)
    first = {"id": "a", "query": "first", "documents": ["x"]}
    rows("in.jsonl", first, {**first, "query": "later"}, "", {**first, "query": "last"})
    done = rerank("batch", "in.jsonl", "out.jsonl", *ADDRESS, server.url)

    assert done.exit_code == 1
    for number in (2, 4):
        assert f"in.jsonl, line {number}: id 'a' is that of in.jsonl, line 1 already" in done.stderr
    assert [one.query for one in server.received] == ["first"]
    assert "to resume once in.jsonl is corrected: " in done.stderr
    rows("in.jsonl", {**first, "query": "changed"})
    changed = rerank("batch", "in.jsonl", "out.jsonl", "--resume", *ADDRESS, server.url)
    assert "id 'a' is in 'out.jsonl' with another query or other documents" in changed.stderr


def test_a_batch_of_standard_input(server: Server) -> None:
    """With - as IN the rows come through a pipe, and rows that are wrong go to a file."""
    server.plays(costs)
    words = ["batch", "-", "out.jsonl", "--on-error", "reject", *ADDRESS, server.url]
    given = f"{json.dumps(row(0))}\n{{broken\n"
    done = subprocess.run(
        [*PROGRAM, *words], input=given, capture_output=True, text=True, check=False, timeout=TIME
    )

    assert done.returncode == 1, done.stderr
    assert [one["id"] for one in lines(Path("out.jsonl").read_text())] == ["q0"]
    assert "line 2: not valid JSON" in done.stderr
    assert Path("stdin.rejected.jsonl").read_text() == '{"id": 2, broken\n'


def test_one_variable_for_the_key_of_any_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RERANK_API_KEY is sent where the provider's own variable is not set or does not exist.

    A refused key is named by the variable that it came from.
    """

    def refused(model: str, **keys: str) -> str:
        for name, key in keys.items():
            monkeypatch.setenv(name, key)
        done = rerank("run", "red", "-", "-m", model, "--base-url", server.url, stdin="red\n")
        for name in keys:
            monkeypatch.delenv(name)
        assert done.exit_code == 4, done.output
        return done.stderr.partition("check the environment variable ")[2].split()[0]

    names = ("compatible", "localai", "sglang", "tei", "xinference", "cohere", "vllm")
    server.plays(refuses)
    for name in names:
        assert refused(f"{name}:m", RERANK_API_KEY=KEY) == "RERANK_API_KEY"
        assert server.received[-1].headers["authorization"] == f"Bearer {KEY}"
    server.plays(Reply({"error": {"message": "no"}}, 401))
    assert refused("compatible:m") == "RERANK_API_KEY"
    file = written("voyage key", f"{KEY}\n")
    for keys in (
        {"COHERE_API_KEY": KEY},
        {"VOYAGE_API_KEY_PATH": file},
        {"VOYAGE_API_KEY": KEY, "VOYAGE_API_KEY_PATH": "no such file"},
    ):
        name = next(iter(keys))
        model = f"{name.partition('_')[0].lower()}:m"
        assert refused(model, RERANK_API_KEY="x", **keys) == name
        assert server.received[-1].headers["authorization"] == f"Bearer {KEY}"
    monkeypatch.setenv("VOYAGE_API_KEY_PATH", file)
    listed = {one["provider"]: one for one in lines(rerank("models").stdout)}
    assert listed["voyage"]["key_set"]
    assert "ok   VOYAGE_API_KEY_PATH: is set, for voyage" in rerank("doctor", "--no-network").stdout
    monkeypatch.setenv("RERANK_API_KEY", KEY)
    asked = rerank("doctor", "-m", "tei:m", "--base-url", server.url)
    assert asked.exit_code == 4
    assert "ok   RERANK_API_KEY: is set, for a --model whose own variable is not set" in (
        asked.stdout
    )
    assert "check the environment variable RERANK_API_KEY" in asked.stdout
    Path("data").mkdir()
    rows("data/corpus.jsonl", {"_id": "d", "text": "red"})
    rows("data/queries.jsonl", {"_id": "q", "text": "red"})
    written("data/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n")
    both = rerank("evaluate", "data", "-m", "cohere:m", "-m", "jina:m")
    assert both.exit_code == 2
    assert "cohere and jina would get it" in both.stderr


def test_what_a_table_and_its_warnings_say() -> None:
    """A table has the ranked fields first and no null; what is skipped is named by its line."""
    given = {"id": 7, "none": None, "more": {"a": [1, True]}, "text": "red"}
    rows("a.jsonl", given, {"other": "blue"})
    options = ["-f", "text,zz", "--table", "--max-retries", 0]
    done = rerank("run", "red", "a.jsonl", *options)

    assert done.exit_code == 0
    assert 'text: red, id: 7, more: {"a": [1, true]}' in done.stdout
    assert "no document has the field 'zz' of --fields" in done.stderr
    assert "skipped: a.jsonl:2\n" in done.stderr
    for form in ("--jsonl", "--nl"):
        assert lines(rerank("run", "red", "a.jsonl", form, "-q").stdout)[0]["document"] == given


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_adds_no_space_after_a_provider() -> None:
    """Of `coher` bash makes `cohere:` without a space, for the name of the model follows."""
    program = " ".join(map(shlex.quote, PROGRAM))
    script = f"""
rerank() {{ {program} "$@"; }}
env() {{ unset COMP_WORDS; export "${{@:1:3}}"; "${{@:4}}"; }}
compopt() {{ echo "compopt $*"; }}
eval "$(_RERANK_COMPLETE=bash_source rerank)"
COMP_WORDS=(rerank run --model coher) COMP_CWORD=3
_rerank_completion rerank
echo "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout.split() == ["compopt", "-o", "nospace", "cohere:"], done


@cases(
    ("shell", "written"),
    [
        ("zsh", "compadd -U -V unsorted -S '' -a open"),  # which is what ends with a colon
        ("fish", 'string split --max 1 ","'),  # a description may have commas
    ],
)
def test_other_shells_get_what_click_lacks(shell: str, written: str) -> None:
    """Zsh adds no space after a provider; fish, which adds none, shows whole descriptions."""
    given = {**os.environ, "_RERANK_COMPLETE": f"{shell}_source"}
    done = subprocess.run(PROGRAM, env=given, capture_output=True, text=True, check=True)
    assert written in done.stdout


def test_many_failures_are_told_once(server: Server) -> None:
    """After five failed rows no more are shown, and the file of errors has them all."""
    rows("in.jsonl", *["{broken"] * 9)
    done = rerank("batch", "in.jsonl", "out.jsonl", *ADDRESS, server.url)

    assert done.stderr.count("not valid JSON") == 5
    assert done.stderr.count("failed: further rows") == 1
    assert len(lines(Path("out.errors.jsonl").read_text())) == 9


PRICED = ["--price-per-1000-searches", "2"]
BUDGETS: list[tuple[list[str], bool, int, int, str]] = [
    (["--max-cost", "0.003"], True, 3, 3, "$0.003 of --max-cost=0.003"),
    (["--max-requests", "2"], True, 3, 2, "2 of --max-requests=2"),
    (["--max-cost", "0.004", *PRICED], False, 3, 2, "the budget is used up"),
    (["--max-cost", "0.1", "--price-per-million-tokens", "1"], False, 2, 1, "--max-cost needs to"),
    (
        ["--max-cost", "0.1"],
        False,
        2,
        1,
        "say it; they count search_units: pass --price-per-1000-searches\nout.jsonl: 1 row\n1 req",
    ),
]


@cases("budget", BUDGETS)
def test_a_budget(
    budget: tuple[list[str], bool, int, int, str],
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A run stops before it exceeds its budget, with exit code 3 and a file that can go on."""
    options, says_cost, code, stored, said = budget
    monkeypatch.chdir(tmp_path)

    def answers(received: Received) -> Reply:
        usage = {"cost": 0.001} if says_cost else {"search_units": 1}
        return Reply(ranks_all(received).body | {"usage": usage})

    server.plays(answers)
    rows("in.jsonl", *map(row, range(9)))
    done = rerank("batch", "in.jsonl", "out.jsonl", *options, *ADDRESS, server.url)

    assert done.exit_code == code
    assert said in done.stderr
    assert "pass checkpoint" not in done.stderr
    found = lines(Path("out.jsonl").read_text())
    assert len(found) == stored
    assert ("to resume" in done.stderr) == (code == 3)
    if code == 3:
        assert f"to resume with the same budget again, or with a higher {options[0]}: rerank" in (
            done.stderr
        )
        assert {one["cost"] for one in found} == {0.001 if says_cost else 0.002}


def test_a_refused_key_ends_a_batch(server: Server) -> None:
    """Where the key is refused no other row would succeed: the run ends with exit code 4."""
    server.plays(refuses)
    rows("in.jsonl", *map(row, range(99)))
    options = ["--max-concurrency", 1, *ADDRESS, f"{server.url}?code=in-the-address"]
    done = rerank("batch", "in.jsonl", "out.jsonl", *options)

    assert done.exit_code == 4
    assert "to resume once the key is valid: rerank batch in.jsonl out.jsonl --max-conc" in (
        done.stderr
    )
    assert "in-the-address" not in done.stderr
    assert len(server.received) <= 3
    assert "401" in done.stderr


def test_ctrl_c_ends_a_batch_at_once(server: Server) -> None:
    """Ctrl-C ends a batch although calls are in flight; it says how to go on, and that works."""
    held = Held("q0", "q1")
    server.plays(held)
    rows("in.jsonl", *map(row, range(99)))
    words = ["batch", "in.jsonl", "out.jsonl", "--max-concurrency", "4", *ADDRESS, server.url]
    with subprocess.Popen([*PROGRAM, *words], stderr=subprocess.PIPE, text=True) as run:
        until(lambda: len(server.received) >= 6)
        run.send_signal(signal.SIGINT)
        said = run.communicate(timeout=TIME)[1]
    assert not held.gate.is_set()  # it ended although the server has not answered
    held.gate.set()

    assert run.returncode == 130
    assert sorted(one["id"] for one in lines(Path("out.jsonl").read_text())) == ["q0", "q1"]
    assert "Traceback" not in said
    assert f"to resume: rerank {' '.join(words)} --resume" in said
    server.plays(ranks_all)
    resumed = rerank(*words, "--resume")
    assert "out.jsonl: 99 rows (2 from earlier runs)" in resumed.stderr


def until(holds: Any) -> None:
    """Wait until something holds."""
    ends = time.monotonic() + TIME
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_a_closed_pipe_is_silent() -> None:
    """Where the reader of the output goes away, as `head -1` does, nothing is said."""
    written("a.txt", "".join(f"red {number}\n" for number in range(3_000)))
    words = ["run", "red 7", "a.txt", "-q", "--model", "local:bm25"]
    with subprocess.Popen(
        [*PROGRAM, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        assert json.loads(run.stdout.readline())["document"].startswith("red")
        run.stdout.close()
        said = run.stderr.read()

    assert (run.returncode, said) == (141, b"")


class Full(io.BytesIO):
    """A disk without room."""

    def write(self, _: Any) -> int:
        """Fail."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_streams_that_are_closed_full_or_of_few_characters(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that is closed, full, left by its reader or without a character is no defect."""
    written("a.txt", "r\u00e9d\n")
    words = ["rerank", "run", "red", "a.txt", "--model", "local:bm25"]

    def run(*more: str, **streams: Any) -> Any:
        monkeypatch.setattr(sys, "argv", [*words, *more])
        with monkeypatch.context() as patch:
            for name, stream in streams.items():
                patch.setattr(sys, name, stream)
            with pytest.raises(SystemExit) as ended:
                cli.main()
            for name, stream in streams.items():
                if stream is None:
                    getattr(sys, name).close()
        return ended.value.code

    ascii_only = io.TextIOWrapper(io.BytesIO(), "ascii")
    assert run("--table", stdout=ascii_only) == 0
    ascii_only.seek(0)
    assert "| r?d " in ascii_only.read()
    assert run(stdout=None, stderr=None) == 0
    assert run("-", stdin=None) == 0
    reads, writes = os.pipe()
    os.close(reads)
    with open(writes, "w") as left:  # noqa: PTH123  # a table goes another way than JSON
        assert run("--table", stdout=left) == 141
    words = ["rerank", "--help"]
    assert run(stdout=io.TextIOWrapper(Full(), "utf-8")) == (
        "Error: output: No space left on device"
    )
    assert "bug" not in capsys.readouterr().err


def test_nothing_steers_the_terminal(server: Server) -> None:
    """Control characters of documents, files and servers are shown as what they are not."""
    odd = "\x1b[31m \x9b2J \x7f \u202e"
    server.plays(Reply({"error": {"message": odd}}, 400))
    name, source = f"{odd}.txt", f"{odd}.jsonl"
    written(name, f"red {odd}\n")
    rows(source, {"id": odd, "query": "q", "documents": [odd]})
    local = ["--model", "local:bm25"]
    for words in (
        ["run", "red", name, "--jsonl", *local],
        ["run", "red", name, "--table", *local],
        ["run", "red", name, "--from", "jsonl"],
        ["run", "red", name, "--debug", *ADDRESS, server.url],
        ["batch", source, f"{odd}out.jsonl", *ADDRESS, server.url],
    ):
        with pytest.MonkeyPatch.context() as patch:
            # click takes escape sequences out where it sees no terminal
            patch.setattr("click.utils.should_strip_ansi", lambda *_, **__: False)
            done = rerank(*words)
        assert not {"\x1b", "\x9b", "\x7f", "\u202e"} & set(done.output), words
        assert "[31m" in done.output
    found = lines(rerank("run", "red", name, *local).stdout)
    assert found[0]["document"] == f"red {odd}"
    joined = "\u0645\u06cc\u200c\u0631\u0648\u0645"  # a word with a joiner, which is no harm
    assert joined in rerank("run", "red", "-", "--table", *local, stdin=joined).stdout


def test_a_batch_on_a_full_disk(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that the disk did not take are not counted as rows of OUT, and the run has failed."""
    server.plays(costs)
    rows("in.jsonl", *map(row, range(9)))
    keep = JsonlStore.keep

    def keeps_two(store: JsonlStore, kept: Any, *more: Any) -> None:
        if kept.id not in {"q0", "q1"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        keep(store, kept, *more)

    monkeypatch.setattr(JsonlStore, "keep", keeps_two)
    options = ["--max-concurrency", 1, *ADDRESS, server.url]
    done = rerank("batch", "in.jsonl", "out.jsonl", *options)

    assert done.exit_code == 1
    assert "No space left on device" in done.stderr
    assert "out.jsonl: 2 rows\n" in done.stderr
    assert done.stderr.endswith(" --resume\n")


def test_models(server: Server) -> None:
    """Without a provider all are listed, and whether their key is set; with one its models."""
    server.plays(Reply(MODELS))
    listed = {one["provider"]: one for one in lines(rerank("models").stdout)}
    table = rerank("models", "--table").stdout
    of_one = rerank("models", "openrouter", "--base-url", server.url)
    shown = rerank("models", "openrouter", "--base-url", server.url, "--table")

    assert (listed["openrouter"]["key_set"], listed["cohere"]["key_set"]) == (True, False)
    assert listed["cohere"]["key_variables"] == ["CO_API_KEY", "COHERE_API_KEY"]
    assert [listed[name]["key_needed"] for name in ("cohere", "vllm", "local")] == [
        True,
        False,
        False,
    ]
    assert "OPENROUTER_API_KEY" in table
    assert json.loads(of_one.stdout)["id"] == "m"
    assert "openrouter:m" in shown.stdout
    assert [one["id"] for one in lines(rerank("models", "local").stdout)] == ["hybrid", "bm25"]
    assert [one["id"] for one in json.loads(rerank("models", "local", "--json").stdout)] == [
        "hybrid",
        "bm25",
    ]


def test_demo() -> None:
    """The demo ranks its documents without a key and a network, and shows how they moved."""
    done = rerank("demo")

    assert done.exit_code == 0
    first = next(line for line in done.stdout.splitlines() if line.split()[:1] == ["1"])
    assert first.split()[:4] == ["1", "5", "▲", "4"]
    assert "rerank run QUERY" in done.stdout


def test_doctor_hides_secrets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor says which keys and proxies there are, and shows none of their secrets."""
    monkeypatch.setenv("CO_API_KEY", "'quoted-secret'")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server.plays(ranks_all)
    done = rerank("doctor", *ADDRESS, server.url)
    for proxy in ("u:pass/word@proxy.example", "http://u:1/word@p", "http://u:pass#word@p"):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        said = rerank("doctor", "--no-network").output
        assert not any(part in said for part in ("pass/", "1/word", "u:pass", "word@"))

    assert done.exit_code == 0, done.output
    assert f"ok   rerank-integrations: {__version__}" in done.stdout
    assert "ok   OPENROUTER_API_KEY: is set, for openrouter" in done.stdout
    assert "warn CO_API_KEY: is set, for cohere, but looks wrong" in done.stdout
    assert "ok   https proxy: http://***@proxy.example:3128" in done.stdout
    assert "ok   openrouter:m: works" in done.stdout
    assert "secret" not in done.output
    assert "password" not in done.output


def test_doctor_finds_what_is_wrong(
    server: Server, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure has a fix, and the exit code is that of credentials where it is about them."""
    monkeypatch.delenv("OPENROUTER_API_KEY")
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", KEY)
    monkeypatch.setenv("LITELLM_PROXY_API_BASE", server.url)
    server.plays(Reply(MODELS))
    reached = rerank("doctor")
    server.plays(refuses)
    refused = rerank("doctor")
    alone = rerank("doctor", "--no-network")
    unreachable = rerank("doctor", "-m", "litellm:m", "--base-url", nobody)
    no_key = rerank("doctor", "-m", "voyage:m")
    no_key_alone = rerank("doctor", "-m", "voyage:m", "--no-network")
    with_key = rerank("doctor", "-m", "litellm:m", "--no-network")
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:port")
    proxy = rerank("doctor", "--no-network")
    monkeypatch.delenv("HTTPS_PROXY")
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    monkeypatch.delenv("LITELLM_PROXY_API_KEY")
    certificates = rerank("doctor", "--no-network")

    assert (reached.exit_code, refused.exit_code, alone.exit_code) == (0, 4, 0)
    assert "ok   litellm: reachable, 1 model" in reached.stdout
    assert f"ok   LITELLM_PROXY_API_BASE: {server.url}" in reached.stdout
    assert "fix: check that the key" in refused.stdout
    assert (no_key_alone.exit_code, with_key.exit_code, proxy.exit_code) == (4, 0, 1)
    assert "ok   litellm:m: is configured; nothing was sent" in with_key.stdout
    assert "fail https proxy: is not a proxy URL" in proxy.stdout
    assert (unreachable.exit_code, no_key.exit_code, certificates.exit_code) == (1, 4, 1)
    assert "fix: check the base URL, the proxy and the certificates" in unreachable.stdout
    assert "fail voyage:m: voyage needs a key: export VOYAGE_API_KEY=..." in no_key.stdout
    assert "fail certificates: SSL_CERT_FILE is '/no/such/file'" in certificates.stdout
    assert "warn keys: none is set" in certificates.stdout
    assert "ok   local:hybrid: works" in certificates.stdout


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
def test_in_a_real_terminal(server: Server, tmp_path: Path) -> None:
    """On a terminal there are tables and a bar, in colour unless NO_COLOR is set, at any width."""
    held = Held("q0", "q1")
    server.plays(held)
    rows("in.jsonl", *map(row, range(9)))
    documents = [" ".join(["red", *map(str, range(40))]), "blue"]
    written("long.txt", "\n".join(documents))
    batch = f"rerank batch in.jsonl out.jsonl --max-concurrency 3 {' '.join(ADDRESS)} {server.url}"
    here: dict[str, Any] = {"folder": tmp_path, "environment": {"OPENROUTER_API_KEY": KEY}}
    with terminal(
        f"rerank demo; NO_COLOR=1 rerank demo; {batch}; echo code $?", width=80, **here
    ) as one:
        shown = one.until(lambda shown: "2/9 rows" in shown)
        one.press("C-c")
        ended = one.until(lambda shown: "code " in shown)
    held.gate.set()
    with terminal("rerank run red long.txt", width=200, **here) as one:
        wide = one.until(lambda shown: "2 of 2 documents" in shown)

    coloured, plain = shown.split("how to oil a bicycle chain")[1:]
    assert "\x1b[32m▲ 4" in coloured
    assert "▲ 4" in plain
    assert "\x1b[32m" not in plain.partition("ranked with")[0]
    assert "code 130" in ended
    assert "to resume: rerank batch in.jsonl" in ended
    assert f"{documents[0]} " in wide
