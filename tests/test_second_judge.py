"""The second judge: another form, the same question."""

import numpy as np
import torch

from pudm_lib.data.datasets import open_dataset
from pudm_lib.data.pixels import read_resized
from pudm_lib.data.splits import image_size, make_split, sensitive_classes
from pudm_lib.experiments.settings import experiment
from pudm_lib.measures import SecondJudge, load_judge

DATA = experiment("ci", dataset="digits").data


def test_both_judges_are_right_and_agree_on_images_that_neither_has_seen():
    source = open_dataset("digits")
    labels = np.asarray(source.labels["test"])
    every = np.arange(len(labels))
    images = read_resized(source, "test", every, *image_size(DATA, source))
    truth = torch.from_numpy(sensitive_classes(source, DATA.normal)[labels])
    first, _ = load_judge(DATA)(images)
    second = SecondJudge(DATA)(images)
    assert second.dtype == torch.bool and second.shape == truth.shape
    assert (second == truth).double().mean() > 0.985
    assert (first == second).double().mean() > 0.98
    # Not one judge twice: there are images on which they part.
    assert (first != second).any()


def test_labels_follow_the_normal_classes():
    odd = experiment("ci", dataset="digits", normal="odd").data
    images = make_split(DATA, 0).x_test  # even ones
    assert SecondJudge(DATA)(images).double().mean() < 0.05
    assert SecondJudge(odd)(images).double().mean() > 0.95
