"Draw `nbs/images/front.png`: confident mistakes of the shipped ResNet18 on CIFAR-10, and Grad-CAM at two layers. Run it from the top folder."
import io
import warnings

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from PIL import Image

from cifar_cam.core import book_style
from cifar_cam.data import load_cifar10, normalize
from cifar_cam.gradcam import grad_cam, overlay
from cifar_cam.misclassified import predict
from cifar_cam.recipes import model_for

test = load_cifar10(download=False)[1]
model = model_for(test)
predictions = predict(model, test)
picked = predictions.mistakes[:6]
x = normalize(test.images[picked])
asked = torch.from_numpy(predictions.predicted[picked])
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # layer4 is coarse: its row says so
    maps = {f"Grad-CAM\nat {layer}\n({n}x{n} cells)": grad_cam(model, x, layer, target=asked) for layer, n in (("layer3", 8), ("layer4", 4))}

book_style()
figure, axes = plt.subplots(3, 6, figsize=(7.4, 4.1))
for axis, i in zip(axes[0], picked):
    true, said = test.classes[test.labels[i]], test.classes[predictions.predicted[i]]
    axis.imshow(test.images[i])
    axis.set_title(f"{true}\n{said}\n{predictions.confidence[i]:.0%}", fontsize=9)
for row, heat in zip(axes[1:], maps.values()):
    for axis, i, heat_map in zip(row, picked, heat): axis.imshow(overlay(test.images[i], heat_map))
axes[0, 0].text(-.06, 1.06, "true class\npredicted class\nits probability", ha="right", va="bottom", transform=axes[0, 0].transAxes)
for row, name in zip(axes[1:], maps):
    row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
scale = matplotlib.cm.ScalarMappable(norm=matplotlib.colors.Normalize(0, 1), cmap="viridis")
figure.colorbar(scale, ax=axes[1:], label="share of the map's maximum", shrink=.9)
figure.suptitle(f"{test.name}: six confident mistakes of a ResNet18, and Grad-CAM for the class that it predicted", fontsize=10)
drawn = io.BytesIO()
figure.savefig(drawn, dpi=150)
Image.open(drawn).convert("RGB").save("nbs/images/front.png", optimize=True)
