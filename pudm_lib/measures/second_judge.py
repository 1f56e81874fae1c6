"""A second judge, built in another way than the first: a support vector machine on
pixels, no network and no augmentation.

Two judges that share neither form nor training are seldom wrong on the same image. So
where they agree on samples as they do on real images, a rate does not hang on one
judge's habits; how far they part bounds what it can.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.svm import SVC
from torch import Tensor, from_numpy

from pudm_lib.data.datasets import open_dataset
from pudm_lib.data.pixels import read_resized, to_model_range
from pudm_lib.data.splits import DataSettings, image_size, sensitive_classes

MAX_TRAINING_IMAGES = 6000  # the machine's time grows with their square
COMPONENTS = 40  # principal components of the pixels


class SecondJudge:
    """Trained on true labels of the training part; called with uint8 images."""

    def __init__(self, settings: DataSettings, seed: int = 0):
        source = open_dataset(settings.dataset)
        size = image_size(settings, source)
        classes = sensitive_classes(source, settings.normal)
        labels = np.asarray(source.labels["train"])
        kept = np.random.default_rng(seed).permutation(len(labels))
        kept = kept[:MAX_TRAINING_IMAGES]
        x = _flat(read_resized(source, "train", kept, *size))
        self.machine: Pipeline = make_pipeline(
            PCA(min(COMPONENTS, *x.shape), random_state=seed), SVC(C=10)
        ).fit(x, classes[labels[kept]])

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> (N,) bool, True = sensitive."""
        return from_numpy(self.machine.predict(_flat(images)))


def _flat(images: Tensor) -> np.ndarray:
    return to_model_range(images).flatten(1).numpy()
