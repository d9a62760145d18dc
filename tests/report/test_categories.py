from vox2pix.phantom.scenes import BACKGROUNDS, captions, scene
from vox2pix.report.categories import caption_words


def test_of_the_phantom_they_are_what_its_scenes_hold():
    scenes = [scene(i) for i in range(60)]
    found = caption_words([captions(shown) for shown in scenes])
    kinds = {each.kind for shown in scenes for each in shown.objects}
    for shown, words in zip(scenes, found, strict=True):
        assert {each.kind for each in shown.objects} == kinds & set(words)
        assert {each.colour for each in shown.objects} <= set(words) | {"white"}
    assert not {"the", "over", "image", "there"} & {word for words in found for word in words}
    told = {word for words in found for word in words}
    assert len([name for name in BACKGROUNDS if name in told]) >= 4


def test_a_word_counts_where_half_of_the_captions_have_it():
    dog, cat = ["a dog", "the dog runs", "grass"], ["a cat", "a cat", "a dog"]
    assert caption_words([dog, dog, cat, cat, ["sky"]]) == [
        ["dog"], ["dog"], ["cat"], ["cat"], [],
    ]  # fmt: skip


def test_words_of_all_or_of_one_image_tell_nothing():
    assert caption_words([["a red kite"], ["a red boat"], ["a red fox"]]) == [[], [], []]


def test_without_words_there_are_none():
    assert caption_words([]) == []
    assert caption_words([[], []]) == [[], []]
    assert caption_words([["1 2 3"], [""]]) == [[], []]
