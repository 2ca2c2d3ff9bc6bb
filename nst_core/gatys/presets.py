"""Published recipes as configs, with the numbers of their sources. Never loads torch.

All share one departure. The sources use VGG19, whose weights are not bundled. So the layers here are those with the
same names in the VGG16 that Caffe trained, whose features are as large as those of Caffe's VGG19. If the source's
numbers are for a network that torchvision trained, `feature_scale` scales the features accordingly. With
`preset(name, network="vgg19")`, a recipe gets its own network. Losses that are sums over positions in the source are
means here, so their weights are converted for the size of the preset.
"""

from dataclasses import replace
from typing import Any

from nst_core.errors import ConfigError
from nst_core.gatys.config import LAYER_TERMS, GatysConfig, check_names

#: The features of Caffe's networks, whose inputs are +-128, are larger by this factor than those of torchvision's,
#: whose inputs have deviation 1.
CAFFE_SCALE = 57.4
#: Networks that Caffe trained.
CAFFE_NETWORKS = ("vgg16", "vgg16_caffe", "vgg19_caffe")
#: The last ReLU of the blocks, in VGG16 and in VGG19.
LAST_OF_BLOCK = {"relu3_3": "relu3_4", "relu4_3": "relu4_4", "relu5_3": "relu5_4"}
#: The first ReLU of the blocks, with their channels.
FIRST_OF_BLOCK = {"relu1_1": 64, "relu2_1": 128, "relu3_1": 256, "relu4_1": 512, "relu5_1": 512}
#: The total variation of Johnson's neural-style and its successors has the weight 1e-3 and is half of a sum of squares
#: over pixels of 0 to 255. For a mean over pixels of 0 to 1, that is this weight times the number of values, 3 H W.
JOHNSON_TV = 1e-3 / 2 * 255**2


def _gatys2016() -> GatysConfig:
    """Gatys, Ecker, Bethge 2016, "Image Style Transfer Using Convolutional Neural Networks".

    The layers and the average pooling are the paper's (section 2: conv4_2; conv1_1 to conv5_1 with equal weights). The
    paper gives a ratio of sums. So the other numbers are those of the authors' later program, which has means
    (leongatys/PytorchNeuralStyleTransfer): style 1e3 / C^2 with Gram matrices over H W, starting from the content
    picture, 500 iterations of L-BFGS. A departure: the content has the weight 100 instead of 1. The features of their
    VGG19 are scaled to the mean 1. Here the means are 5 to 190, and the style loss grows with the fourth power of the
    features, the content loss with the second.
    """
    return GatysConfig(
        pooling="average",
        content={"relu4_2": 100.0},
        gram={layer: 1e3 / channels**2 for layer, channels in FIRST_OF_BLOCK.items()},
        gram_normalization="hw",
        iterations=500,
    )


def _pytorch_tutorial() -> GatysConfig:
    """The tutorial "Neural Transfer Using PyTorch" (A. Jacq), as PyTorch publishes it.

    Content conv_4 and style conv_1 to conv_5 are the first five convolutions, before their ReLU. The weights are 1 and
    1e6, with Gram matrices over C H W. It starts from the content picture and takes 300 evaluations of L-BFGS. A
    departure: a history of 20 instead of torch's 100, which reaches about the same losses with a fifth of the memory.
    """
    return GatysConfig(
        feature_scale=1 / CAFFE_SCALE,
        content={"conv2_2": 1.0},
        gram=dict.fromkeys(("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"), 1e6),
        gram_normalization="chw",
        iterations=300,
    )


def _vgg19_adam() -> GatysConfig:
    """A recipe of many programs: the last ReLU of every block of torchvision's VGG19, by Adam.

    In `vgg19().features` these are 3, 8, 17, 26 and 35 (relu1_2, relu2_2, relu3_4, relu4_4, relu5_4), and the content
    is 26. In VGG16 the last ones are relu3_3, relu4_3 and relu5_3. Weights differ from program to program; these are
    ours.
    """
    return GatysConfig(
        feature_scale=1 / CAFFE_SCALE,
        content={"relu4_3": 1.0},
        gram=dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"), 1e5),
        gram_normalization="chw",
        optimizer="adam",
        learning_rate=0.02,
        iterations=500,
    )


