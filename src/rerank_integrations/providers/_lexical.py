"""Lexical ranking of a few documents: words, languages, BM25, and latent semantic analysis.

All statistics come from the documents of one call; nothing is downloaded.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any, NamedTuple

from rerank_integrations.errors import ConfigurationError

# found by a search on judged questions about Perl and git, and confirmed on others
_K1, _B = 2.0, 0.75
_RANK = 20  # dimensions of the latent space
_LSA_WEIGHT = 0.5  # against BM25
_MOST_LEARNT = 500  # documents from which the latent space is learnt, the best by BM25
_SAMPLE = (50, 300)  # documents, and characters of each, that show the language
_LEAST_SHARE = 0.2  # of the letters that make a script the script of a text
_LEAST_LEAD = 2  # stop words that a language must have more than English
_EQUAL = 1e-5  # what differs by less differs by rounding
_TINY = 1e-9

_NEEDS_EXTRA = (
    "the engines bm25 and hybrid need the extra 'local': pip install 'rerank-integrations[local]'"
)

# scripts that are written without spaces: two neighbouring characters count as a word
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_UNSPACED_RUN = re.compile(f"[{_UNSPACED}]+")
# to the last space of a thousand characters: a run of accents is sorted in the square of its length
_PIECE = re.compile(r"(?s:.){1,999}(?:\s|\Z)|(?s:.){1,1000}")
_PLUS_OR_HASH = re.compile(r"[^+#]+(?:\+\+|#)?")  # C++ and C# are words
_SCRIPTS = {
    "kana": re.compile("[\u3040-\u30ff]"),
    "zh": re.compile("[\u3400-\u9fff]"),
    "ko": re.compile("[\uac00-\ud7af]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "ru": re.compile("[\u0400-\u04ff]"),
    "ar": re.compile("[\u0600-\u06ff]"),
    "el": re.compile("[\u0370-\u03ff]"),
    "hi": re.compile("[\u0900-\u097f]"),
    "ta": re.compile("[\u0b80-\u0bff]"),
    "hy": re.compile("[\u0530-\u058f]"),
}


class Language(NamedTuple):
    """The resources of a language; None if there is none.

    Attributes:
        stems: the name of the PyStemmer algorithm.
        stop_words: the name of the list in bm25s.
    """

    stems: str | None
    stop_words: str | None


LANGUAGES: Mapping[str, Language] = {
    "en": Language("english", "STOPWORDS_EN_PLUS"),
    "de": Language("german", "STOPWORDS_GERMAN"),
    "fr": Language("french", "STOPWORDS_FRENCH"),
    "es": Language("spanish", "STOPWORDS_SPANISH"),
    "it": Language("italian", "STOPWORDS_ITALIAN"),
    "pt": Language("portuguese", "STOPWORDS_PORTUGUESE"),
    "nl": Language("dutch", "STOPWORDS_DUTCH"),
    "sv": Language("swedish", "STOPWORDS_SWEDISH"),
    "da": Language("danish", "STOPWORDS_DANISH"),
    "no": Language("norwegian", "STOPWORDS_NORWEGIAN"),
    "tr": Language("turkish", "STOPWORDS_TURKISH"),
    "ru": Language("russian", "STOPWORDS_RUSSIAN"),
    "ko": Language(None, "STOPWORDS_KOREAN"),
    "zh": Language(None, "STOPWORDS_CHINESE"),
    "ja": Language(None, None),
    "th": Language(None, None),
    "ar": Language("arabic", None),
    "el": Language("greek", None),
    "fi": Language("finnish", None),
    "hi": Language("hindi", None),
    "hu": Language("hungarian", None),
    "hy": Language("armenian", None),
    "id": Language("indonesian", None),
    "ro": Language("romanian", None),
    "ta": Language("tamil", None),
}
_LATIN = ("en", "de", "fr", "es", "it", "pt", "nl", "sv", "da", "no", "tr")


class Words(NamedTuple):
    """The words of a query and of texts, stemmed, without stop words."""

    query: Counter[str]
    texts: Sequence[Counter[str]]


def words_of(query: str, texts: Sequence[str], language: str | None = None) -> Words:
    """Split the query and the texts into words; the language is detected when None."""
    asked = split_words(query)
    # a character that is asked for alone is a word of the texts too, besides its pairs
    alone = frozenset(word for word in asked if len(word) == 1 and _UNSPACED_RUN.match(word))
    found = [Counter(split_words(text, alone)) for text in texts]
    language = language or _detected(query, texts, asked, found)
    stop_words = _stop_words(language)
    kept = [word for word in asked if word not in stop_words]
    if not kept:  # a query of stop words alone
        kept, stop_words = asked, frozenset()
    stems = _stems(list(set(kept).union(*found) - stop_words), language)
    return Words(_stemmed(Counter(kept), stems), [_stemmed(text, stems) for text in found])


def _stemmed(words: Counter[str], stems: Mapping[str, str]) -> Counter[str]:
    """The words as stems, without words that have none."""
    found: Counter[str] = Counter()
    for word, times in words.items():
        stem = stems.get(word)
        if stem is not None:
            found[stem] = found.get(stem, 0) + times
    return found


def bm25_scores(words: Words) -> list[float]:
    """Lucene's BM25 over these texts only: 0.0 if no word is shared, else above 0."""
    lengths = [text.total() for text in words.texts]
    mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
    norms = [_K1 * (1 - _B + _B * length / mean) for length in lengths]
    scores = [0.0] * len(lengths)
    for word, times in words.query.items():
        holders = [(at, text[word]) for at, text in enumerate(words.texts) if word in text]
        idf = math.log(1 + (len(lengths) - len(holders) + 0.5) / (len(holders) + 0.5))
        for at, count in holders:
            scores[at] += times * idf * count / (count + norms[at])
    return scores


