"""What a tokenizer makes of texts in scripts that its model was made for, and in others."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from embedder_assets.errors import ModelBuildError
from embedder_assets.serving.client.session import TritonSession
from embedder_assets.serving.models.tokenization import TokenCounts, count_tokens, load_tokenizer
from embedder_assets.settings import PROJECT_ROOT
from tests.support.checkpoints import write_checkpoint, write_description
from tests.support.factories import make_settings

# The vocabulary of all three default models, BERT's English one.
REAL = PROJECT_ROOT / "model_repository" / "rerank_cross_encoder" / "tokenizer.json"
ENGLISH = "Yesterday in London we discussed how to improve the quality of the search engine."
READ = {
    "english": ENGLISH,
    "german": "Gestern haben wir in München darüber gesprochen, wie man die Qualität der Suchmaschine verbessert.",
    "vietnamese": "Hôm qua chúng tôi đã thảo luận ở Hà Nội về cách cải thiện chất lượng công cụ tìm kiếm.",
    "code": 'def f(x):\n    return {k: v ** 2 for k, v in x.items() if not k.startswith("_")}  # O(n)',
    "hexadecimal": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
NOT_READ = {
    "chinese": "自然语言处理是人工智能领域中的一个重要方向。我们昨天在北京讨论了如何提高搜索引擎的质量。",
    "japanese": "東京の天気は今日とても良いです。検索エンジンの品質を改善する方法について話し合いました。",
    "korean": "오늘 서울의 날씨는 매우 좋습니다. 우리는 검색 엔진의 품질을 논의했습니다.",
    "hebrew": "אתמול דיברנו בירושלים על הדרכים לשפר את איכות מנוע החיפוש, והחלטנו לבדוק מודל חדש.",
    "arabic": "تحدثنا أمس في القاهرة عن كيفية تحسين جودة محرك البحث، وقررنا اختبار نموذج جديد.",
    "thai": "เมื่อวานนี้เราได้พูดคุยกันที่กรุงเทพเกี่ยวกับวิธีการปรับปรุงคุณภาพของเครื่องมือค้นหา",
    "hindi": "कल हमने दिल्ली में खोज इंजन की गुणवत्ता सुधारने के तरीकों पर चर्चा की।",
    "russian": "Вчера в Москве мы обсуждали, как улучшить качество поисковой системы.",
    "greek": "Χθες στην Αθήνα συζητήσαμε πώς να βελτιώσουμε την ποιότητα της μηχανής αναζήτησης.",  # noqa: RUF001
    "emoji": "😀😂🔥👍🏽🚀🌕🎉",
}


def counts_of(*texts: str, file: Path = REAL, max_tokens: int = 256) -> TokenCounts:
    return count_tokens(file, max_tokens, [(text,) for text in texts])


def unread_share(counts: TokenCounts) -> float:
    return (counts.unknown + counts.spelled_out) / counts.tokens


@pytest.mark.parametrize("script", READ)
def test_a_known_script_is_read(script):
    assert unread_share(counts_of(READ[script])) == 0


@pytest.mark.parametrize("script", NOT_READ)
def test_another_script_is_not_read(script):
    assert unread_share(counts_of(NOT_READ[script])) > 0.5


def test_counts_of_a_mixed_text():
    # [CLS], "the", [UNK], three letters, ".", [SEP]; the second text has one more.
    counts = counts_of("the 龘 дом.", "the 龘 дом..", max_tokens=8)
    assert counts == TokenCounts(texts=2, truncated=1, unreadable=2, tokens=13, unknown=2, spelled_out=6)


def test_a_text_of_mostly_unread_tokens_is_unreadable():
    assert counts_of("龘", "дом?", "дом house in the", "", "\n").unreadable == 2


def test_digits_and_short_words_are_not_spelled_out():
    assert counts_of("3.14 a-b x y z 9 8 7 да").spelled_out == 0


def test_pairs_are_counted_together():
    counts = count_tokens(REAL, 8, [("what is it", "дом 龘"), ("what", "house")])
    assert counts == TokenCounts(texts=2, truncated=1, unreadable=1, tokens=9, unknown=1, spelled_out=3)


def test_no_text_has_no_token():
    assert counts_of() == TokenCounts(0, 0, 0, 0, 0, 0)


def trained(folder: Path, tokenizer: Tokenizer, trainer: trainers.Trainer) -> Path:
    tokenizer.train_from_iterator([ENGLISH, READ["german"]] * 20, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def test_unigram_has_its_unknown_token(tmp_path):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    file = trained(tmp_path, tokenizer, trainers.UnigramTrainer(vocab_size=200, unk_token="<unk>"))
    assert unread_share(counts_of(NOT_READ["greek"], file=file)) > 0.4
    assert counts_of(ENGLISH, file=file).unknown == 0


def test_bytes_of_another_script_are_spelled_out(tmp_path):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    file = trained(tmp_path, tokenizer, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    russian = counts_of(NOT_READ["russian"], file=file)
    assert russian.unknown == 0
    assert unread_share(russian) > 0.5
    assert unread_share(counts_of(ENGLISH, file=file)) == 0


def test_missing_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelBuildError, match=r"tokenizer\.json: expected the tokenizer\.json of a model"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_session_counts_prefix_without_a_server(tmp_path):
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    folder = write_description(tmp_path / "models", "dense_small", checkpoint, passage_prefix="passage: ", max_tokens=8)
    settings = make_settings(tmp_path / "home", model_repository=tmp_path / "models")
    with pytest.raises(ModelBuildError, match="embedder models build"):
        TritonSession(settings).count_tokens("dense_small", [("the sea",)])
    (folder / "tokenizer.json").write_bytes((checkpoint / "tokenizer.json").read_bytes())
    rows = [("the whale from the",), ("the whale from the sea",)]
    assert TritonSession(settings).count_tokens("dense_small", rows).truncated == 1
    assert TritonSession(settings).count_tokens("dense_small", rows, "query").truncated == 0
