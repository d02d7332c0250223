"""What every room's tests stand on: one thread a process, a cache of their own, no network, small photographs."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: pytest runs a process for each core
os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import pytest
from PIL import Image

COLOURS = {"cat": (200, 60, 60), "dog": (60, 200, 60), "eel": (60, 60, 200)}


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The feature cache lies in a temporary folder, never in the home of who runs the tests."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFUSE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def float32_by_default() -> Iterator[None]:
    """Expected values are those of float32, also on a processor for which bfloat16 would be chosen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("transfuse.sources.precision._processor_flags", frozenset)
        yield


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3 class folders x 12 noisy pictures of 24 x 24, each class of its own colour. Not to be changed."""
    return write_photos(tmp_path_factory.mktemp("data") / "photos", each=12)


TOPICS = {
    "weather": ["rain", "sun", "cloud", "wind", "storm", "warm", "cold", "sky", "snow", "degrees"],
    "music": ["song", "band", "guitar", "play", "tune", "album", "loud", "singer", "concert", "drum"],
    "food": ["bread", "soup", "cook", "eat", "salt", "taste", "lunch", "apple", "cheese", "oven"],
}
FILLERS = ["the", "a", "is", "my", "please", "today", "will", "we", "some", "very", "what", "how", "for", "with", "and"]


def sentences(each: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Sentences of 4 to 9 words about three topics, of which only every third word says which."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for place in range(each * len(TOPICS)):
        topic = list(TOPICS)[place % len(TOPICS)]
        count = int(random.integers(4, 10))
        words = [str(random.choice(TOPICS[topic] if spot % 3 == 0 else FILLERS)) for spot in range(count)]
        texts.append(" ".join(words))
        labels.append(topic)
    return texts, labels


@pytest.fixture(scope="session")
def tiny_networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of transformers with random weights: an encoder (BERT) and a decoder (Llama) of two layers."""
    return {kind: write_network(tmp_path_factory.mktemp("networks") / kind, kind) for kind in ("bert", "llama")}


def write_network(folder: Path, kind: str) -> Path:
    """A network of 16 features with a tokenizer of whole words."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words = [*special, *FILLERS, *(word for topic in TOPICS.values() for word in topic)]
    sizes = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 64}
    if kind == "bert":
        network = transformers.BertModel(transformers.BertConfig(**sizes, hidden_dropout_prob=0.0))
    else:
        network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, num_key_value_heads=1))
    network.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    single = "[CLS] $A [SEP]" if kind == "bert" else "[CLS] $A"
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_photos(folder: Path, each: int, seed: int = 0, names: Iterable[str] = COLOURS) -> Path:
    """Class folders of noisy coloured PNG pictures."""
    generator = np.random.default_rng(seed)
    for name, colour in zip(names, COLOURS.values(), strict=True):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            noise = generator.normal(0, 40, (24, 24, 3))
            picture = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(folder / name / f"{name}{number}.png")
    return folder


def write_tone(path: Path, hertz: float, seconds: float = 0.3, rate: int = 8000, seed: int = 0, **options: str) -> Path:
    """A noisy tone that swells and fades, as a sound file."""
    import soundfile

    time_S = np.arange(round(seconds * rate)) / rate
    wave_S = 0.5 * np.sin(2 * np.pi * hertz * time_S) * np.hanning(len(time_S))
    noise_S = np.random.default_rng(seed).normal(0, 0.01, len(time_S))
    soundfile.write(path, wave_S + noise_S, rate, **options)
    return path


def write_sounds(folder: Path, each: int, seed: int = 0) -> Path:
    """Class folders of low, middle and high tones."""
    random = np.random.default_rng(seed)
    for name, hertz in {"low": 200, "middle": 600, "high": 1500}.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            path = folder / name / f"{name}{number}.wav"
            write_tone(
                path, hertz * random.uniform(0.8, 1.25), random.uniform(0.2, 0.5), seed=int(random.integers(1 << 30))
            )
    return folder


def write_pairs(folder: Path, each: int, seed: int = 0) -> Path:
    """Tables by split of a picture that half knows the label, and a sound whose pitch means another thing by voice."""
    random = np.random.default_rng(seed)
    pitches = {"ann": (300, 450), "bob": (1500, 1000), "cid": (700, 700)}
    for split, voices in {"train": ("ann", "bob"), "test": ("cid",)}.items():
        lines = ["picture,sound,label"]
        for row in range(each * 2 if split == "train" else each):
            voice, label = voices[row % len(voices)], int(random.integers(2))
            name = f"{label}_{voice}_{split}{row}"
            light = 110 + 40 * label + random.normal(0, 20)
            pixels = np.clip(light + random.normal(0, 10, (24, 24, 3)), 0, 255).astype(np.uint8)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"p{split}{row}.png")
            write_tone(folder / f"{name}.wav", pitches[voice][label] * random.uniform(0.95, 1.05), seed=row)
            lines.append(f"p{split}{row}.png,{name}.wav,{('no', 'yes')[label]}")
        (folder / f"{split}.csv").write_text("\n".join(lines))
    return folder


def write_mixed(folder: Path, count: int, seed: int = 0, holes: bool = True) -> Path:
    """A table of a number, a picture and a text that each tell a part of the label; with `holes` some are missing."""
    random = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines, topics = ["size,photo,note,label"], list(TOPICS)
    for row in range(count):
        size, light, topic = random.normal(), random.random(), topics[int(random.integers(3))]
        words = [str(random.choice(TOPICS[topic] if spot % 3 == 0 else FILLERS)) for spot in range(7)]
        pixels = np.array([80 + 120 * light, 120, 200 - 120 * light]) + random.normal(0, 30, (24, 24, 3))
        name = f"pictures/{seed}-{row}.png"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name)
        score = size + 5 * (light - 0.5) + {"music": 1.5, "food": -1.5}.get(topic, 0.0)
        photo = "" if holes and row % 17 == 3 else "pictures/gone.png" if holes and row == 5 else name
        note = "" if holes and row % 23 == 4 else " ".join(words)
        lines.append(f"{size:.3f},{photo},{note},{'yes' if score > 0 else 'no'}")
    path = folder / f"mixed{seed}.csv"
    path.write_text("\n".join(lines))
    return path
