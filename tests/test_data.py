"""Splits: disjoint, auditable, refused with the counts; readers of every format."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pudm_lib.data.datasets import open_dataset
from pudm_lib.data.pixels import DataError, resize, to_model_range, to_uint8
from pudm_lib.data.splits import (
    DataSettings,
    condition_groups,
    condition_labels,
    make_split,
    sensitive_labels,
)
from pudm_lib.machine.paths import data_root

needs_mnist = pytest.mark.skipif(
    not (data_root() / "MNIST" / "raw").is_dir(),
    reason="real MNIST is not under PUDM_DATA",
)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    normal=st.sampled_from(["even", "odd", "3", "0,7"]),
    sizes=st.tuples(
        st.integers(1, 60), st.integers(0, 40), st.integers(1, 40), st.integers(0, 20)
    ),
)
def test_no_image_is_in_two_sets(seed, normal, sizes):
    s = DataSettings("digits", normal, *sizes)
    split = make_split(s, seed)
    parts = [split.indices[name] for name in ("unlabeled", "sensitive", "normal")]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together) == sum(sizes)
    source = open_dataset("digits")
    sensitive = sensitive_labels(source, normal)
    assert split.hidden_labels.sum() == sizes[1]
    assert (sensitive["train"][split.indices["unlabeled"]] == split.hidden_labels).all()
    assert sensitive["train"][split.indices["sensitive"]].all()
    assert not sensitive["train"][split.indices["normal"]].any()
    assert not sensitive["test"][split.indices["test"]].any()


def test_indices_lead_back_to_the_pixels():
    split = make_split(DataSettings(), 5)
    source = open_dataset("digits")
    assert torch.equal(
        split.x_unlabeled, source.read("train", split.indices["unlabeled"])
    )
    assert torch.equal(split.x_test, source.read("test", split.indices["test"]))


def test_held_out_digits_are_not_training_digits():
    from sklearn.datasets import load_digits

    source = open_dataset("digits")
    counts = [len(source.labels[part]) for part in ("train", "test")]
    assert sum(counts) == len(load_digits().target)
    every = [
        tuple(image.flatten().tolist())
        for part, count in zip(("train", "test"), counts, strict=True)
        for image in source.read(part, np.arange(count))
    ]
    original = [tuple(x) for x in np.round(load_digits().data * 255 / 16).astype(int)]
    assert sorted(every) == sorted(original)


def test_the_same_seed_gives_the_same_split_and_another_another():
    a, b, c = (make_split(DataSettings(), seed).indices for seed in (1, 1, 2))
    assert all(np.array_equal(a[name], b[name]) for name in a)
    assert not np.array_equal(a["unlabeled"], c["unlabeled"])


def test_sizes_beyond_the_set_are_refused_with_the_counts():
    message = r"holds 605 normal and \d+ sensitive.*num_unlabeled_normal=9999"
    with pytest.raises(ValueError, match=message):
        make_split(DataSettings(num_unlabeled_normal=9999), 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_sensitive": 0}, "num_sensitive=0, must be >= 1"),
        ({"channels": 2}, "channels=2, must be 0, 1 or 3"),
    ],
)
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DataSettings(**change)


def test_unknown_classes_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"names \['purple'\] but the classes.*0, 1"):
        make_split(DataSettings(normal="purple"), 0)
    with pytest.raises(ValueError, match="leaves no sensitive class"):
        make_split(DataSettings(normal="0,1,2,3,4,5,6,7,8,9"), 0)


def test_pairs_are_the_digits_halved_and_stay_with_their_images():
    split = make_split(DataSettings(condition="pairs"), 5)
    labels = open_dataset("digits").labels
    assert split.conditions.keys() == split.indices.keys()
    for name, chosen in split.indices.items():
        digits = labels["test" if name == "test" else "train"][chosen]
        assert split.conditions[name].tolist() == (digits // 2).tolist(), name
    plain = make_split(DataSettings(), 5)
    assert plain.conditions is None
    assert torch.equal(plain.x_unlabeled, split.x_unlabeled)
    # The caption does not tell the two classes of a pair apart.
    for c in range(5):
        of_pair = split.hidden_labels[split.conditions["unlabeled"] == c]
        assert 0 < of_pair.float().mean() < 0.5


def test_groups_of_the_users_own_classes_are_conditions(tmp_path):
    picture_tree(tmp_path, classes=("ant", "bee", "cat"))
    source = open_dataset(str(tmp_path))
    found = condition_labels(source, "cat, ant;bee")["train"]
    assert found.tolist() == [{0: 0, 1: 1, 2: 0}[y] for y in source.labels["train"]]
    assert condition_groups("none") == []


@pytest.mark.parametrize("condition", ["purple", "0,1;2,3", "pairs;0", "0,0;1", ""])
def test_conditions_that_do_not_name_each_class_once_are_refused(condition):
    message = rf"condition='{condition}' must be none, or pairs.*classes.*0, 1"
    with pytest.raises(ValueError, match=message):
        make_split(DataSettings(condition=condition), 0)


def test_model_range_and_back_is_the_identity():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_model_range(levels)), levels)


def test_resize_crops_to_the_middle_and_keeps_flat_images_flat():
    flat = torch.full((2, 3, 12, 20), 90, dtype=torch.uint8)
    small = resize(flat, resolution=8, channels=1)
    assert small.shape == (2, 1, 8, 8) and small.unique().tolist() == [90]


def picture_tree(root, classes=("cat", "dog"), per_class=6):
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(per_class):
            level = 40 * c + 10 * i
            Image.new("RGB", (10, 8), (level, level, level)).save(
                root / name / f"{i}.png"
            )
    return root


def test_a_folder_of_ones_own(tmp_path):
    root = picture_tree(tmp_path / "pets")
    s = DataSettings(
        dataset=str(root),
        normal="cat",
        num_unlabeled_normal=2,
        num_unlabeled_sensitive=1,
        num_sensitive=2,
    )
    split = make_split(s, 0)
    assert split.x_unlabeled.shape == (3, 3, 8, 8)
    # Six images a class with levels 0, 10, .. for cats and 40, 50, .. for dogs.
    assert (split.x_sensitive[:, 0, 0, 0] >= 40).all()


def test_a_file_that_is_no_image_is_named(tmp_path):
    root = picture_tree(tmp_path / "pets")
    (root / "cat" / "0.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"0\.png is not a readable image"):
        source = open_dataset(str(root))
        for part in ("train", "test"):
            source.read(part, np.arange(len(source.labels[part])))


def test_a_folder_without_classes_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="one sub-folder of images per class"):
        open_dataset(str(tmp_path / "empty"))


def test_an_npz_of_ones_own_and_damaged_ones(tmp_path):
    path = tmp_path / "own.npz"
    images = np.arange(40 * 6 * 6, dtype=np.uint8).reshape(40, 6, 6)
    np.savez(path, images=images, labels=np.arange(40) % 2)
    s = DataSettings(str(path), "0", 5, 2, 3)
    assert make_split(s, 0).x_unlabeled.shape == (7, 1, 6, 6)
    np.savez(path, images=images.astype(float), labels=np.arange(40) % 2)
    with pytest.raises(DataError, match=r"must be uint8 .*float64"):
        open_dataset(str(path))
    np.savez(path, pictures=images)
    with pytest.raises(DataError, match="`images`"):
        open_dataset(str(path))
    np.savez(path, images=images, labels=np.arange(40) % 2)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"own\.npz"):
        open_dataset(str(path))


@pytest.mark.parametrize("name", ["mnist", "cifar10", "stl10", "celeba"])
def test_an_absent_set_says_where_it_looked_and_what_fetches_it(
    name, tmp_path, monkeypatch
):
    monkeypatch.setenv("PUDM_DATA", str(tmp_path))
    with pytest.raises(DataError) as caught:
        open_dataset(name)
    message = str(caught.value)
    assert str(tmp_path) in message and f"data fetch {name}" in message
    assert "\n" not in message


def test_an_unknown_set_names_what_there_is():
    with pytest.raises(DataError, match=r"neither one of digits, mnist.*nor a folder"):
        open_dataset("purple")


def test_truncated_mnist_is_named(tmp_path, monkeypatch):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 20), ("t10k", 10)):
        write_idx(raw, part, count)
    monkeypatch.setenv("PUDM_DATA", str(tmp_path))
    assert open_dataset("mnist").labels["train"].shape == (20,)
    broken = raw / "train-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be read under"):
        open_dataset("mnist")


def write_idx(raw, part, count):
    """MNIST's own format: a magic number, sizes, bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    header = np.array([2051, count, 28, 28], dtype=">i4").tobytes()
    (raw / f"{part}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
    header = np.array([2049, count], dtype=">i4").tobytes()
    labels = (np.arange(count) % 10).astype(np.uint8)
    (raw / f"{part}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def md5_sum(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def sums_of_miniature(monkeypatch, reader, folder):
    """Torchvision compares files with a list of md5 sums; here the list is that of the
    files in `folder`, and the comparison goes on."""
    for name in ("train_list", "test_list", "file_list"):
        entries = []
        for entry in getattr(reader, name, []):
            file = folder / (entry[2] if name == "file_list" else entry[0])
            own = md5_sum(file) if file.exists() else entry[1]  # CelebA's archive
            entries.append([entry[0], own, *entry[2:]])
        monkeypatch.setattr(reader, name, entries, raising=False)


def refuses_another_sum(dataset, file):
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=dataset):
        open_dataset(dataset)


def test_cifar10_in_its_own_format(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for i, (name, _) in enumerate([*CIFAR10.train_list, *CIFAR10.test_list]):
        data = generator.integers(0, 256, (10, 3072), dtype=np.uint8)
        batch = {"data": data, "labels": [(i + j) % 10 for j in range(10)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    names = "airplane automobile bird cat deer dog frog horse ship truck".split()
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    sums_of_miniature(monkeypatch, CIFAR10, folder)
    meta = CIFAR10.meta | {"md5": md5_sum(folder / "batches.meta")}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    monkeypatch.setenv("PUDM_DATA", str(tmp_path))
    s = DataSettings("cifar10", "vehicles", 4, 2, 3, resolution=16)
    split = make_split(s, 0)
    assert split.x_unlabeled.shape == (6, 3, 16, 16)
    assert split.x_test.shape[0] == 4
    refuses_another_sum("cifar10", folder / "data_batch_3")


def test_stl10_in_its_own_format(tmp_path, monkeypatch):
    from torchvision.datasets import STL10

    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        pixels = generator.integers(0, 256, (20, 3, 96, 96), dtype=np.uint8)
        (folder / f"{part}_X.bin").write_bytes(pixels.tobytes())
        labels = (np.arange(20) % 10 + 1).astype(np.uint8)
        (folder / f"{part}_y.bin").write_bytes(labels.tobytes())
    names = "airplane bird car cat deer dog horse monkey ship truck".split()
    (folder / "class_names.txt").write_text("\n".join(names) + "\n")
    (folder / "fold_indices.txt").write_text("0\n")
    (folder / "unlabeled_X.bin").write_bytes(bytes(3 * 96 * 96))
    sums_of_miniature(monkeypatch, STL10, folder)
    monkeypatch.setenv("PUDM_DATA", str(tmp_path))
    source = open_dataset("stl10")
    assert source.classes == tuple(names)
    s = DataSettings("stl10", "vehicles", 5, 2, 3, resolution=32)
    assert make_split(s, 0).x_unlabeled.shape == (7, 3, 32, 32)
    refuses_another_sum("stl10", folder / "train_X.bin")


def test_celeba_in_its_own_format(tmp_path, monkeypatch):
    from torchvision.datasets import CelebA

    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    names = [f"{i:06d}.jpg" for i in range(1, 25)]
    for i, name in enumerate(names):
        Image.new("RGB", (178, 218), (10 * i, 0, 0)).save(
            folder / "img_align_celeba" / name
        )
    attributes = " ".join(["Male" if i == 20 else f"a{i}" for i in range(40)])
    signs = "\n".join(
        f"{name} " + " ".join(["1" if k % 2 else "-1"] * 40)
        for k, name in enumerate(names)
    )
    (folder / "list_attr_celeba.txt").write_text(f"24\n{attributes}\n{signs}\n")
    for file in ("identity_CelebA.txt", "list_landmarks_align_celeba.txt"):
        (folder / file).write_text("")
    parts = "\n".join(f"{name} {0 if k < 16 else 2}" for k, name in enumerate(names))
    (folder / "list_eval_partition.txt").write_text(parts + "\n")
    (folder / "list_bbox_celeba.txt").write_text(
        "24\nx y w h\n" + "\n".join(f"{name} 1 1 1 1" for name in names) + "\n"
    )
    (folder / "identity_CelebA.txt").write_text(
        "\n".join(f"{name} 1" for name in names) + "\n"
    )
    marks = "\n".join(f"{name} 1 1" for name in names)
    (folder / "list_landmarks_align_celeba.txt").write_text(f"24\nx y\n{marks}\n")
    sums_of_miniature(monkeypatch, CelebA, folder)
    monkeypatch.setenv("PUDM_DATA", str(tmp_path))
    s = DataSettings("celeba", "female", 4, 2, 3, resolution=32)
    split = make_split(s, 0)
    assert split.x_unlabeled.shape == (6, 3, 32, 32)
    assert split.hidden_labels.sum() == 2
    refuses_another_sum("celeba", folder / "list_attr_celeba.txt")


@needs_mnist
def test_real_mnist_at_the_papers_sizes():
    s = DataSettings("mnist", "even", 25_000, 2_500, 2_500, resolution=16)
    split = make_split(s, 0)
    assert split.x_unlabeled.shape == (27_500, 1, 16, 16)
    assert len(split.x_test) == 4926  # the paper's number of even test digits


def test_pictures_of_different_sizes_come_to_the_smallest(tmp_path):
    root = picture_tree(tmp_path / "pets")
    for name in ("0", "3"):
        Image.new("RGB", (30, 20)).save(root / "dog" / f"{name}.png")
    s = DataSettings(str(root), "cat", 2, 1, 2, resolution=4)
    assert make_split(s, 0).x_unlabeled.shape == (3, 3, 4, 4)


def test_images_with_channels_first_are_refused(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, images=np.zeros((9, 3, 8, 8), np.uint8), labels=np.arange(9) % 2)
    with pytest.raises(DataError, match=r"not uint8 \(9, 3, 8, 8\)"):
        open_dataset(str(path))
    np.savez(path, images=np.zeros((9, 8, 8), np.uint8), labels=np.arange(9) - 1)
    with pytest.raises(DataError, match=r"`labels` must be 0"):
        open_dataset(str(path))


def test_a_folder_in_the_projects_root_is_found_from_anywhere(tmp_path, monkeypatch):
    picture_tree(tmp_path / "project" / "pets")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("PUDM_ROOT", str(tmp_path / "project"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert open_dataset("pets").classes == ("cat", "dog")
