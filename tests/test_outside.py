"""Text from outside: without secrets, places and control characters."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox2pix.errors import UserError
from vox2pix.outside import holds_secrets, visible, without_places, without_secrets

_WITH_SECRETS = [
    "s3://KEY:{}@bucket/nsd",
    "S3://KEY:{}@bucket",
    "s3:/KEY:{}@bucket/x",
    "https://anna:{}@host.org/a?b=1",
    "https://{}@host.org/a",
    "https://host/a?X-Amz-Algorithm=AWS4&X-Amz-Credential={}&X-Amz-Date=2",
    "https://host/a?X-Amz-Signature={}",
    "https://host/a?x=1&token={}&y=2",
    "https://host/a?sig={}#part",
    "https://host/a#access_token={}",
    "https://host/a?AWSAccessKeyId={}&Expires=1",
    "AWS_SECRET_ACCESS_KEY={} vox2pix run",
    "--secret-key={}",
    "storage options: {{'secret': '{}'}}",
    '{{"api_key": "{}"}}',
    "password = {}",
    "Authorization: Bearer {}",
    "Authorization: Basic {}",
    "HF_TOKEN={}",
    "cannot open s3://KEY:{}@bucket: access denied",
    "('s3://KEY:{}@bucket')",
]
_SECRETS = ["Zq8nTWfP3xLr5vKd", "wJalrXUt/nFEMI/K7MDENG+bPxRf", "p%40ss%2Fword.Long~1"]


@pytest.mark.parametrize("text", _WITH_SECRETS)
@pytest.mark.parametrize("secret", _SECRETS)
def test_no_secret_is_left(text, secret):
    if text == "https://{}@host.org/a" and "/" in secret:
        pytest.skip("without a colon, what stands before a slash is a host")
    shown = without_secrets(text.format(secret))
    assert secret not in shown
    assert all(part not in shown for part in secret.split("/") if len(part) > 3)
    assert "***" in shown
    assert without_secrets(shown) == shown
    assert str(UserError(text.format(secret))) == shown


@pytest.mark.parametrize(
    "token",
    [
        "hf_" + "aB3" * 11, "AKIA" + "IOSFODNN7EXAMPLE"[:16], "ghp_" + "x9Y" * 12,
        "glpat-" + "abcDEF-123456789", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3",
    ],
)  # fmt: skip
def test_tokens_of_known_forms_are_hidden_anywhere(token):
    assert token not in without_secrets(f"the file {token}.npy, or models/{token}")


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/nsd/subj01", "s3://bucket/a@v2/b", "http://127.0.0.1:9000/bucket@1",
        "tcp://10.0.0.1:8786", "alpha_per_target: True, n_tokens=77, keys = 3",
        "region V1 = 120 voxels; token", "clip:pooler_output@224", "anna@example.org",
        "the SHA-256 does not begin with 7be5be79", "AWS_PROFILE, or AWS_ACCESS_KEY_ID and",
        "Stimuli: a, b, c", "the key 'rois' is missing: name it", "basic statistics",
        "bearer of news", "tokenizer/merges.txt",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text):
    assert without_secrets(text) == text
    assert not holds_secrets(text)


def test_values_of_secret_variables_are_hidden_and_their_files_are_not(monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "plain words")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    monkeypatch.setenv("MY_TOKEN", "short")
    shown = without_secrets("it has plain words in it, /var/run/token and short")
    assert shown == "it has *** in it, /var/run/token and short"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/anna/private/model is missing", "model is missing"),
        ("read from /data/x/y.npy, /data/x/z.npy.", "read from y.npy, z.npy."),
        ("('/home/anna/a.png', \"/home/anna/b.png\")", "('a.png', \"b.png\")"),
        ("/secret lab/my data/trials.csv, line 3", "my data/trials.csv, line 3"),
        ("/secret lab/my data", "my data"),
        ("~/nsd/subj01", "subj01"),
        ("file:///home/anna/x", "x"),
        (r"C:\Users\anna\data", "data"),
        ("two/way 1/2 and/or https://host/a/b", "two/way 1/2 and/or https://host/a/b"),
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("encoder=/models/lab/clip:layer@224", "encoder=clip:layer@224"),
    ],
)  # fmt: skip
def test_places_are_left_out_and_names_stay(text, shown):
    assert without_places(text, ["/secret lab/my data"]) == shown


def test_the_folder_of_the_user_is_always_left_out():
    assert str(Path.home()) not in without_places(f"in {Path.home()}/my own data/x")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\x07\x9b", r"\x1b[31mred\x07\x9b"),
        ("gpj\u202eexe", r"gpj\u202eexe"),
        ("caf\udce9.png", r"caf\udce9.png"),
        ("[bold] :smile: 日本 é 👩\u200d🔬", "[bold] :smile: 日本 é 👩\u200d🔬"),
    ],
)
def test_what_is_hidden_becomes_visible(text, shown):
    assert visible(text) == shown


@given(st.text(st.characters(codec=None)))
def test_any_text_fits_into_one_line_of_utf_8(text):
    shown = visible(text)
    assert shown.encode().decode() == shown == visible(shown)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
    json.dumps(shown, ensure_ascii=False).encode()
