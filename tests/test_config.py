"""A configuration is checked key by key, and the error names the key and the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.config_file import CONFIGS, load_config
from jobs.errors import UserError


def test_the_real_run_has_the_hyperparameters_that_the_project_began_from() -> None:
    config = load_config(CONFIGS / "qwen2.5-3b.yaml")
    train = config.train
    assert config.base.model == "Qwen/Qwen2.5-3B-Instruct"
    assert config.dataset.arc == "allenai/ai2_arc"
    assert (train.learning_rate, train.batch_size, train.epochs, train.weight_decay) == (5e-5, 4, 3, 0.01)
    assert config.dataset.max_length == 512


def test_the_two_sizes_have_the_same_keys_but_for_the_base_that_is_trained() -> None:
    tiny, real = load_config(CONFIGS / "tiny.yaml"), load_config(CONFIGS / "qwen2.5-3b.yaml")
    assert tiny.base.pretrain is not None
    assert real.base.pretrain is None
    assert tiny.train.lora.target_modules == real.train.lora.target_modules


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.learning_rate=1e-4", 1e-4),
        ("train.lora.r=8", 8),
        ("train.checkpoints_to=", ""),
        ("documents.paths=[a, b]", ("a", "b")),
    ],
)
def test_any_value_can_be_set_on_the_command_line(override: str, value: object) -> None:
    config: object = load_config(CONFIGS / "tiny.yaml", [override])
    for part in override.partition("=")[0].split("."):
        config = getattr(config, part)
    assert config == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("train.learning_rat=1", "unknown key 'train.learning_rat'; did you mean 'learning_rate'?"),
        ("trian.epochs=1", "unknown key 'trian'; did you mean 'train'?"),
        ("train.epochs=many", "key 'train.epochs'"),
        ("train.quantize=3bit", "key 'train.quantize'"),
        ("base.pretrain.layer=3", "did you mean 'layers'?"),
        ("train.lora.zzz=1", "known here: r, alpha, dropout, target_modules"),
        ("name=../x", "key 'name'"),
        ("publish.name=../x y", "key 'publish.name'"),
        ("publish.namespace=a/b", "key 'publish.namespace'"),
        ("train.epochs=true", "key 'train.epochs': a value was expected, not yes or no"),
        ("train.batch_size=four", "key 'train.batch_size': a whole number was expected, not text"),
        ("train.scheduler=bogus", "key 'train.scheduler'"),
        ("train.epochs=.inf", "key 'train.epochs'"),
        ("train.learning_rate=inf", "key 'train.learning_rate'"),
        ("train.max_steps=0", "no step would be trained"),
        ("train.max_steps=-5", "key 'train.max_steps'"),
        ("train.checkpoints_to=foo", "'foo' is no repository's name: OWNER/NAME"),
        ("train={report_to: none, trackio_space: a/b}", "it needs report_to: trackio"),
        ("export.types=[q3]", "key 'export.types.0'"),
        ("export.types=[]", "key 'export.types'"),
        ("dataset.fractions=[0.1,0.6,0.7]", "fractions [0.1, 0.6, 0.7] add up to 1.4, not 1"),
        ("documents.passage_min_chars=5000", "passage_min_chars 5000 is over the maximum 1200"),
        ("base.pretrain.wordings=''", "facts and wordings go together"),
        ("train.epochs", "expected section.key=value"),
        ("seed.x=1", "'seed' is not a section"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(override: str, words: str) -> None:
    with pytest.raises(UserError) as fault:
        load_config(CONFIGS / "tiny.yaml", [override])
    assert words in str(fault.value)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("text", ["train: [", "- a\n- b\n", "name: x\n  y: z"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"broken\.yaml"):
        load_config(path)


def test_a_missing_file_lists_the_ones_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"jobs/configs/tiny\.yaml"):
        load_config(tmp_path / "no.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("documents.licences=[CC-BY-NC]", "key 'documents.licences': 'CC-BY-NC' is no name of SPDX's; the nearest are"),
        ("documents.languages=[en, xx]", "key 'documents.languages': 'xx' is no language that can be told"),
        ("documents.contact=nomail", "key 'documents.contact': 'nomail' is no e-mail address"),
    ],
)
def test_names_of_documents_that_nobody_knows(override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_config(CONFIGS / "tiny.yaml", [override])