def _risser2017() -> GatysConfig:
    """Risser, Wilmot, Barnes 2017, "Stable and Controllable Neural Texture Synthesis and Style Transfer Using
    Histogram Losses".

    The paper's: Gram matrices, with histograms at relu1_1 and relu4_1, weights from lengths of gradients,
    coarse to fine. Ours: the histograms' gradients as long as the Gram matrices', compared once a scale, where the
    paper clips those of every iteration; the content's weight; two sizes.
    """
    return GatysConfig(
        content={"relu4_1": 200.0},
        gram={layer: 1e3 / FIRST_OF_BLOCK[layer] ** 2 for layer in ("relu1_1", "relu2_1", "relu3_1", "relu4_1")},
        gram_normalization="hw",
        histogram={"relu1_1": 1.0, "relu4_1": 1.0},
        balance=True,
        scales=2,
        iterations=200,
    )


def _li2017_laplacian() -> GatysConfig:
    """Li, Xu, Nie, Liu 2017, "Laplacian-Steered Neural Style Transfer", with the defaults of askerlee/lapstyle.

    Johnson's neural-style with content 5 and style 100 at each layer, Grams over C H W, TV 1e-3, and one Laplacian with
    poolings of 4 pixels and weight 100, for pixels of 0 to 255. The program takes 1,000 iterations of L-BFGS from
    noise; from the content, as here, half is enough.
    """
    return GatysConfig(
        content={"relu4_2": 5.0},
        gram=dict.fromkeys(FIRST_OF_BLOCK, 100.0),
        gram_normalization="chw",
        laplacian={4: 100 * 255.0**2},
        tv_weight=JOHNSON_TV * 3 * 512 * 384,
        iterations=500,
    )


def _liwand2016() -> GatysConfig:
    """Li & Wand 2016, "Combining Markov Random Fields and Convolutional Neural Networks for Image Synthesis".

    Defaults of chuanli11/CNNMRF: content 20 at relu4_1, patches at relu3_1 and relu4_1, TV 1e-3, three sizes up to 384
    pixels with 100 iterations of L-BFGS each and a history of 25, from the content. There the patches' weight of 1e-4
    is, by `MRFLoss`, 1e-4 C H W / 18: at relu3_1 0.8 at the smallest size and 13 at the largest, at relu4_1 half of
    that. One weight for all sizes is a departure; these are near the weights of the smallest size, which determines the
    layout.
    """
    return GatysConfig(
        content={"relu4_1": 20.0},
        mrf={"relu3_1": 1.6, "relu4_1": 0.8},
        tv_weight=JOHNSON_TV * 3 * 384 * 288,
        size_px=384,
        scales=3,
        scale_ratio=2.0,
        iterations=100,
        history=25,
    )


def _heitz2021() -> GatysConfig:
    """Heitz, Vanhoey, Chambon, Belcour 2021, "A Sliced Wasserstein Loss for Neural Texture Synthesis".

    The authors' program: average pooling, as many directions as channels, all layers with one weight, L-BFGS. It makes
    textures, so the content's weight is ours, chosen by eye on two paintings at 128 and 160 pixels. Other departures:
    the first layer of each of the four blocks, where the program has all twelve of VGG19, to have less to sort; their
    features are not scaled; it starts from the content; 100 iterations.
    """
    return GatysConfig(
        pooling="average",
        content={"relu4_2": 0.1},
        sliced=dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1"), 1.0),
        iterations=100,
    )


PRESETS = {
    "gatys2016": _gatys2016(),
    "pytorch_tutorial": _pytorch_tutorial(),
    "vgg19_adam": _vgg19_adam(),
    "risser2017": _risser2017(),
    "li2017_laplacian": _li2017_laplacian(),
    "liwand2016": _liwand2016(),
    "heitz2021": _heitz2021(),
}


def preset(name: str, **overrides: Any) -> GatysConfig:
    """Return the config of a preset, with other values for the fields that are named.

    With another `network`, `feature_scale` goes along, so that the weights keep their meaning, and so do the layers of
    vgg19_adam. Raises ConfigError for an unknown preset or field, or a wrong value.
    """
    if name not in PRESETS:
        raise ConfigError(f"The presets are {', '.join(PRESETS)}; there is no {name!r}.")
    check_names(overrides)
    config = PRESETS[name]
    network = overrides.get("network", config.network)
    implied: dict[str, Any] = {}
    if network not in CAFFE_NETWORKS:
        implied["feature_scale"] = config.feature_scale * CAFFE_SCALE
    if name == "vgg19_adam" and str(network).startswith("vgg19"):
        for term in LAYER_TERMS:
            implied[term] = {LAST_OF_BLOCK.get(layer, layer): weight for layer, weight in getattr(config, term).items()}
    return replace(config, **implied | overrides)