def hybrid_scores(words: Words) -> list[float]:
    """BM25 and latent semantic analysis of the texts, added as z-scores.

    The scores depend on the other texts of the list; one text, or equal texts, get 0.
    """
    exact = bm25_scores(words)
    return fused([(exact, 1.0), (lsa_scores(words, exact), _LSA_WEIGHT)])


def fused(parts: Iterable[tuple[Sequence[float], float]]) -> list[float]:
    """The weighted sum of lists of scores, each as z-scores; a constant list has no effect."""
    standard = [[weight * score for score in _standardised(scores)] for scores, weight in parts]
    return [math.fsum(column) for column in zip(*standard, strict=True)]


def lsa_scores(words: Words, exact: Sequence[float]) -> list[float]:
    """The cosine of the query and each text in a latent space; `exact` are the BM25 scores.

    Deerwester et al., Indexing by latent semantic analysis, 1990.
    """
    np = _library("numpy")
    count = len(words.texts)
    holders = Counter(word for text in words.texts for word in text)
    weights = {word: math.log((count + 1) / found) for word, found in holders.items()}
    order = sorted(range(count), key=lambda at: -exact[at])[:_MOST_LEARNT]
    learnt = sorted(order)
    columns: dict[str, int] = {}
    for at in learnt:
        for word in words.texts[at]:
            if holders[word] > 1 or word in words.query:
                columns.setdefault(word, len(columns))
    if not columns:
        return [0.0] * count

    def matrix(places: Sequence[int]) -> Any:
        """Rows of unit length; a word that only one text has counts only in the length."""
        rows = np.zeros((len(places), len(columns)), dtype=np.float32)
        for row, place in enumerate(places):
            values = {w: (1 + math.log(n)) * weights[w] for w, n in words.texts[place].items()}
            length = math.sqrt(sum(value * value for value in values.values())) or 1.0
            shared = [(columns[w], value / length) for w, value in values.items() if w in columns]
            if shared:
                at, found = zip(*shared, strict=True)
                rows[row, list(at)] = found
        return rows

    rows = matrix(learnt)
    likeness = (rows @ rows.T).astype(np.float64)
    np.fill_diagonal(likeness, 1.0)
    strengths, axes = np.linalg.eigh(likeness)
    # axes of equal strength are kept together, for which of them comes first is chance
    kept = strengths > strengths[-min(_RANK, len(learnt))] * (1 - _EQUAL)
    scale = np.sqrt(np.maximum(strengths[kept], _TINY))
    axes = axes[:, kept]
    asked = np.zeros(len(columns), dtype=np.float32)
    for word, times in words.query.items():
        if word in columns:
            asked[columns[word]] = (1 + math.log(times)) * weights[word]
    space = rows.T @ (axes / scale)  # from words to the latent space
    query = asked @ space
    scores = np.zeros(count)
    scores[learnt] = _cosines(axes * scale, query)
    rest = sorted(set(range(count)).difference(learnt))
    for first in range(0, len(rest), _MOST_LEARNT):
        block = rest[first : first + _MOST_LEARNT]
        scores[block] = _cosines(matrix(block) @ space, query)
    # what differs by rounding alone is equal, so that ties keep their order
    return [round(float(score), 6) for score in scores]


