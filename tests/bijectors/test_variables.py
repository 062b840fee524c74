"""Modules, checkpoints and exports see the weights of a bijector's layer."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from support.closed_form_layers import X, affine, closed_form, flow, standard_normal, update

from tf_iresnet.bijectors import InvertibleBijector

tfb, tfd = tfp.bijectors, tfp.distributions


class Holder(tf.Module):
    """A user's module with a distribution in it."""

    def __init__(self, child):
        super().__init__()
        self.child = child

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float64)])
    def log_prob(self, x):
        return self.child.log_prob(x)


PARENTS = {
    "bijector": lambda bijector: bijector,
    "Invert": tfb.Invert,
    "Chain": lambda bijector: tfb.Chain([tfb.Identity(), tfb.Invert(bijector)]),
    "TransformedDistribution": lambda bijector: bijector(standard_normal()),
    "Sample": lambda bijector: tfd.Sample(tfb.Invert(bijector)(standard_normal()), 3),
    "Independent of Chain": lambda bijector: tfd.Independent(
        tfb.Chain([tfb.Invert(bijector), tfb.Identity()])(standard_normal()), 0
    ),
    "module": lambda bijector: Holder(tfb.Invert(bijector)(standard_normal())),
}


@pytest.mark.parametrize("parent", PARENTS)
def test_every_parent_sees_the_variables_as_they_are_now(parent):
    layer = affine()
    module = PARENTS[parent](InvertibleBijector(layer))

    def ids(variables):
        return sorted(id(variable) for variable in variables)

    weights = ids(variable._value for variable in layer.variables)
    assert ids(module.variables) == ids(module.trainable_variables) == weights
    layer.trainable = False
    assert module.trainable_variables == ()
    assert ids(module.variables) == ids(module.non_trainable_variables) == weights
    layer.trainable = True
    layer._tracker.unlock()
    layer.add_weight(shape=(), name="late", trainable=False)
    assert len(module.variables) == 3 and len(module.trainable_variables) == 2


def test_a_checkpoint_saves_each_weight_once_and_restores_it(tmp_path):
    layer = affine()
    update(layer)
    saved = tf.train.Checkpoint(distribution=flow(layer)).write(str(tmp_path / "saved"))
    entries = [name for name, _ in tf.train.list_variables(saved) if "OBJECT_GRAPH" not in name]
    assert len(entries) == 2
    other = affine()
    tf.train.Checkpoint(distribution=flow(other)).read(saved).assert_consumed()
    np.testing.assert_array_equal(other.matrix.numpy(), layer.matrix.numpy())


def test_a_module_with_a_distribution_exports_and_computes_the_same(tmp_path):
    layer = affine()
    tf.saved_model.save(Holder(flow(layer)), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.log_prob(tf.constant(X)), closed_form(layer, X), rtol=1e-12)
