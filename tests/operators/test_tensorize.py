import numpy as np
import pytest

from operators.errors import ContractError
from operators.packet import AudioBlock, Embedding, Frame, Packet, Series, TextSpan
from operators.tensorize import InputRule, Tensorizer, packet_array, step_presence
from operators.window import AlignedWindow, Slot

CAM = InputRule(input="cam", take="window", steps=4, hold_ns=0, shape=(1,), dtype="float64")


def reading(seq, start, value=0.0, length=10):
    return Packet(stream="cam", seq=seq, start_ns=start, end_ns=start + length, payload=Series(values=np.array([value])))


def steps_of(rule, packets, start=0, end=400, index=0, revision=0):
    class Model:
        def input_rules(self):
            return {rule.input: rule}

    missing = None if packets else "empty"
    slots = {"cam": Slot(packets=tuple(packets), missing=missing, age_ns=None, complete=True)}
    window = AlignedWindow(index=index, start_ns=start, end_ns=end, slots=slots, revision=revision)
    return Tensorizer(Model()).steps(window)["cam"]


def seqs(steps):
    return [None if packet is None else packet.seq for packet in steps]


def test_a_step_takes_the_newest_packet_that_starts_in_it():
    #  0....100....200....300....400
    #  a b          c  d
    assert seqs(steps_of(CAM, [reading(0, 0), reading(1, 60), reading(2, 200), reading(3, 250)])) == [1, None, 3, None]


@pytest.mark.parametrize(("start", "expected"), [(99, [0, None, None, None]), (100, [None, 0, None, None])])
def test_a_packet_on_a_step_edge_belongs_to_the_step_that_starts_there(start, expected):
    assert seqs(steps_of(CAM, [reading(0, start)])) == expected


@pytest.mark.parametrize(
    ("hold", "expected"), [(49, [0, None, None, None]), (50, [0, 0, None, None]), (150, [0, 0, 0, None]), (1000, [0] * 4)]
)
def test_a_packet_holds_for_steps_that_start_within_hold_of_its_start(hold, expected):
    rule = InputRule(input="cam", take="window", steps=4, hold_ns=hold, shape=(1,), dtype="float64")
    assert seqs(steps_of(rule, [reading(0, 50)])) == expected


def test_a_packet_from_before_the_window_stands_for_the_first_step_only_if_hold_reaches_it():
    held = InputRule(input="cam", take="window", steps=4, hold_ns=30, shape=(1,), dtype="float64")
    assert seqs(steps_of(CAM, [reading(0, 970, length=60)], 1000, 1400)) == [None] * 4
    assert seqs(steps_of(held, [reading(0, 970, length=60)], 1000, 1400)) == [0, None, None, None]


def test_of_packets_with_one_start_the_last_counts():
    assert seqs(steps_of(CAM, [reading(0, 10), reading(1, 10)])) == [1, None, None, None]


def test_a_missing_stream_has_no_packet_in_any_step():
    assert seqs(steps_of(CAM, [])) == [None] * 4


def test_steps_of_a_window_that_does_not_divide_evenly_still_tile_it():
    rule = InputRule(input="cam", take="window", steps=3, hold_ns=0, shape=(1,), dtype="float64")
    each = [reading(seq, seq, length=1) for seq in range(10)]
    assert seqs(steps_of(rule, each, 0, 10)) == [2, 5, 9]  # edges 0, 3, 6, 10


@pytest.mark.parametrize("take", ["latest", "state", "nearest"])
def test_other_takes_give_their_one_packet_however_old(take):
    rule = InputRule(input="cam", take=take, steps=1, hold_ns=0, shape=(1,), dtype="float64")
    assert seqs(steps_of(rule, [reading(7, -5000)])) == [7]


def test_interpolate_gives_the_value_at_the_centre_under_a_number_of_its_own():
    rule = InputRule(input="cam", take="interpolate", steps=1, hold_ns=0, shape=(1,), dtype="float64")
    pair = [reading(3, 150, value=1.0), reading(4, 250, value=3.0)]
    [blend] = steps_of(rule, pair, index=5)
    assert packet_array(blend).tolist() == [2.0]
    others = [steps_of(rule, pair, index=5, revision=1)[0], steps_of(rule, pair, index=6)[0], steps_of(rule, pair[:1])[0]]
    assert len({blend.seq, *(other.seq for other in others)}) == 4
    assert blend.seq < 0


def test_a_packet_exactly_at_the_centre_is_not_blended():
    rule = InputRule(input="cam", take="interpolate", steps=1, hold_ns=0, shape=(1,), dtype="float64")
    assert seqs(steps_of(rule, [reading(3, 200)])) == [3]


def test_the_same_window_gives_the_same_steps_again_and_another_length_its_own():
    class Model:
        def input_rules(self):
            return {"cam": CAM}

    tensorizer = Tensorizer(Model())

    def steps(end):
        slots = {"cam": Slot(packets=(reading(0, 120),), missing=None, age_ns=None, complete=True)}
        return seqs(tensorizer.steps(AlignedWindow(index=0, start_ns=0, end_ns=end, slots=slots))["cam"])

    assert [steps(400), steps(200), steps(400)] == [[None, 0, None, None], [None, None, 0, None], [None, 0, None, None]]


def test_a_window_without_the_models_input_is_refused():
    class Model:
        def input_rules(self):
            return {"mic": InputRule(input="mic", take="state", steps=1, hold_ns=0, shape=(1,), dtype="float32")}

    window = AlignedWindow(index=0, start_ns=0, end_ns=1, slots={"cam": Slot(packets=(), missing="empty", age_ns=None, complete=True)})
    with pytest.raises(ContractError, match="no slot 'mic'"):
        Tensorizer(Model()).steps(window)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"hold_ns": -1}, {"take": "state", "steps": 2}])
def test_an_impossible_rule_is_refused(wrong):
    with pytest.raises(ContractError):
        InputRule(**{"input": "cam", "take": "window", "steps": 2, "hold_ns": 0, "shape": (1,), "dtype": "uint8", **wrong})


def test_the_array_of_a_packet_is_the_payloads_own():
    for payload, array in [
        (frame := Frame(data=np.zeros((2, 3), np.uint8)), frame.data),
        (embedding := Embedding(data=np.zeros(4, np.int64)), embedding.data),
        (series := Series(values=np.zeros(3)), series.values),
    ]:
        assert packet_array(Packet(stream="s", seq=0, start_ns=0, end_ns=1, payload=payload)) is array


@pytest.mark.parametrize("payload", [TextSpan(text="hello"), AudioBlock(data=np.zeros((1, 4), np.float32), rate_hz=8000)])
def test_sound_and_text_must_have_been_prepared_by_a_transform(payload):
    with pytest.raises(ContractError, match=f"cannot take a {type(payload).__name__}"):
        packet_array(Packet(stream="s", seq=0, start_ns=0, end_ns=1, payload=payload))


def test_presence_is_one_where_a_packet_is():
    presence = step_presence([None, reading(0, 0), None])
    assert presence.dtype == np.float32
    assert presence.tolist() == [0.0, 1.0, 0.0]
