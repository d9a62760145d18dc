"""What the images of a data set are: what was converted or cropped, and which are the same."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vox2pix.data.evidence import listed
from vox2pix.data.faults import Faults
from vox2pix.data.subject import Subject
from vox2pix.errors import UserError

_THUMBNAIL = 16  # pixels a side
_SAME = 2 / 255  # mean difference of thumbnails of one image at two sizes or qualities
_CONTRAST = 8 / 255  # standard deviation below which thumbnails of different images are alike
_BLOCK = 256


@dataclass(frozen=True)
class ImageSurvey:
    """What reading every image once tells."""

    n_images: int  # images that could be read
    uniform: tuple[str, ...]  # stimuli whose image has one colour throughout


def survey_images(
    subject: Subject,
    stimulus_ids: Sequence[str],
    faults: Faults,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImageSurvey:
    """Read each image once: one fault per cause, one note per conversion with its count.

    ``progress`` receives how many images are read, of how many.
    """
    missing = set(subject.stimulus_source.missing_images(stimulus_ids, faults))
    seen = _Seen()
    for done, stimulus_id in enumerate(stimulus_ids):
        if stimulus_id not in missing:
            try:
                (image,) = subject.stimulus_source.iter_pictures([stimulus_id])
            except UserError as error:
                seen.unreadable.append((stimulus_id, str(error)))
            else:
                seen.add(stimulus_id, image)
        progress(done + 1, len(stimulus_ids))
    _add_unreadable(seen.unreadable, faults)
    readable = [i for i in stimulus_ids if i in seen.digests]
    for words, count in subject.stimulus_source.conversions(readable).items():
        faults.note(f"{count} of {len(readable)} images {words}.")
    for note in seen.notes(set(subject.test.stimulus_ids)):
        faults.note(note)
    return ImageSurvey(len(seen.digests), tuple(seen.uniform))


def _add_unreadable(unreadable: Sequence[tuple[str, str]], faults: Faults) -> None:
    """Add a fault for each cause, named by its first image."""
    causes: dict[str, list[str]] = {}
    for stimulus_id, message in unreadable:
        cause = re.sub(r"[\d.]+", "#", message.replace(stimulus_id, "*"))
        causes.setdefault(cause, []).append(message)
    for messages in causes.values():
        n_more = len(messages) - 1
        more = f" The same holds for {n_more} more images." if n_more else ""
        faults.add(messages[0] + more)


class _Seen:
    """What was seen of the images so far."""

    def __init__(self) -> None:
        self.unreadable: list[tuple[str, str]] = []
        self.digests: dict[str, bytes] = {}
        self.uniform: list[str] = []
        self._thumbnails: list[NDArray[np.float32]] = []
        self._n_wide = 0
        self._brightest, self._all_bytes = 0, True

    def add(self, stimulus_id: str, image: NDArray[np.generic]) -> None:
        """Take one image, (height, width, 3)."""
        raw = np.ascontiguousarray(image)
        digest = hashlib.blake2b(f"{raw.shape}{raw.dtype}".encode(), digest_size=16)
        digest.update(raw.tobytes())
        self.digests[stimulus_id] = digest.digest()
        self._n_wide += image.shape[0] != image.shape[1]
        if (raw == raw[:1, :1]).all():
            self.uniform.append(stimulus_id)
        self._all_bytes &= raw.dtype == np.uint8
        self._brightest = max(self._brightest, int(raw.max())) if self._all_bytes else 255
        self._thumbnails.append(_thumbnail(raw))

    def notes(self, test_ids: set[str]) -> list[str]:
        """Say what is unusual, with its count."""
        n = len(self.digests)
        notes = []
        if self._n_wide:
            notes.append(
                f"{self._n_wide} of {n} images are not square and are cut to their centre; what "
                "is beside it was seen, but is not decoded."
            )
        if n and self._brightest <= 1:
            notes.append("No 8-bit image is brighter than 1 of 255: were they meant as 0 to 1?")
        if self.uniform:
            notes.append(
                f"{len(self.uniform)} of {n} images {'is' if len(self.uniform) == 1 else 'are'} of "
                f"one colour throughout ({listed(self.uniform)}): where a correlation with such "
                "an image is not defined, it counts as 0."
            )
        return notes + self._same(test_ids)

    def _same(self, test_ids: set[str]) -> list[str]:
        """Say which images are there under several ids, first those of both splits."""
        groups: dict[bytes, list[str]] = {}
        for stimulus_id, digest in self.digests.items():
            groups.setdefault(digest, []).append(stimulus_id)
        copies = [ids for ids in groups.values() if len(ids) > 1]
        across = [
            (test, train)
            for ids in copies
            for test in ids
            if test in test_ids
            for train in ids
            if train not in test_ids
        ]
        notes = []
        if across:
            notes.append(_across("the same as", across))
        within = [ids for ids in copies if len({i in test_ids for i in ids}) == 1]
        if within:
            n = sum(len(ids) for ids in within)
            first = " and ".join(map(repr, within[0][:2]))
            notes.append(f"{n} images are there under more than one id (such as {first}).")
        near = [pair for pair in self._near(test_ids) if pair not in set(across)]
        if near:
            notes.append(_across("nearly the same as", near))
        return notes

    def _near(self, test_ids: set[str]) -> list[tuple[str, str]]:
        """Return test and training images whose thumbnails are alike."""
        ids = list(self.digests)
        if not ids:
            return []
        rows = np.stack(self._thumbnails)
        has_contrast = rows.std(axis=1) > _CONTRAST
        is_test = np.array([i in test_ids for i in ids])
        test, train = (
            np.flatnonzero(is_test & has_contrast),
            np.flatnonzero(~is_test & has_contrast),
        )
        pairs = []
        for row in test:
            for start in range(0, len(train), _BLOCK):
                block = train[start : start + _BLOCK]
                near = np.abs(rows[block] - rows[row]).mean(axis=1) < _SAME
                pairs += [(ids[row], ids[other]) for other in block[near]]
        return pairs


def _across(how: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Say that test images are training images."""
    n = len({test for test, _ in pairs})
    test, train = pairs[0]
    return (
        f"{n} test image{'s are' if n > 1 else ' is'} {how} a training image (such as {test!r} and "
        f"{train!r}): their scores may come from memory; give one image one id, and one split."
    )


def _thumbnail(image: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a few pixels of an image in one row, in [0, 1]."""
    eight_bit = image if image.dtype == np.uint8 else np.rint(255 * image.astype(np.float32))
    small = Image.fromarray(eight_bit.astype(np.uint8)).resize(
        (_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX
    )
    return np.asarray(small, np.float32).ravel() / np.float32(255)
