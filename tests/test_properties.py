"Statements that must hold for any input, tried on inputs that hypothesis makes up."
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from cifar_cam.augment import POLICIES, build
from cifar_cam.core import CIFAR10_CLASSES, ImageSet
from cifar_cam.data import EpochSampler, denormalize, normalize, split
from cifar_cam.gradcam import grad_cam
from cifar_cam.misclassified import Predictions
from cifar_cam.resnet import ResNet18

seeds = st.integers(0, 2**32 - 1)
pictures = arrays(np.uint8, st.tuples(st.integers(1, 3), st.just(32), st.just(32), st.just(3)))
channels = st.tuples(*[st.floats(.01, 1)] * 3)


@given(pictures, channels, channels)
def test_denormalize_undoes_normalize(images, mean, std):
    x = normalize(images, mean, std)
    assert x.shape == (len(images), 3, 32, 32) and x.dtype == torch.float32
    assert np.array_equal(denormalize(x, mean, std), images)
    levels = 255 * (x * torch.tensor(std).view(1, 3, 1, 1)).abs().max()  # the farthest from the mean, in grey levels
    if levels > 1.01: assert not np.array_equal(denormalize(x, mean, tuple(s / 2 for s in std)), images)  # half a std halves the distance


def a_set(labels):
    "Images that carry their own number."
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(labels)) % 256, np.arange(len(labels)) // 256
    return ImageSet(images, np.array(labels, dtype=np.int64), CIFAR10_CLASSES, name="made train")

def numbers(images): return images.images[:, 0, 0, 0] + 256 * images.images[:, 0, 0, 1].astype(int)

@given(st.lists(st.integers(2, 40), min_size=10, max_size=10), st.data(), seeds)
def test_split_is_a_stratified_stable_partition(counts, data, seed):
    images = a_set(np.random.default_rng(seed).permutation(np.repeat(np.arange(10), counts)))
    n = data.draw(st.integers(10, len(images) - 10))
    keep, held = split(images, n, seed)
    assert len(held) == n and sorted([*numbers(keep), *numbers(held)]) == list(range(len(images)))  # each image once
    assert all(np.diff(numbers(part)).min(initial=1) > 0 for part in (keep, held))  # in their order
    assert np.array_equal(images.labels[numbers(held)], held.labels)  # with their labels
    fair = np.array(counts) * n / len(images)
    assert np.abs(np.bincount(held.labels, minlength=10) - fair).max() < 1 + 1e-9  # the share of every class
    assert np.array_equal(numbers(split(images, n, seed)[1]), numbers(held))


@given(st.integers(1, 300), st.integers(0, 1000), seeds)
def test_epochs_are_permutations(n, epoch, seed):
    sampler = EpochSampler(n, True, seed)
    sampler.set_epoch(epoch)
    keys = list(sampler)
    assert sorted(keys) == list(range(epoch * n, (epoch + 1) * n)) and keys == list(sampler)
    if n > 20:
        sampler.set_epoch(epoch + 1)
        assert [k - n for k in sampler] != keys  # another epoch, another order


@given(st.integers(1, 60), st.integers(2, 10), seeds)
def test_predictions_agree_with_scikit_learn(n, classes, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 3, (n, classes)).astype(np.float32), rng.integers(0, classes, n)
    p = Predictions(logits, labels, tuple("abcdefghij"[:classes]))
    said, every = logits.argmax(1), list(range(classes))
    assert p.accuracy == pytest.approx(metrics.accuracy_score(labels, said))
    assert p.loss == pytest.approx(metrics.log_loss(labels, p.probabilities, labels=every), rel=1e-5)
    assert np.array_equal(p.confusion(), metrics.confusion_matrix(labels, said, labels=every))
    recall = metrics.recall_score(labels, said, labels=every, average=None, zero_division=np.nan)
    assert np.allclose(p.class_accuracy(), recall, equal_nan=True)
    assert sorted(p.mistakes) == np.flatnonzero(said != labels).tolist() and (np.diff(p.confidence[p.mistakes]) <= 0).all()


torch.manual_seed(0)
NET = ResNet18(width=8).eval()

@pytest.mark.filterwarnings("ignore:the maps of")  # coarse layers
@settings(max_examples=15)
@given(arrays(np.uint8, (2, 32, 32, 3)), st.integers(0, 9), st.sampled_from(["layer1", "layer2", "layer3", "layer4", "layer2.0.conv1"]))
def test_maps_have_their_range_and_shape(images, target, layer):
    maps = grad_cam(NET, normalize(images), layer, target)
    assert maps.shape == (2, 32, 32) and maps.is_floating_point() and torch.isfinite(maps).all()
    assert 0 <= maps.min() and maps.max() <= 1

@settings(max_examples=15)
@given(seeds, st.integers(-6, 6), st.sampled_from(["layer2", "layer3"]))
def test_maps_do_not_know_the_scale_of_the_logits(seed, power, layer):
    "Each map is divided by its maximum, so twice the weights of the last layer give the same map; minus once does not."
    x = normalize(np.random.default_rng(seed).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    before, weight = grad_cam(NET, x, layer, 3), NET.linear.weight.data.clone()
    try:
        NET.linear.weight.data *= 2.**power
        assert torch.allclose(grad_cam(NET, x, layer, 3), before, atol=1e-4)
        NET.linear.weight.data *= -1
        assert not torch.allclose(grad_cam(NET, x, layer, 3), before, atol=1e-2)
    finally: NET.linear.weight.data = weight


BUILT = {name: build(policy, (.5, .5, .5), (.25, .25, .25)) for name, policy in POLICIES.items()}

@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=8)
@given(seeds)
def test_transforms_keep_the_shape_and_repeat(name, seed):
    image = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    before, transform = image.copy(), BUILT[name]
    def draw(s):
        transform.set_random_seed(s)
        return transform(image=image)["image"]
    x = draw(seed)
    assert x.shape == (3, 32, 32) and x.dtype == torch.float32 and torch.isfinite(x).all()
    assert torch.equal(draw(seed), x) and np.array_equal(image, before)
    if name != "plain": assert any(not torch.equal(draw(s), x) for s in range(20))  # the seed matters
