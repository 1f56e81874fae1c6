"""What a detector may see in place of generation, and how to take it away: grey levels,
JPEG, crops, noise, blur, and the mix of classes.

All on uint8 images (N, C, H, W) -> uint8 (N, C, H, W), so that the two classes can be
sent through the same pipe.
"""

import math
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from sklearn.decomposition import PCA
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from pudm_lib.data.pixels import to_display, to_model_range, to_uint8
from pudm_lib.detection.batched import image_noise
from pudm_lib.diffusion.process import random_generator
from pudm_lib.measures.judge import Judge, classes_of

# Keeps the noise of controls apart from all other noise.
CONTROLS = 1_000_039


def quantise(images: Tensor, levels: int = 17) -> Tensor:
    """Grey values rounded to `levels` equal steps of 0 .. 255, black and white among
    them. scikit-learn's digits have 17 and stay as they are."""
    if not 2 <= levels <= 256:
        raise ValueError(f"levels={levels}, must be in 2 .. 256")
    top = levels - 1
    steps = (images.double() * top / 255).round()
    return (steps * 255 / top).round().to(torch.uint8)


def jpeg(images: Tensor, quality: int = 75) -> Tensor:
    """Each image saved as JPEG and read again; quality 1 to 95."""
    if not 1 <= quality <= 95:
        raise ValueError(f"quality={quality}, must be in 1 .. 95")
    read = []
    for picture in to_display(images):
        file = BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality)
        with Image.open(file) as saved:
            read.append(tvf.pil_to_tensor(saved))
    return torch.stack(read)


def noisy(images: Tensor, deviation: float, seed: int = 0) -> Tensor:
    """Normal noise of a deviation in grey values added, then rounded and clipped.

    The noise of an image depends on the seed and its position alone.
    """
    if deviation < 0:
        raise ValueError(f"deviation={deviation}, must be >= 0")
    x = images.float()
    x = x + deviation * image_noise(x, CONTROLS, seed)
    return x.round().clamp(0, 255).to(torch.uint8)


def blurred(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of sigma pixels over each image, borders mirrored."""
    if not sigma > 0:
        raise ValueError(f"sigma={sigma}, must be > 0")
    # Mirroring cannot reach farther than the image.
    reach = min(math.ceil(3 * sigma), (min(images.shape[-2:]) - 1) // 2)
    return tvf.gaussian_blur(images, 2 * reach + 1, sigma)


def crop_as_released(images: Tensor, ratio: float = 140 / 32) -> Tensor:
    """SeDID's released CelebA pipe on images that already have their final size: a
    centre crop `ratio` times their side, which pads with black, then back to the side.
    What comes out is a tiny picture on black."""
    if not ratio >= 1:
        raise ValueError(f"ratio={ratio}, must be >= 1")
    height, width = images.shape[-2:]
    padded = tvf.center_crop(images, [round(height * ratio), round(width * ratio)])
    return tvf.resize(padded, [height, width], antialias=True)


def matched_indices(
    classes: Tensor, wanted: Tensor, seed: int = 0, *, limit: int | None = None
) -> Tensor:
    """Which images to keep so that their classes have the shares of `wanted`.

    Args:
        classes: (N,) integers, of the images to choose from.
        wanted: (M,) integers, of the other class of the detector.
        limit: at most so many images.

    Returns:
        (n,) indices into the N, none twice, in random order; n as large as the
        scarcest class allows.

    Raises:
        ValueError: a class of `wanted` of which there is no image.
    """
    present, counts = wanted.unique(return_counts=True)
    shares = counts.double() / len(wanted)
    held = torch.stack([(classes == c).sum() for c in present])
    if (held == 0).any():
        raise ValueError(
            f"no images of classes {present[held == 0].tolist()} among {len(classes)}: "
            "the classes cannot be given the wanted shares"
        )
    total = int((held / shares).floor().min())
    total = total if limit is None else min(total, limit)
    each = (total * shares).round().long().minimum(held)
    generator = random_generator(CONTROLS, seed)

    def shuffled(indices: Tensor) -> Tensor:
        return indices[torch.randperm(len(indices), generator=generator)]

    chosen = [
        shuffled((classes == c).nonzero()[:, 0])[:count]
        for c, count in zip(present, each.tolist(), strict=True)
    ]
    return shuffled(torch.cat(chosen))


def normal_images(images: Tensor, judge: Judge) -> Tensor:
    """Those in which the judge sees a normal class: what `matched_images` leaves of the
    generated ones, for the real ones of a judge that errs."""
    return images[~judge.sensitive_classes.cpu()[classes_of(images, judge)]]


def matched_images(
    images: Tensor, real: Tensor, judge: Judge | None, *, seed: int, limit: int
) -> Tensor:
    """Of generated images as many of every class as the real ones have, in shares, by
    the judge's eyes (see `matched_indices`); without a judge the first `limit`."""
    if judge is None:
        return images[:limit]
    wanted = classes_of(real, judge)
    wanted = wanted[~judge.sensitive_classes.cpu()[wanted]]  # the judge's own slips
    return images[matched_indices(classes_of(images, judge), wanted, seed, limit=limit)]


def gaussian_images(
    training: Tensor, count: int, *, components: int = 20, seed: int = 0
) -> Tensor:
    """A generator that is no diffusion model: normal numbers along the principal
    components of the training images, with their variances."""
    flat = to_model_range(training).flatten(1).numpy()
    if not 1 <= components <= min(flat.shape):
        raise ValueError(
            f"components={components}, must be in 1 .. {min(flat.shape)} for "
            f"{len(flat)} images of {flat.shape[1]} numbers"
        )
    pca = PCA(components, svd_solver="full").fit(flat)
    drawn = np.random.default_rng(seed).standard_normal((count, components))
    images = pca.inverse_transform(drawn * np.sqrt(pca.explained_variance_))
    return to_uint8(torch.from_numpy(images).reshape(count, *training.shape[1:]))
