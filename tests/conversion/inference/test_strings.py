import hashlib
import json
import unicodedata

from conversion.inference import strings
from conversion.inference.strings import SHA256, read_strings
from conversion.inference.tokenization import is_plain
from conversion.inference.windows import FOLDER


def test_the_strings_are_the_ones_whose_digest_is_in_every_report():
    data = (FOLDER / strings.NAME).read_bytes()
    assert hashlib.sha256(data).hexdigest() == SHA256
    assert len(read_strings()) == len(set(read_strings())) == sum(map(len, json.loads(data).values())) >= 200


def test_the_strings_hold_what_goes_wrong_in_tokenizers():
    texts = "\0".join(read_strings())
    for kind in ("CJK", "ARABIC", "HEBREW", "THAI", "DEVANAGARI", "HANGUL", "CYRILLIC", "REGIONAL INDICATOR"):
        assert any(unicodedata.name(letter, "").startswith(kind) for letter in texts), kind
    for part in (
        "\r\n",
        "\t\t",
        "\u200d",
        "\u0301",
        "\ufffd",
        "\ue000",
        "\x1b[",
        "://",
        "<|im_start|>",
        "    ",
    ):
        assert part in texts, part
    assert {"", " ", "\x00", "e\u0301", "\u00e9"} <= set(read_strings())
    assert max(map(len, read_strings())) >= 400


def test_about_half_of_the_strings_are_plain_to_every_engine():
    plain = [text for text in read_strings() if is_plain(text)]
    assert len(plain) > 80
    assert "Hello, world!" in plain
    assert not {"", " leading", "a\nb", "cafe\u0301", "ﬁne ﬂow ﬀ", "[MASK]", "</s>", "▁▁▁"} & set(plain)
