"""The running average of weights."""

import torch
from torch import nn

from pipeline.training.average import Average


def one_weight(value):
    network = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        network.weight.fill_(value)
    return network


def moved(network, average, *values):
    for value in values:
        with torch.no_grad():
            network.weight.fill_(value)
        average.update()


def inside(network, average):
    with average.in_place():
        return round(float(network.weight.item()), 4)


def test_the_average_moves_the_sooner_the_fewer_steps_there_were():
    network = one_weight(0.0)
    average = Average(network, 0.999)
    moved(network, average, 1.0)
    assert inside(network, average) == round(20 / 21, 4)


def test_with_many_steps_it_moves_by_one_minus_the_decay():
    network = one_weight(0.0)
    average = Average(network, 0.5)
    moved(network, average, *[0.0] * 25, 1.0)
    assert inside(network, average) == 0.5


def test_outside_the_network_has_its_own_weights_also_after_an_error():
    network = one_weight(0.0)
    average = Average(network, 0.5)
    moved(network, average, *[0.0] * 25, 1.0)
    try:
        with average.in_place():
            raise KeyError
    except KeyError:
        pass
    assert network.weight.item() == 1.0
    assert inside(network, average) == 0.5


def test_without_a_decay_the_average_is_the_network():
    network = one_weight(0.0)
    average = Average(network, 0.0)
    moved(network, average, 3.0)
    assert inside(network, average) == 3.0
    assert average.snapshot() == ({}, 1)


def test_statistics_of_the_data_are_the_networks_own():
    network = nn.BatchNorm1d(1)
    average = Average(network, 0.5)
    network.running_mean.fill_(7.0)
    average.update()
    with average.in_place():
        assert network.running_mean.item() == 7.0
