"""What test images show, in single words: the categories that a gallery is filtered by."""

from collections.abc import Sequence

import numpy as np

_LEAST = 2  # images that a word is shared by
_LARGEST_SHARE = 0.6  # of the images: what nearly all show tells none apart
_MOST = 60  # words to choose from
_WORD = r"\b[^\W\d_]{3,}\b"


def caption_words(captions: Sequence[Sequence[str]]) -> list[list[str]]:
    """Name each image by the words on which its captions agree.

    A word counts that stands in half of an image's captions or more, in the captions of at least
    two images and of at most three in five; words of grammar (scikit-learn's list for English)
    do not. Of the phantom these are kinds, colours and backgrounds, of photographs mostly what
    stands in them.

    Parameters
    ----------
    captions : sequence of sequence of str, length n_stimuli
        Of each image; may be empty.

    Returns
    -------
    list of list of str, length n_stimuli
        In alphabetical order; at most 60 different words, the most frequent ones.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    none: list[list[str]] = [[] for _ in captions]
    flat = [text for told in captions for text in told]
    rows = np.repeat(np.arange(len(captions)), [len(told) for told in captions])
    counter = CountVectorizer(stop_words="english", binary=True, token_pattern=_WORD)
    try:
        found = counter.fit_transform(flat).tocoo()
    except ValueError:  # no word at all
        return none
    counts = np.zeros((len(captions), found.shape[1]))
    np.add.at(counts, (rows[found.row], found.col), 1)
    agreed = counts >= np.maximum(1, np.bincount(rows, minlength=len(captions)) / 2)[:, None]
    shared = agreed.sum(axis=0)
    told_apart = (shared >= _LEAST) & (shared <= _LARGEST_SHARE * len(captions))
    kept = np.argsort(-np.where(told_apart, shared, 0), kind="stable")[:_MOST]
    kept = np.sort(kept[told_apart[kept]])
    words = counter.get_feature_names_out()
    return [[str(words[k]) for k in kept if row[k]] for row in agreed]
