"Draw `nbs/images/front.png`: confident mistakes of the shipped ResNet18 on CIFAR-10 and where it looked. Run it from the top folder."
import io

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
rows = {"true / predicted": None, "evidence for the\npredicted class": torch.from_numpy(predictions.predicted[picked]),
        "evidence for the\ntrue class": torch.from_numpy(test.labels[picked])}

book_style()
figure, axes = plt.subplots(3, 6, figsize=(9, 5))
for row, (name, target) in zip(axes, rows.items()):
    heat = None if target is None else grad_cam(model, x, "layer3", target=target)
    for k, (axis, i) in enumerate(zip(row, picked)):
        image = test.images[i]
        axis.imshow(image if heat is None else overlay(image, heat[k]))
        axis.set(xticks=[], yticks=[])
        if heat is None:
            true, said = test.classes[test.labels[i]], test.classes[predictions.predicted[i]]
            axis.set_title(f"{true} / {said}\np {predictions.confidence[i]:.2f}")
    row[0].set_ylabel(name)
scale = matplotlib.cm.ScalarMappable(norm=matplotlib.colors.Normalize(0, 1), cmap="viridis")
figure.colorbar(scale, ax=axes[1:], label="share of the map's maximum", shrink=.8)
figure.suptitle(f"{test.name}: six confident mistakes of a ResNet18, Grad-CAM at layer3")
drawn = io.BytesIO()
figure.savefig(drawn, dpi=95)
Image.open(drawn).convert("RGB").quantize(256, kmeans=5).save("nbs/images/front.png", optimize=True)
