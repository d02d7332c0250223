"""The card says what the model is, how good, where from, how to use."""

from dataclasses import replace

from transfuse.core.nouns import Step
from transfuse.predicting.card import card


def test_says_what_people_ask(model_of):
    model = model_of()
    text = card(replace(model, provenance=Step(verb="fit", method="probe", seconds=61, inputs=(model.provenance,))))
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    for part in (
        "# colours", "single-label image, 3 outputs: red, green, blue", "32 by 32 pixels, RGB", f"{parameters:,}",
        "apache-2.0", "accuracy (test): 0.9000 (95 % interval 0.8000 to 0.9500, n = 40)", "- fit probe",
        "  - transfer probe", 'tr.load("THIS_FOLDER").predict(["picture.jpg"])',
    ):  # fmt: skip
        assert part in text


def test_many_classes_are_cut(model_of):
    text = card(replace(model_of(), classes=tuple(f"class{n}" for n in range(50))))
    assert "class19 and 30 more" in text and "class20" not in text
