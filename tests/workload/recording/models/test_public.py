"""Public models have the parameters that their repositories publish."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from hardplace.workload.recording.huggingface import Options, step_of_config
from hardplace.workload.recording.models.public import PUBLIC
from hardplace.workload.recording.step import parameters_of


@pytest.mark.parametrize("name", list(PUBLIC))
def test_a_public_model_has_its_published_parameters(name):
    model = PUBLIC[name]
    step = step_of_config(model.config, name, name, Options())
    assert parameters_of(step.module) + model.buffers == model.parameters
