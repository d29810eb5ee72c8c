import numpy as np
import pytest
import torch

from operators.encoders import FrameCNN, LogMelCNN, SeriesMLP, Standardised, TokenBag, WordRow
from operators.errors import ContractError

RNG = np.random.default_rng(0)
CASES = [
    (FrameCNN, (48, 48), torch.tensor(RNG.integers(0, 256, (3, 48, 48)).astype(np.uint8))),
    (FrameCNN, (9, 20), torch.tensor(RNG.integers(0, 256, (3, 9, 20)).astype(np.uint8))),
    (LogMelCNN, (4, 40), torch.tensor(RNG.normal(-6, 4, (3, 4, 40)).astype(np.float32))),
    (TokenBag, (32,), torch.tensor(RNG.integers(0, 4096, (3, 32)))),
    (WordRow, (4,), torch.tensor(RNG.integers(0, 7, (3, 4)))),
    (SeriesMLP, (6,), torch.tensor(RNG.normal(size=(3, 6)))),
]
NAMES = [f"{case[0].__name__}{case[1]}" for case in CASES]


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize(("encoder", "shape", "x"), CASES, ids=NAMES)
def test_an_encoder_gives_one_finite_vector_a_packet_and_depends_on_that_packet_alone(encoder, shape, x):
    made = encoder(24, shape).eval()
    out = made(x)
    assert out.shape == (3, 24)
    assert torch.isfinite(out).all()
    assert torch.allclose(torch.cat([made(x[i : i + 1]) for i in range(3)]), out, atol=1e-5)
    assert not torch.allclose(out[0], out[1])


@pytest.mark.parametrize(("encoder", "shape", "x"), CASES, ids=NAMES)
def test_an_encoder_in_float64_computes_in_float64(encoder, shape, x):
    assert encoder(8, shape).double().eval()(x).dtype == torch.float64


@pytest.mark.parametrize("encoder", [FrameCNN, LogMelCNN, TokenBag, WordRow, SeriesMLP])
def test_a_shape_of_the_wrong_rank_is_refused(encoder):
    with pytest.raises(ContractError, match="wants shape"):
        encoder(8, (3, 4, 5))


def test_light_and_contrast_of_a_picture_hardly_matter():
    made = FrameCNN(16, (48, 48)).eval()
    picture = torch.tensor(RNG.normal(0, 30, (1, 48, 48)))
    dim, bright = ((picture * gain + offset).clamp(0, 255).to(torch.uint8) for gain, offset in [(0.7, 90), (1.0, 130)])
    other = torch.tensor(RNG.normal(130, 30, (1, 48, 48))).clamp(0, 255).to(torch.uint8)
    assert (made(dim) - made(bright)).norm() < 0.2 * (made(other) - made(bright)).norm()


def test_a_blank_picture_is_not_blown_up():
    noise = torch.tensor(RNG.integers(100, 102, (1, 48, 48)).astype(np.uint8))
    made = FrameCNN(16, (48, 48)).eval()
    flat = made(torch.full((1, 48, 48), 100, dtype=torch.uint8))
    loud = made(torch.tensor(RNG.integers(0, 256, (1, 48, 48)).astype(np.uint8)))
    assert (made(noise) - flat).norm() < 0.2 * (loud - flat).norm()


def test_loudness_is_kept_by_the_sound_encoder():
    made = LogMelCNN(16, (4, 40)).eval()
    quiet = torch.full((1, 4, 40), -12.0)
    assert not torch.allclose(made(quiet), made(quiet + 6))


def test_normalisation_constants_are_part_of_the_weights():
    made = LogMelCNN(16, (4, 40))
    made.set_normalisation(torch.full((40,), -3.0), torch.zeros(40))
    assert made.state_dict()["mean"].tolist() == [-3.0] * 40
    assert made.state_dict()["deviation"].tolist() == pytest.approx([0.1] * 40)
    series = SeriesMLP(8, (2,))
    series.set_normalisation(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0]))
    assert series.state_dict()["deviation"].tolist() == [1.0, 3.0]


def test_a_standardised_reading_is_itself_in_deviations_from_the_mean():
    made = Standardised(4, (2, 2))
    made.set_normalisation(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0]))
    assert made(torch.tensor([[[2.0, 5.0], [1.0, -1.0]]])).tolist() == [[1.0, 1.0, 0.0, -1.0]]
    with pytest.raises(ContractError, match=r"of shape \(2, 2\) dim 4, got 5"):
        Standardised(5, (2, 2))


def test_the_order_of_words_and_the_padding_do_not_matter_but_having_text_does():
    made = TokenBag(16, (6,), buckets=64).eval()
    said, shuffled, nothing = (torch.tensor([row]) for row in ([5, 9, 7, 0, 0, 0], [0, 7, 0, 5, 9, 0], [0] * 6))
    assert torch.allclose(made(said), made(shuffled), atol=1e-6)
    assert not torch.allclose(made(said), made(nothing))


def test_a_token_beyond_the_table_does_not_stop_the_engine():
    assert torch.isfinite(TokenBag(16, (3,), buckets=64).eval()(torch.tensor([[64, 1 << 40, -5]]))).all()


def test_a_row_of_words_keeps_their_order_and_gives_each_its_own_place():
    row = WordRow(12, (4,)).eval()(torch.tensor([[2, 3, 2, 0]])).reshape(4, 3)
    assert row.tolist() == [[0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_a_word_beyond_the_last_number_stands_for_the_last():
    row = WordRow(6, (2,)).eval()(torch.tensor([[1 << 40, -5]])).reshape(2, 3)
    assert row.tolist() == [[0, 0, 1], [0, 0, 0]]
