import pytest

from vox2pix.data.reports import read_reports
from vox2pix.errors import UserError


def test_words_of_each_trial_in_order(tmp_path):
    path = tmp_path / "reports.csv"
    path.write_text("trial,word,note\n3,Sea,x\n1,ball,\n3,ball,\n3,sea,again\n")
    assert read_reports(path, 4) == [("ball",), (), ("sea", "ball"), ()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial,word\n1,ball\n5,sea\n", "line 3: trial is '5', and the data have trials 1 to 4"),
        ("trial,word\n0,ball\n", "line 2: trial is '0'"),
        ("trial,word\n1.5,ball\n", "line 2: trial is '1.5'"),
        ("trial,word\none,ball\n", "line 2: trial is 'one'"),
        ("trial,word\n1,\n", "line 2: word is empty"),
        ("trial\n1\n", "word"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "reports.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_reports(path, 4)
