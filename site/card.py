"Draw `nbs/images/social-card.png`: toy images and, below them, where the shipped model looked. Run it from the top folder."
import matplotlib
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from cifar_cam.data import normalize
from cifar_cam.gradcam import grad_cam, overlay
from cifar_cam.recipes import model_for
from cifar_cam.toy import make_toy

torch.set_num_threads(1)
images = make_toy(400, seed=3)[[6, 3, 8, 10, 37, 33]]
heat = grad_cam(model_for(images), normalize(images.images), layer="layer3").numpy()

plt.rcParams.update({"savefig.bbox": None, "figure.constrained_layout.use": False})
figure = plt.figure(figsize=(12, 6.3), dpi=100, facecolor="#20304a")
figure.text(.06, .80, "cifar_cam", color="white", fontsize=60, weight="bold", va="center")
figure.text(.06, .665, "From the bytes of CIFAR-10 to Grad-CAM pictures put to the test", color="#c9d6e8", fontsize=21, va="center")
for i in range(6):
    for row, picture in enumerate((images.images[i], overlay(images.images[i], heat[i]))):
        axis = figure.add_axes((.06 + i*.148, .33 - row*.26, .13, .13*12/6.3))
        axis.imshow(picture, interpolation="nearest")
        axis.axis("off")
figure.savefig("nbs/images/social-card.png", pil_kwargs={"optimize": True})
plt.close(figure)

from PIL import Image

Image.open("nbs/images/social-card.png").convert("RGB").quantize(128).save("nbs/images/social-card.png", optimize=True)
