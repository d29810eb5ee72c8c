"""The head that reads along: it learns which words a prompt holds, and judges every step as if it were the decided one."""

import pytest
import torch
from torch.nn import functional as F

from operators.encoders import WordRow
from operators.errors import ContractError
from operators.fusion import InputLayout, Layout
from operators.fusion.prompt import PromptHead

STEPS, WORDS, VOCABULARY = 6, 3, 8
LAYOUT = Layout(
    inputs={
        "video": InputLayout(steps=STEPS, dim=VOCABULARY),
        "audio": InputLayout(steps=STEPS, dim=VOCABULARY),
        "text": InputLayout(steps=1, dim=WORDS * 8),
    },
    labels=2,
    instant=0.6,
    also={"word": VOCABULARY},
)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.set_num_threads(1)
        yield


def reading(count, generator):
    """A word is said through the whole window, by lips and voice; label 1: the prompt of three other words lacks it."""
    said = torch.randint(0, VOCABULARY, (count,), generator=generator)
    prompt = torch.stack([torch.randperm(VOCABULARY - 1, generator=generator)[:WORDS] for _ in range(count)])
    prompt = (said[:, None] + 1 + prompt) % VOCABULARY  # never the word that is said
    departs = torch.randint(0, 2, (count,), generator=generator)
    place = torch.randint(0, WORDS, (count,), generator=generator)
    prompt[torch.arange(count), place] = torch.where(departs == 1, prompt[torch.arange(count), place], said)
    seen = F.one_hot(said, VOCABULARY).float()[:, None].expand(-1, STEPS, -1)
    return {"video": seen, "audio": seen}, 1 + prompt, said, departs


def test_it_learns_what_is_said_and_whether_any_prompt_holds_it():
    generator = torch.Generator().manual_seed(1)
    head, encoder = PromptHead(LAYOUT, width=16, words=WORDS, blocks=1, lags=1, dropout=0.0), WordRow(WORDS * 8, (WORDS,))
    presence = {name: torch.ones(64, part.steps) for name, part in LAYOUT.inputs.items()}
    optimiser = torch.optim.AdamW(head.parameters(), lr=0.01)

    def logits(streams, prompt):
        return head({**streams, "text": encoder(prompt)[:, None]}, presence)

    for _ in range(150):
        streams, prompt, said, departs = reading(64, generator)
        made = logits(streams, prompt)
        optimiser.zero_grad()
        (F.cross_entropy(made[:, :2], departs) + F.cross_entropy(made[:, 2:], said)).backward()
        optimiser.step()
    head.eval()
    streams, prompt, said, departs = reading(64, generator)
    made = logits(streams, prompt)
    assert (made[:, :2].argmax(1) == departs).float().mean() > 0.95
    assert (made[:, 2:].argmax(1) == said).float().mean() > 0.95
    presence["text"] = torch.zeros(64, 1)
    assert torch.equal(logits(streams, prompt), logits(streams, prompt.flip(0)))


def test_the_decided_step_is_one_of_the_steps_it_judges():
    head = PromptHead(LAYOUT, width=16, words=WORDS, blocks=1).eval()
    features = {name: torch.randn(2, part.steps, part.dim) for name, part in LAYOUT.inputs.items()}
    presence = {name: torch.ones(2, part.steps) for name, part in LAYOUT.inputs.items()}
    steps = head.steps(features, presence)
    assert steps.shape == (2, STEPS, 2 + VOCABULARY)
    assert torch.equal(head(features, presence), steps[:, LAYOUT.instant_step(STEPS)])


@pytest.mark.parametrize(
    "inputs", [{"a": InputLayout(steps=4, dim=3)}, {"a": InputLayout(steps=4, dim=3), "b": InputLayout(steps=1, dim=7)}]
)
def test_inputs_that_hold_no_prompt_of_so_many_words_are_refused(inputs):
    with pytest.raises(ContractError, match="one input of one step, of 3 words"):
        PromptHead(Layout(inputs=inputs, labels=2, instant=0.5), words=3)


def test_a_prompt_with_fewer_numbers_a_word_than_answers_is_refused():
    with pytest.raises(ContractError, match="numbered like the 25 answers, got 24 numbers a word"):
        PromptHead(Layout(inputs=LAYOUT.inputs, labels=2, instant=0.5, also={"word": 25}))
