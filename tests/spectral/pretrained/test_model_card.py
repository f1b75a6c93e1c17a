"""The model card of a saved module, and the spectra that it shows."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

import spectral
from spectral import SVD, SpectralGRU, SpectralLinear, SpectralLSTM, SpectralRNN
from spectral.pretrained.spectrum import MatrixSpectrum, common_range, counts, spectra, text_histogram
from tests.spectral.agreement import draw, generator


def build(cls, *sizes, seed=0, **options):
    module = cls(*sizes, generator=generator(seed), **{"reflectors": 2, "margin": 0.3, **options})
    with torch.no_grad():
        for parameter in module.singular_parameters():
            parameter += draw(*parameter.shape, seed=seed)
    return module


def card(module, folder):
    module.save_pretrained(folder)
    return (folder / "README.md").read_text()


def test_the_examples_of_the_library_s_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (Path(spectral.__file__).parent / "README.md").read_text()
    names = {}
    for example in re.findall(r"```python\n(.*?)```", text.partition("## Save, load and share")[2], flags=re.DOTALL):
        exec(example, names)
    assert torch.equal(names["also"].weight_ih_l0, names["rnn"].weight_ih_l0)
    assert names["also"].slots == names["same"].slots == names["rnn"].slots
    assert set(names["entries"]) == {"parametrizations.weight.original", "parametrizations.weight.0.base"}


@pytest.fixture
def no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in [name for name in sys.modules if name.startswith("matplotlib.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "spectral.pretrained.spectrum_plot", raising=False)


def test_the_card_says_what_the_module_is_and_how_to_load_it(tmp_path):
    module = build(SpectralRNN, 3, 6, nonlinearity="relu")
    text = card(module, tmp_path)
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["library_name"] == "spectral-rnn-service"
    assert "recurrent-neural-network" in front["tags"]
    assert "# SpectralRNN\n" in text
    assert "| `nonlinearity` | `'relu'` |" in text
    assert "| `reflectors` | `(2, 2)` |" in text
    assert "stay between 0.7 and 1.3" in text
    assert f"| **all** | **{sum(p.numel() for p in module.parameters())}** |" in text
    assert f"Of these, {module.free_parameters()} are free" in text
    (snippet,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names = {}
    exec(snippet.replace("path/to/this/folder", str(tmp_path)), names)
    assert isinstance(names["module"], SpectralRNN)
    assert max(map(len, text.splitlines())) < 130


def test_the_card_has_a_picture(tmp_path):
    text = card(build(SpectralLSTM, 3, 6), tmp_path)
    (name,) = re.findall(r"!\[[^]]*\]\((.*?)\)", text)
    picture = (tmp_path / name).read_bytes()
    assert picture.startswith(b"\x89PNG")
    card(build(SpectralLSTM, 3, 6), tmp_path)
    assert (tmp_path / name).read_bytes() == picture  # the same module gives the same file
    card(build(SpectralLSTM, 3, 6, seed=1), tmp_path)
    assert (tmp_path / name).read_bytes() != picture


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_the_card_has_a_histogram_of_text(tmp_path):
    (tmp_path / "spectrum.png").write_bytes(b"of an earlier save")
    text = card(build(SVD, 5, 3), tmp_path)
    assert "spectrum.png" not in text
    assert not (tmp_path / "spectrum.png").exists()
    (histogram,) = re.findall(r"```text\n(.*?)\n```", text, flags=re.DOTALL)
    assert histogram == text_histogram(spectra(build(SVD, 5, 3)), most=24)


def test_a_card_that_somebody_wrote_is_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("my own words")
    build(SVD, 5, 3).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "my own words"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_a_card_of_an_earlier_save_is_written_anew_and_can_be_left_out(tmp_path):
    card(build(SVD, 5, 3), tmp_path)
    assert "`rows` | `6`" in card(build(SVD, 6, 3), tmp_path)
    build(SVD, 5, 3).save_pretrained(tmp_path / "other", card=False)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (build(SVD, 5, 3, spectrum="fixed"), "All singular values are 1: up to that factor"),
        (build(SVD, 5, 3, spectrum="penalty", sigma=0.5), "Nothing bounds the singular values; .* towards 0.5"),
        (SVD.pack([build(SVD, 5, 3), build(SVD, 5, 3, margin=0.1)]), "Each trial .* band of its own"),
        (SpectralRNN.pack([build(SpectralRNN, 3, 6), build(SpectralRNN, 3, 6)]), "Each trial has fewer .*, 52 / 52:"),
        (build(SpectralLinear, 3, 5), "a linear layer like `torch.nn.Linear`"),
    ],
)
def test_the_card_fits_the_module(module, sentence, tmp_path):
    assert re.search(sentence, card(module, tmp_path))


def test_a_module_that_has_diverged_is_saved_too(tmp_path):
    module = build(SVD, 5, 3, spectrum="penalty")
    with torch.no_grad():
        module.singular[0], module.singular[1] = float("nan"), float("inf")
    found = spectra(module)[0]
    assert (len(found.values), found.lost) == (1, 2)
    assert found.summary.endswith("2 not finite")
    with torch.no_grad():
        module.singular.fill_(float("nan"))
    card(module, tmp_path)
    assert text_histogram(spectra(module), most=1).endswith("no finite value, 3 not finite")
    assert SVD.from_pretrained(tmp_path).singular.isnan().all()


def test_only_the_first_matrices_of_many_are_shown(tmp_path):
    text = card(build(SpectralGRU, 3, 4, 9), tmp_path)
    assert "The first 24 of 27 matrices are shown." in text


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("cls", "gates"), [(SpectralRNN, 1), (SpectralGRU, 3), (SpectralLSTM, 4)])
def test_names_belong_to_their_matrices(cls, gates, directions):
    module = build(cls, 3, 6, 2, bidirectional=directions == 2, dtype=torch.float64)
    pack = cls.pack([module, build(cls, 3, 6, 2, seed=9, bidirectional=directions == 2, dtype=torch.float64)])
    named = {one.name: one.values for one in spectra(module)}
    packed = {one.name: one.values for one in spectra(pack)}
    assert len(named) == 2 * directions * gates
    words = {1: [""], 3: [", reset gate", ", update gate", ", new gate"]}.get(gates) or [
        *(", input gate", ", forget gate", ", cell gate", ", output gate")
    ]
    for layer in range(2):
        for reverse in (False, True)[:directions]:
            blocks = module.dense(layer, reverse=reverse).chunk(gates)
            for word, block in zip(words, blocks, strict=True):
                name = f"layer {layer}{', backward' * reverse}{word}"
                expected = torch.linalg.svdvals(block).sort()[0]
                assert torch.allclose(torch.tensor(named[name], dtype=torch.float64), expected)
                assert packed[f"trial 0, {name}"] == named[name]


def test_counts_and_ranges():
    assert counts([0.0, 0.1, 0.5, 1.0], 0.0, 1.0, 4) == [2, 0, 1, 1]
    assert counts([], 0.0, 1.0, 3) == [0, 0, 0]
    one = MatrixSpectrum("W", (0.9, 1.0), 0, 1.0, 0.25)
    assert common_range([one]) == (0.75, 1.25)
    assert common_range([one, MatrixSpectrum("V", (0.1, 2.0), 0, 1.0, None)]) == (0.1, 2.0)
    low, high = common_range([MatrixSpectrum("W", (1.0,), 0, 1.0, 0.0)])
    assert low < 1 < high
    assert MatrixSpectrum("W", (1.0, 1.0), 0, 1.0, 0.0).summary == "all 1"


def test_a_histogram_of_text():
    found = [MatrixSpectrum("layer 0", (0.9,) * 7 + (1.1,), 0, 1.0, 0.1), MatrixSpectrum("W", (1.0,), 0, 1.0, 0.1)]
    head, first, second = text_histogram(found, most=5).splitlines()
    assert head.split() == ["0.9", "1.1"]
    assert first == f"layer 0 |█{' ' * 31}▂| 0.9 to 1.1"
    assert second == f"W       |{' ' * 16}█{' ' * 16}| all 1"
    assert text_histogram(found, most=1).splitlines() == [head, first]


def test_the_function_that_takes_the_class_from_the_folder(tmp_path):
    build(SpectralLinear, 3, 5).save_pretrained(tmp_path)
    assert isinstance(spectral.from_pretrained(tmp_path), SpectralLinear)
