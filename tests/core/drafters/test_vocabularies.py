"""Draft models whose vocabulary is another than the target's: by text, and by shared tokens."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.generation.candidate_generator import AssistantToTargetTranslator

from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.drafters.proposals import BestProposer
from core.drafters.text_match import TextDrafter
from core.drafters.tree_growth import TreeGrower
from core.drafters.vocabularies import Vocabularies
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.models.detokenizer import bytes_by_character
from core.models.token_bytes import TokenBytes, whole_characters
from core.profile.replay import Replay
from core.trace.events import Committed, Drafted, RunStarted
from core.trace.file import Trace
from core.trees.tree import DraftTree
from tests.core.conftest import run
from tests.core.profile.replays import made_profile, real_steps, replayed_steps

ROWS = 320
PROMPT = "Why is the sky blue?\nIt is"
LETTERS = sorted(bytes_by_character())
MERGES = ["t h", "th e", "Ġ t", "i n", "e r", "Ġ the", "a n", "o n", "in g", "i s"]
SAMPLED = {"do_sample": True, "temperature": 1.0, "seed": 3}
# Without rows that only fill a table up, which no tokenizer has.
ORDINARY = {**SAMPLED, "top_k": 20}
TREE = {"branching": 3, "depth": 4, "num_nodes": 12, "fixed_size": True}
CHAIN = {"branching": 1, "depth": 5, "num_nodes": 5, "fixed_size": True}


def byte_level(
    merges: Sequence[str] = (), *, shift: int = 0, end: str = "<end>", lowercase: bool = False
) -> PreTrainedTokenizerFast:
    """All bytes, whose ids are shifted round, and then some longer tokens and an end."""
    vocabulary = {letter: (index + shift) % 256 for index, letter in enumerate(LETTERS)}
    pairs = [tuple(merge.split(" ")) for merge in merges]
    for left, right in pairs:
        vocabulary[left + right] = len(vocabulary)
    vocabulary[end] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs, unk_token=end))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)


def sentencepiece() -> PreTrainedTokenizerFast:
    """As SentencePiece's are told in tokenizer.json: a space in front, and tokens of single bytes."""
    vocabulary = {"<unk>": 0, **{f"<0x{byte:02X}>": byte + 1 for byte in range(256)}}
    for letter in ("\u2581", *"abcdefghijklmnopqrstuvwxyzHIW,.!?:12="):
        vocabulary[letter] = len(vocabulary)
    pairs = [("\u2581", "t"), ("h", "e"), ("\u2581t", "he")]
    for left, right in pairs:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=pairs, unk_token="<unk>", byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def plain_model(seed: int) -> Any:
    """A model that writes ASCII alone where it is greedy, in the unshifted vocabulary."""
    config = LlamaConfig(
        vocab_size=ROWS, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        tie_word_embeddings=False, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    torch.manual_seed(seed)
    module = LlamaForCausalLM(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.15) if parameter.dim() == 2 else None
    table = bytes_by_character()
    silent = [index for index, letter in enumerate(LETTERS) if not 32 <= table[letter] < 127]
    with torch.no_grad():
        module.lm_head.weight[[*silent, *range(256, ROWS)]] = 0.0
    module.generation_config.eos_token_id = None
    return module.eval()


def shifted(module: Any, shift: int) -> Any:
    """The same model with rows where the tokenizer of that shift has them."""
    places = torch.arange(ROWS)
    places[:256] = (places[:256] + shift) % 256
    with torch.no_grad():
        for table in (module.model.embed_tokens.weight, module.lm_head.weight):
            table[places] = table.clone()
    return module


def save(folder: Path, module: Any, tokenizer: Any) -> None:
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("vocabularies")
    save(home / "target", plain_model(0), byte_level())
    save(home / "same", shifted(plain_model(0), 7), byte_level(shift=7))
    save(home / "merged", plain_model(1), byte_level(MERGES, shift=3, end="<stop>"))
    save(home / "pieces", plain_model(2), sentencepiece())
    save(home / "lowercase", plain_model(3), byte_level(lowercase=True))
    return home


@pytest.fixture(scope="module")
def engines(home: Path) -> Callable[[str], Engine]:
    made: dict[str, Engine] = {}

    def of(name: str) -> Engine:
        if name not in made:
            made[name] = Engine(load_model(str(home / name), dtype="float32", compile=False))
        return made[name]

    return of


def drafted_by(engine: Engine, draft: Path, **settings: Any) -> Trace:
    return run(engine, PROMPT, mode="sd-classic", draft=str(draft), **settings)


@pytest.mark.parametrize("sampling", [{}, ORDINARY], ids=["greedy", "sampled"])
def test_the_target_under_other_ids_is_always_right(
    sampling: dict, engines: Callable[[str], Engine], home: Path
) -> None:
    engine = engines("target")
    plain = run(engine, PROMPT, sampling=sampling)
    found = drafted_by(engine, home / "same", drafter=CHAIN, sampling=sampling)
    assert found.token_ids == plain.token_ids
    assert found.stats.num_accepted == found.stats.num_tested > 30
    started = found.first(RunStarted)
    assert started is not None and started.draft is not None
    note = "the run samples: 257 of its 257 tokens are" if sampling else "for the run is greedy"
    assert started.draft["drafts_by"] == ("shared tokens" if sampling else "text")
    assert note in started.draft["note"] and "has the id" in started.draft["note"]


def test_a_profile_knows_shared_tokens_and_no_text(
    engines: Callable[[str], Engine], home: Path
) -> None:
    """Greedy runs draft text, of which it is known only afterwards which tokens it is."""
    engine = engines("target")
    prompt, drafter = engine.raw_prompt(PROMPT), {**CHAIN, "fixed_size": True}
    settings = {"mode": "sd-classic", "draft": str(home / "same"), "drafter": drafter}
    with pytest.raises(InvalidSettingError, match="another vocabulary and drafts text"):
        engine.profile(prompt, RunConfig.from_dict(settings))
    sampled = {**settings, "sampling": ORDINARY, "max_new_tokens": 30}
    replay = Replay(made_profile(engine, prompt, sampled), RunConfig.from_dict(sampled).drafter)
    found = [step._replace(draft_probs=[]) for step in replayed_steps(replay)]
    real = [step._replace(draft_probs=[]) for step in real_steps(engine, prompt, sampled)]
    assert found == real
    assert len(found) < 30


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("drafter", [TREE, {"depth": 4}], ids=["tree", "by cost"])
@pytest.mark.parametrize(
    ("target", "draft"),
    [
        ("target", "merged"), ("merged", "target"), ("target", "pieces"), ("pieces", "target"),
        ("pieces", "merged"),
    ],
)  # fmt: skip
def test_any_model_leaves_the_text_as_it_is(
    target: str,
    draft: str,
    drafter: dict,
    sampling: dict,
    engines: Callable[[str], Engine],
    home: Path,
) -> None:
    engine = engines(target)
    found = drafted_by(engine, home / draft, drafter=drafter, sampling=sampling)
    assert found.token_ids == run(engine, PROMPT, sampling=sampling).token_ids
    if drafter is TREE:
        assert found.stats.num_drafted > 20


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("draft", ["merged", "same"])
def test_a_draft_behind_accepted_tokens_is_that_of_a_prompt_with_them(
    draft: str, sampling: dict, engines: Callable[[str], Engine], home: Path
) -> None:
    """What the draft model's cache holds is the text, also where its end was split anew."""
    engine = engines("target")
    settings = {"mode": "sd-classic", "draft": str(home / draft), "drafter": CHAIN}
    config = RunConfig.from_dict({**settings, "sampling": sampling, "max_new_tokens": 40})

    def events_of(token_ids: list[int]) -> list[Any]:
        return list(engine.run(Prompt("", token_ids), config))

    known = engine.raw_prompt(PROMPT).token_ids
    later: list[tuple[list[int], Drafted]] = []
    for event in events_of(known):
        if isinstance(event, Drafted) and len(event.token_ids) > 2:
            later.append((known, event))
        if isinstance(event, Committed):
            known = [*known, *event.token_ids]
    for prompt, event in later[2::3]:
        anew = next(one for one in events_of(prompt) if isinstance(one, Drafted))
        count = min(len(anew.token_ids), len(event.token_ids))  # fewer where the run ends
        assert count > 2 and anew.token_ids[:count] == event.token_ids[:count]
        assert anew.draft_probs[:count] == pytest.approx(event.draft_probs[:count], abs=1e-4)
    assert len(later) > 4


def test_rejection_draws_from_the_law_over_shared_tokens(
    engines: Callable[[str], Engine], home: Path
) -> None:
    """The same distribution on both sides: all that it draws is kept."""
    found = drafted_by(
        engines("target"), home / "same", drafter=CHAIN, sampling=ORDINARY, accept="rejection"
    )
    assert found.stats.num_accepted == found.stats.num_tested > 30


@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
def test_runs_side_by_side_have_the_text_of_runs_alone(
    sampling: dict, engines: Callable[[str], Engine], home: Path
) -> None:
    engine = engines("target")
    settings = {"mode": "sd-classic", "draft": str(home / "merged"), "sampling": sampling}
    config = RunConfig.from_dict({**settings, "drafter": TREE, "max_new_tokens": 20})
    prompts = ["one", PROMPT, "and 2"]
    events: dict[int, list[Any]] = {0: [], 1: [], 2: []}
    raw: list[tuple[Prompt, RunConfig]] = [(engine.raw_prompt(text), config) for text in prompts]
    for index, event in engine.run_batch(raw, 3):
        events[index].append(event)
    for index, text in enumerate(prompts):
        alone = run(engine, text, sampling=sampling, max_new_tokens=20)
        assert Trace(events[index]).token_ids == alone.token_ids


def test_a_tokenizer_whose_tokens_are_no_bytes_is_refused(
    engines: Callable[[str], Engine], home: Path
) -> None:
    with pytest.raises(InvalidSettingError, match="its tokens are not the bytes of a text; give a"):
        drafted_by(engines("target"), home / "lowercase")


def test_tokens_are_bytes_whatever_letters_a_vocabulary_writes_them_in() -> None:
    levels, pieces = TokenBytes(byte_level(MERGES)), TokenBytes(sentencepiece())
    for text in ("the inner thing", " the", "x", "the", "1=2.\n", "naïve 中文 👩", " "):
        for tokens in (levels, pieces):
            assert tokens.bytes_of(tokens.encode(text)) == text.encode(), text
    assert set(levels.special.values()) == {"<end>"}
    assert b" the" in pieces.ordinary.values() and b" the" in levels.ordinary.values()


def test_shared_tokens_are_those_that_transformers_shares() -> None:
    """Of two vocabularies that write bytes in the same letters, where its strings may be compared."""
    target, draft = byte_level(MERGES[:6]), byte_level([MERGES[3], *MERGES[6:]], shift=9)
    both = Vocabularies(TokenBytes(target), TokenBytes(draft), ROWS, ROWS)
    theirs = AssistantToTargetTranslator(target, draft, ROWS)
    expected = {
        own: other
        for own, other in enumerate(theirs._assistant_to_target_input_ids.tolist())
        if other >= 0
    }
    pairs = zip(both.draft_ids.tolist(), both.target_ids.tolist(), strict=True)
    assert dict(pairs) == expected


def test_vocabularies_of_other_letters_share_tokens_by_their_bytes() -> None:
    both = Vocabularies(TokenBytes(byte_level(MERGES)), TokenBytes(sentencepiece()), ROWS, ROWS)
    ordinary = both.target.ordinary
    shared = {ordinary.get(token_id) for token_id in both.target_ids.tolist()}
    assert {b" the", b" t", b"a", b"\n", b"\xff"} <= shared and b"ing" not in shared
    (the,) = (token_id for token_id, data in ordinary.items() if data == b"the")
    assert both.draft.bytes_of(list(both.own(the))) == b"the" and len(both.own(the)) == 2


def test_the_end_of_data_may_be_the_beginning_of_a_character() -> None:
    text = "a中".encode()
    assert [whole_characters(text[:count]) for count in range(5)] == [b"", b"a", b"a", b"a", text]
    assert whole_characters(b"\xff") == b"\xff"


def test_a_token_has_the_chance_of_the_draft_tokens_that_it_needs() -> None:
    both = Vocabularies(TokenBytes(byte_level(MERGES)), TokenBytes(byte_level()), ROWS, ROWS)
    chains = TreeGrower(_settings(), BestProposer(), None)
    drafter = TextDrafter({}, None, both, chains)  # type: ignore[arg-type]
    drafter._token_ids = both.target.encode("is")
    drafted = DraftTree(0)
    for letter, prob in zip(" thein", (0.5, 0.5, 1.0, 0.5, 0.25, 1.0), strict=True):
        drafted.add(len(drafted) - 1, both.draft.encode(letter)[0], prob)
    found = drafter._in_target_tokens(drafted)
    assert both.target.bytes_of([token_id for token_id, _ in found]) == b" thein"
    assert found == [(both.target.encode(" the")[0], 0.125), (both.target.encode("in")[0], 0.25)]


def _settings() -> Any:
    from core.modes.sd_classic import ClassicSettings

    return ClassicSettings()
