"""TFP's flows as layers: bijections whose log-determinant is the Jacobian's, trained or not."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from comparisons import tfp_flows
from tf_iresnet.models.flow import ResidualFlow

SIZE = 6


def trained(name):
    """A small flow after a few steps of what trains ours: Adam with decay, averaged weights."""
    layer = tfp_flows.LAYERS[name](num_layers=3, hidden_units=(16, 16), seed=1)
    flow = ResidualFlow([layer])
    flow.build((None, SIZE))
    optimizer = keras.optimizers.AdamW(
        3e-2, weight_decay=0.1, global_clipnorm=1.0, use_ema=True, ema_momentum=0.9
    )
    flow.compile(optimizer)
    random = np.random.default_rng(0)
    flow.fit(random.gumbel(size=(256, SIZE)).astype("float32"), epochs=5, verbose=0)
    flow.optimizer.finalize_variable_values(flow.trainable_variables)
    return layer, random.normal(size=(5, SIZE)).astype("float32")


@pytest.mark.parametrize("name", tfp_flows.LAYERS)
def test_log_det_is_the_jacobians_and_the_inverse_undoes_the_layer(name):
    layer, x = trained(name)
    x = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z, log_det = tf.function(layer.forward_with_log_det)(x)
    jacobian = tape.batch_jacobian(z, x, experimental_use_pfor=False)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-4)
    assert np.std(log_det) > 1e-2, "training moved it"
    np.testing.assert_allclose(tf.function(layer.inverse)(z), x, atol=1e-4)


def test_a_masked_network_stays_masked_whatever_moves_its_weights():
    layer = tfp_flows.MAF(num_layers=1, hidden_units=(16, 16), seed=0)
    layer.build((None, SIZE))
    random = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    x = tf.constant(random.normal(size=(1, SIZE)).astype("float32"))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z = tf.function(layer.call)(x)
    jacobian = tape.batch_jacobian(z, x, experimental_use_pfor=False)[0].numpy()
    assert np.all(np.triu(jacobian, 1) == 0)
    assert np.count_nonzero(np.tril(jacobian, -1)) > SIZE


def test_masked_entries_are_no_parameters():
    """A MADE of 2 entries: the second one's outputs depend on the first entry, the first's on none.

    With one hidden unit, whose degree is 1: of 2 + 4 entries of its kernels 1 + 2 are free.
    """
    layer = tfp_flows.MAF(num_layers=1, hidden_units=(1,), seed=0)
    layer.build((None, 2))
    assert layer.masked == 3


@pytest.mark.parametrize("name", tfp_flows.LAYERS)
def test_the_untrained_flow_only_permutes(name):
    layer = tfp_flows.LAYERS[name](num_layers=3, hidden_units=(8,), seed=0)
    x = np.random.default_rng(0).normal(size=(3, SIZE)).astype("float32")
    z, log_det = layer.forward_with_log_det(x)
    np.testing.assert_array_equal(np.sort(z), np.sort(x))
    np.testing.assert_array_equal(log_det, 0)


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"Expected vectors.*Reshape"):
        tfp_flows.MAF(num_layers=1, hidden_units=(8,)).build((None, 2, 2, 1))
