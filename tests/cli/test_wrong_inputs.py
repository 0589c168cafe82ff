"""Tests that each wrong input gets one line that says what is wrong, and exit code 2."""

import shlex

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.backend_free

# Errors before the import of Keras, which takes seconds.
QUICK = {
    "train --epochs 0": "Invalid value for '--epochs': 0 is not in the range x>=1",
    "train --epochs ten": "'ten' is not a valid integer",
    "train --epochs": "Option '--epochs' requires an argument",
    "train --learning-rate nan": "nan is not a finite number",
    "train --learning-rate -1": "-1.0 is not in the range x>0",
    "train --beta inf --model vae": "inf is not a finite number",
    "train --seed -1": "x>=0",
    "train --filters 8,0": "'8,0' is not positive integers with commas",
    "train --image-size 8": "'8' is not 2 positive integers with commas",
    "train --model gan": "'gan' is not one of",
    "train --model vea": "Did you mean 'vae'?",
    "train --codebook ema": "'ema' is not one of 'ema_codebook'",
    "train --nonsense": "No such option --nonsense.",
    "train extra": "Got unexpected extra argument (extra). All options: keras-vq train --help",
    "train --lr 3": "Did you mean '--learning-rate'? All options: keras-vq train --help",
    "train --bs=3": "Did you mean '--batch-size'?",
    "train --beta 2": "--beta requires --model vae",
    "train --model vae --codebook-size 8": "--model vqvae",
    "train --set model.beta=2": "--beta requires --model vae",
    "train --set epochs": "--set must be KEY=VALUE",
    "train --set epochs=2": "no section 'epochs'",
    "train --set data.limmit=2": "Did you mean 'data.limit'?",
    "train --set data.limit=many": "data.limit: 'many' is not a valid integer",
    "train --set data=5": "`data` must be a mapping",
    "train --set data.limit=[": "--set data.limit is not valid YAML",
    "train --config nowhere.yaml": "'nowhere.yaml' does not exist",
    "train --config a.png": "a.png must be UTF-8 text",
    "train --config list.yaml": "A configuration must be a mapping of sections",
    "train --dataset ./nowhere": "must be an existing folder. Received: ./nowhere",
    "train --dataset mine-missing/": "must be an existing folder",
    "train --dataset ~nobody-of-this-name": "must be an existing folder",
    "train --out a.png": "--out must be a folder. Received: the file a.png",
    "train --out full": "--out must be a new or empty folder",
    "train --resume": "--resume requires a run folder",
    "train --resume --out nowhere": "a folder with the config.yaml",
    "train --resume --out nowhere --seed 3": "Remove seed",
    "train --backend theano": "'theano' is not one of 'tensorflow', 'jax', 'torch'",
    "nonsense": "No such command 'nonsense'",
    "trian": "Did you mean 'train'? All options: keras-vq --help",
    "--nonsense": "No such option --nonsense. All options: keras-vq --help",
    "reconstruct nowhere a.png": "must be a run folder",
    "reconstruct vqvae_mnist": "Missing argument 'IMG...'",
    "reconstruct full a.png": "a folder without config.yaml",
    "reconstruct a.png a.png": "not a .keras file",
    "reconstruct vqvae_mnist nowhere.png": "IMG must be an existing file or folder",
    "reconstruct vqvae_mnist empty": "The folder must contain images",
    "reconstruct vqvae_mnist a.png --out a.txt": "--out must end in .png or .pdf or .svg",
    "compress full -o mine.zip": "must end in .kvq",
    "compress full -o no/mine.kvq": "folder of --out must exist",
    "compress full -o there.kvq": "already exists. Pass --overwrite",
    "compress none.png -o mine.kvq": "must be an existing file",
    "compress full -o mine.kvq --model none": "vqvae_cifar10",
    "compress full -o mine.kvq --prior none": ".keras file of a prior",
    "compress a -o b --skip-brocken": "Did you mean '--skip-broken'?",
    "decompress none.kvq": "must be an existing file",
    "decompress a.png": "must be a .kvq file",
    "export nowhere": "must be a run folder of keras-vq train, a .keras file",
    "export . --format h5": "'h5' is not one of",
    "export a --format onx": "Did you mean 'onnx'?",
    "verify nowhere": "must be an existing file or folder. Received: nowhere",
    "verify . --least-agreement 101": "101.0 is not in the range 0<=x<=100",
    "generate vae_mnist --out a.txt": "--out must end in .png",
    "generate vae_mnist --out no/a.png": "folder of --out must exist",
    "generate vqvae_mnist --prior none.keras": ".keras file of a prior",
    "prior vqvae_mnist --out prior.h5": "--out must end in .keras",
    "prior vqvae_mnist --type pixel_cnn": "Did you mean 'pixel_cnn_prior'?",
    "presets info": "Missing argument 'PRESET'. All options: keras-vq presets info --help",
    "presets info vqvae_mnst": "Did you mean 'vqvae_mnist'?",
    "presets info there.keras": "PRESET must be the name or folder of a preset.",
    "presets lst": "Did you mean 'list'? All options: keras-vq presets --help",
    "presets list --jsn": "Did you mean '--json'? All options: keras-vq presets list --help",
    "presets list extra": "Got unexpected extra argument",
    "runs list nowhere": "Directory 'nowhere' does not exist",
    "runs list a.png": "Directory 'a.png' is a file",
    "runs info": "Missing argument 'RUN'",
    "runs info empty": "Received: empty, which has no config.yaml",
    "runs compare empty": "Two different runs or more are required",
    "runs compare empty ./empty": "Two different runs or more are required",
    "runs compare empty full": "which has no config.yaml",
    "runs compare empty full --out a.txt": "--out must end in .png",
    "runs compare empty full --out no/a.png": "folder of --out must exist",
    "runs compae": "Did you mean 'compare'?",
    "convert": "Missing argument 'SOURCE'",
    "convert vqvae_mnist": "Missing option '-o' / '--out'",
    "convert nowhere.safetensors --out a": "(no such file or folder)",
    "convert vqvae_mnst --out a": "Did you mean 'vqvae_mnist'?",
    "convert vqvae_mnist --out a --format diffuser": "Did you mean 'diffusers'?",
    "convert vqvae_mnist --out full": "already exists. Pass --overwrite",
    "convert vqvae_mnist --out full --overwrite": "a folder with preset.json to replace",
    "convert vqvae_mnist --out full --overwrite --format diffusers": "with config.json to replace",
    "convert vqvae_mnist --out no/a.keras": "folder of --out must exist",
    "convert vqvae_mnist --out folder.keras --overwrite": "must be a file. Received: the folder",
    "convert vqvae_mnist --out a.txt": "must be a folder or a .keras file",
    "convert vqvae_mnist --out a --config nowhere": "'nowhere' does not exist",
    "convert vqvae_mnist --out a --input-shape 8,x": "'8,x' is not positive integers",
    "inspect vqvae_mnist --config a.txt": "--config requires a model of another library",
    "inspect vqvae_mnist --input-shape 8,8,1": "--input-shape requires a model of another",
    "inspect full": "must be a run folder of keras-vq train, a .keras file",
    "serve a --prot 80": "Did you mean '--port'? All options: keras-vq serve --help",
}
SLOW = {
    # Only classes and network builders, not functions that read files or create any object.
    "train --set quantizer.codebook.type=load_model": "`quantizer.codebook.type` must be the name",
    "train --set quantizer.commitment_loss.type=deserialize": "Received: 'deserialize'",
    "evaluate vqvae_mnist": "Pass images with --images IMG or --dataset NAME",
    "evaluate vqvae_mnist --images none.png": "must be an existing file",
    "generate vqvae_mnist": "has no prior",
    "generate vae_mnist --top-k 3 --out b.png": "--top-k is not supported",
    "prior vae_mnist --type masked_prior --images a.png": "requires a model with codes",
    "prior vqvae_mnist --type gaussian_mixture_prior --images a.png": "a model with latents",
    "prior vqvae_mnist --set dropout=2 --images a.png": "prior: `dropout`",
    "prior vqvae_mnist --labels --images a.png": "requires a data set with labels",
    "reconstruct vqvae_mnist a.txt": "could not be read",
    "decompress cut.kvq": "The format version must be",
}


@pytest.fixture
def folder(tmp_path):
    for name in ("full", "empty", "folder.keras"):
        (tmp_path / name).mkdir()
    for name in ("a.png", "full/a.png"):
        Image.fromarray(np.full((28, 28), 200, "uint8")).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("no image")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "there.kvq").write_bytes(b"KVQ")
    (tmp_path / "there.keras").touch()
    (tmp_path / "cut.kvq").write_bytes(b"KVQ" + bytes(20))
    return tmp_path


@pytest.mark.parametrize("command", [*QUICK, *SLOW])
def test_a_wrong_input_is_answered_in_one_line(run, folder, monkeypatch, command):
    if command in QUICK:
        monkeypatch.setattr("keras_vq_cli.backend.import_keras", None)
    before = sorted(folder.rglob("*"))
    result = run(*shlex.split(command))
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert (QUICK | SLOW)[command] in result.err
    assert sorted(folder.rglob("*")) == before
