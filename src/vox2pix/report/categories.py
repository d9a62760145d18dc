"""What test images show, in single words: the categories that a gallery is filtered by."""

from collections.abc import Sequence

import numpy as np

_LEAST = 2  # images that a word is shared by
_LARGEST_SHARE = 0.6  # of the images: what nearly all show distinguishes none
_MOST = 60  # words to choose from
_WORD = r"\b[^\W\d_]{3,}\b"


def caption_words(captions: Sequence[Sequence[str]]) -> list[list[str]]:
    """Name each image by the words on which its captions agree, in alphabetical order.

    A word counts that is in half of an image's captions or more, in the captions of at least two
    images and of at most three in five; words of grammar (scikit-learn's list for English) do not.
    There are at most 60 different words, the most frequent ones. Of the phantom these are kinds,
    colours and backgrounds, of photographs mostly what is seen.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    none: list[list[str]] = [[] for _ in captions]
    flat = [text for own in captions for text in own]
    rows = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
    counter = CountVectorizer(stop_words="english", binary=True, token_pattern=_WORD)
    try:
        counted = counter.fit_transform(flat).tocoo()
    except ValueError:  # no word at all
        return none
    counts = np.zeros((len(captions), counted.shape[1]))
    np.add.at(counts, (rows[counted.row], counted.col), 1)
    agreed = counts >= np.maximum(1, np.bincount(rows, minlength=len(captions)) / 2)[:, None]
    shared = agreed.sum(axis=0)
    distinguishes = (shared >= _LEAST) & (shared <= _LARGEST_SHARE * len(captions))
    frequent = np.argsort(-np.where(distinguishes, shared, 0), kind="stable")[:_MOST]
    chosen = np.sort(frequent[distinguishes[frequent]])
    words = counter.get_feature_names_out()
    return [[str(words[k]) for k in chosen if row[k]] for row in agreed]