def _cosines(rows: Any, query: Any) -> Any:
    np = _library("numpy")
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return np.where(lengths > _TINY, rows @ query / np.maximum(lengths, _TINY), 0.0)


def _standardised(scores: Sequence[float]) -> list[float]:
    largest = max(map(abs, scores)) or 1.0  # squares of what is very large are no floats
    scaled = [score / largest for score in scores]
    mean = math.fsum(scaled) / len(scaled)
    spread = math.sqrt(math.fsum((score - mean) ** 2 for score in scaled) / len(scaled))
    return [(score - mean) / spread if spread > _TINY else 0.0 for score in scaled]


class _Separated(dict[int, str]):
    """A table for `str.translate`, after which `split()` finds the words."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if character.isalnum() or unicodedata.category(character).startswith("M"):
            put = character  # a vowel sign or accent is part of its word
        else:
            put = character if character in "+#" else " "
        self[code] = put
        return put


_SEPARATED = _Separated()


def split_words(text: str, alone: frozenset[str] = frozenset()) -> list[str]:
    """The words of a text; without spaces, pairs of adjacent characters and those in `alone`."""
    if not text.isascii():
        text = "".join(unicodedata.normalize("NFKC", one) for one in _PIECE.findall(text))
        text = _UNSPACED_RUN.sub(lambda run: f" {run[0]} ", text)
    text = text.casefold().translate(_SEPARATED)
    if text.isascii() and not ("+" in text or "#" in text):
        return text.split()
    found: list[str] = []
    for word in text.split():
        if "+" in word or "#" in word:
            found += _PLUS_OR_HASH.findall(word)
        elif word >= "\u0e00" and _UNSPACED_RUN.match(word):
            if len(word) == 1:
                found.append(word)
                continue
            found += [word[at : at + 2] for at in range(len(word) - 1)]
            found += [character for character in word if character in alone]
        else:
            found.append(word)
    return found


def _detected(
    query: str, texts: Sequence[str], asked: Sequence[str], found: Sequence[Counter[str]]
) -> str:
    """Detect the language by its script, else by its stop words."""
    most, length = _SAMPLE
    sample = " ".join([query, *(text[:length] for text in texts[:most])])
    if not sample.isascii():
        letters = sum(map(str.isalpha, sample)) or 1
        counts = {name: len(one.findall(sample)) for name, one in _SCRIPTS.items()}
        kana = counts.pop("kana")
        counts["zh"] += kana
        script = max(counts, key=lambda name: counts[name])
        if counts[script] > _LEAST_SHARE * letters:
            return "ja" if script == "zh" and kana > _LEAST_SHARE * counts["zh"] else script
    seen = Counter(asked)
    for words in found[:most]:
        seen.update(words)
    stop_words = {name: _stop_words(name) for name in _LATIN}
    counts = {name: sum(seen[word] for word in listed) for name, listed in stop_words.items()}
    counts["en"] += _LEAST_LEAD - 1  # one word alone, such as "die" or "man", decides nothing
    return max(_LATIN, key=lambda name: counts[name])  # the first of equals is English


def _stems(words: Sequence[str], language: str) -> dict[str, str]:
    algorithm = LANGUAGES[language].stems
    stemmer = _library("Stemmer")
    if algorithm is None or algorithm not in stemmer.algorithms():
        return dict(zip(words, words, strict=True))
    # a stemmer is not to be shared by threads, and is made in microseconds
    return dict(zip(words, stemmer.Stemmer(algorithm).stemWords(list(words)), strict=True))


@cache
def _stop_words(language: str) -> frozenset[str]:
    name = LANGUAGES[language].stop_words
    listed = _stop_lists()[name] if name else ()  # a list that is gone is an error, not silence
    return frozenset(word for one in listed for word in split_words(one))


@cache
def _stop_lists() -> Mapping[str, Any]:
    """The stop-word lists of bm25s, from its public module `bm25s.stopwords`.

    An import statement would load bm25s first, and so scipy, which takes longer than a call; the
    module itself imports nothing. Packages that only have stop words have other lists, with which
    the constants above were not measured.
    """
    package = find_spec("bm25s")
    found = package and PathFinder.find_spec("stopwords", package.submodule_search_locations)
    if not found or found.loader is None:
        raise ConfigurationError(_NEEDS_EXTRA)
    module = module_from_spec(found)
    found.loader.exec_module(module)
    return vars(module)


def _library(name: str) -> Any:
    """Load a library of the extra `local` when it is needed.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as cause:
        raise ConfigurationError(_NEEDS_EXTRA) from cause
