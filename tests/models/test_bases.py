"""Bases of a flow: by name, as objects, from TFP and of one's own."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

import tf_iresnet as tfi
from tf_iresnet import bases
from tf_iresnet.layers import Inverse, Logit, Rescale
from tf_iresnet.numerics.probes import student_t

tfd, tfb = tfp.distributions, tfp.bijectors
RNG = np.random.default_rng(0)
LOC, SCALE = np.array([1.0, -2.0]), np.array([0.5, 3.0])
CONDITION = RNG.normal(size=(7, 3))


def built(base):
    base.build((None, 2))
    return base


def student(dtype, df=3.0):
    base = built(bases.StudentT(df, learned=True, dtype=dtype))
    base.loc.assign(LOC)
    base.log_scale.assign(np.log(SCALE))
    return base


def conditional(dtype):
    base = built(bases.ConditionalNormal(3, dtype=dtype))
    base.head.kernel.assign(0.2 * np.random.default_rng(1).normal(size=base.head.kernel.shape))
    return base


WEIGHTS, MEANS = [0.7, 0.3], [[0.0, 1.0], [4.0, -2.0]]
COVARIANCES = [[[1.0, 0.8], [0.8, 2.0]], [[0.3, -0.2], [-0.2, 0.5]]]


def full_mixture(dtype):
    base = built(bases.FullMixture(2, dtype=dtype))
    base.set_mixture(WEIGHTS, MEANS, COVARIANCES)
    return base


# -- densities and samples --------------------------------------------------------------------


@pytest.mark.parametrize("df", [0.6, 1.0, 3.0, 30.0, 1e4])
def test_the_density_of_student_t_is_scipys(df, dtype):
    z = RNG.standard_t(1.0, size=(50, 2)).clip(-1e4, 1e4)
    found = student(dtype, df).log_prob(tf.constant(z, dtype))
    expected = scipy.stats.t(df, LOC, SCALE).logpdf(z).sum(axis=1)
    tolerance = {"float32": 3e-4, "float64": 1e-9}[dtype]
    np.testing.assert_allclose(found, expected, rtol=tolerance / 10, atol=tolerance)


@pytest.mark.parametrize("make", [student, conditional, full_mixture])
def test_densities_in_every_mode_and_their_gradients(make, dtype, mode, run_in_mode):
    base, z = make(dtype), tf.constant(RNG.normal(size=(7, 2)), dtype)
    arguments = base.arguments(CONDITION)
    weights = base.trainable_variables

    def value_and_gradients():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(base.log_prob(z, *arguments))
        return total, tape.gradient(total, [w.value for w in weights])

    value, gradients = run_in_mode(value_and_gradients, mode)()
    np.testing.assert_allclose(value, np.sum(base.distribution(*arguments).log_prob(z)), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in gradients)
    if dtype == "float64":
        for weight, gradient in zip(weights, gradients, strict=True):
            before = weight.numpy()
            direction = RNG.normal(size=before.shape)
            sides = []
            for step in (1e-5, -1e-5):
                weight.assign(before + step * direction)
                sides.append(np.sum(base.log_prob(z, *arguments)))
            weight.assign(before)
            expected = (sides[0] - sides[1]) / 2e-5
            assert np.sum(gradient * direction) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_the_density_of_a_full_mixture_is_scipys(dtype):
    z = RNG.normal(size=(50, 2)) * 3
    parts = zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    expected = sum(w * scipy.stats.multivariate_normal(m, c).pdf(z) for w, m, c in parts)
    found = full_mixture(dtype).log_prob(tf.constant(z, dtype))
    tolerance = {"float32": 1e-4, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(found, np.log(expected), rtol=tolerance, atol=tolerance)


def test_samples_of_a_full_mixture_have_its_moments(mode, run_in_mode):
    """Each within 4 standard errors; temperature 0 leaves the means alone."""
    base, seed, n = full_mixture("float32"), tf.constant([0, 7]), 40_000
    z = run_in_mode(lambda: base.sample(n, seed), mode)().numpy()
    near = np.linalg.norm(z - MEANS[1], axis=1) < np.linalg.norm(z - MEANS[0], axis=1)
    assert abs(near.mean() - 0.3) < 0.02
    expected = np.average(MEANS, axis=0, weights=WEIGHTS)
    second = sum(
        w * (np.array(c) + np.outer(m, m))
        for w, m, c in zip(WEIGHTS, MEANS, COVARIANCES, strict=True)
    )
    assert np.all(np.abs(z.mean(axis=0) - expected) < 4 * z.std(axis=0) / np.sqrt(n))
    products = z[:, :, None] * z[:, None, :]
    error = products.std(axis=0) / np.sqrt(n)
    assert np.all(np.abs(products.mean(axis=0) - second) < 4 * error)
    assert len(np.unique(base.sample(100, seed, 0.0), axis=0)) == 2


@pytest.mark.parametrize("df", [0.6, 1.0, 2.5, 8.0, 1e5])
def test_student_t_samples_pass_kolmogorov_and_smirnov(df):
    """At 0.1 % each; by Bonferroni at .5 % together."""
    drawn = student_t([20_000], tf.constant([0, 5]), tf.constant(df)).numpy().astype("float64")
    assert np.isfinite(drawn).all()
    assert scipy.stats.kstest(drawn, scipy.stats.t(df).cdf).pvalue > 1e-3


def test_samples_are_those_of_the_density(mode, run_in_mode):
    """Each entry by Kolmogorov and Smirnov at 0.1 %; the same in every mode to rounding."""
    cases = [
        (student("float32"), lambda i: scipy.stats.t(3.0, LOC[i], SCALE[i])),
        (built(bases.Uniform(-1.0, 3.0)), lambda i: scipy.stats.uniform(-1.0, 4.0)),
    ]
    for base, marginal in cases:
        sample = run_in_mode(lambda base=base: base.sample(5000, tf.constant([1, 2]), 1.0), mode)
        z = sample().numpy()
        np.testing.assert_allclose(z, base.sample(5000, tf.constant([1, 2])), rtol=1e-3, atol=1e-5)
        for i in range(2):
            assert scipy.stats.kstest(z[:, i].astype("float64"), marginal(i).cdf).pvalue > 1e-3
        assert abs(scipy.stats.spearmanr(z).statistic) < 4 / np.sqrt(5000)


@pytest.mark.parametrize(
    "base",
    [
        bases.DiagonalNormal(True), bases.StudentT(3.0, True), bases.NormalMixture(3),
        bases.FullMixture(3), bases.ClassNormal(3), bases.Uniform(),
    ],
    ids=lambda base: type(base).__name__,
)  # fmt: skip
def test_samples_of_one_entry_pass_kolmogorov_and_smirnov(base):
    """There what is drawn for an entry and for its component can't be told apart by its place."""
    base.build((None, 1))
    random = np.random.default_rng(0)
    for weight in base.trainable_weights:
        weight.assign_add(random.normal(size=weight.shape))
    samples = np.asarray(base.sample(20_000, tf.constant([0, 3])))[:, 0]
    low, middle, high = np.quantile(samples, [0.25, 0.5, 0.75])
    grid = middle + (high - low) * np.sinh(np.linspace(-12, 12, 200_001))
    density = np.exp(base.log_prob(tf.constant(grid[:, None], tf.float32)))
    masses = np.diff(grid) * (density[1:] + density[:-1]) / 2
    assert masses.sum() == pytest.approx(1, abs=1e-3)
    uniform = np.interp(samples, grid, np.concatenate([[0], np.cumsum(masses)]))
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_the_uniform_density_is_minus_infinity_outside_with_gradients_of_0():
    base, z = built(bases.Uniform()), tf.constant([[0.2, -0.5], [0.3, 0.6]])
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = base.log_prob(z)
    np.testing.assert_array_equal(value, [0.0, -np.inf])
    np.testing.assert_array_equal(tape.gradient(value, z), np.zeros((2, 2)))


def test_a_uniform_base_is_for_a_network_with_bounded_outputs():
    """Behind a sigmoid the data are logistic; and training is finite."""
    flow = tfi.ResidualFlow([Inverse(Logit(0.0)), Rescale(1.0, -0.5)], base="uniform")
    x = RNG.logistic(size=(20, 2)).astype("float32")
    expected = scipy.stats.logistic.logpdf(x).sum(axis=1)
    np.testing.assert_allclose(flow(x), expected, rtol=1e-4)


def test_a_conditional_base_follows_its_condition(dtype):
    base = conditional(dtype)
    condition = tf.constant([[1.0, -1.0, 2.0]], dtype)
    loc, scale = (np.asarray(m)[0] for m in base.moments(condition))
    rows = tf.repeat(condition, 5000, axis=0)
    z = base.sample(5000, tf.constant([0, 1]), 1.0, rows).numpy()
    assert np.abs(loc).max() > 0.1
    for i in range(2):
        assert scipy.stats.kstest(z[:, i], scipy.stats.norm(loc[i], scale[i]).cdf).pvalue > 1e-3
    np.testing.assert_allclose(
        base.sample(5000, tf.constant([0, 1]), 0.5, rows), loc + (z - loc) / 2, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize(
    "base,center",
    [
        (lambda: student("float32"), LOC),
        (lambda: built(bases.Uniform(0.0, 3.0)), [1.5, 1.5]),
        (lambda: built(bases.DistributionBase(correlated())), LOC),
    ],
)
def test_temperature_scales_the_distance_from_the_centre(base, center):
    base, seed = base(), tf.constant([0, 4])
    whole, half = base.sample(6, seed), base.sample(6, seed, tf.constant(0.5))
    np.testing.assert_allclose(half - center, (whole - center) / 2, rtol=1e-4, atol=1e-4)


def test_a_base_without_a_mean_refuses_another_temperature():
    flow = tfi.ResidualFlow([Rescale(2.0)], base=tfd.Sample(tfd.Cauchy(0.0, 1.0), 2))
    flow.build((None, 2))
    assert flow.sample(3, seed=1).shape == (3, 2)
    with pytest.raises(ValueError, match="temperature=1 of a base without a mean"):
        flow.sample(3, seed=1, temperature=0.5)


# -- in a flow ------------------------------------------------------------------------------------


def correlated():
    factor = tfp.util.TransformedVariable([[1.0, 0.0], [0.5, 1.0]], tfb.FillScaleTriL())
    return tfd.MultivariateNormalTriL(tf.Variable(LOC.astype("float32"), name="loc"), factor)


def sample_of_t():
    df = tfp.util.TransformedVariable(5.0, tfb.Softplus())
    return tfd.Sample(tfd.StudentT(df, 0.0, np.float32(2.0)), 2)


def two_modes():
    modes = tfd.MultivariateNormalDiag(tf.Variable([[0.0, 1.0], [2.0, 2.0]]))
    return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.Variable([0.0, 0.5])), modes)


def shifted():
    bijector = tfb.Chain([tfb.Shift(tf.Variable([1.0, 2.0])), tfb.Scale([2.0, 3.0])])
    return tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 2), bijector)


@keras.saving.register_keras_serializable("test_bases")
class Correlated(bases.Base):
    """A base of one's own: `distribution()` alone."""

    def __init__(self, start: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.start = start

    def build(self, input_shape):
        super().build(input_shape)
        size = self.event_shape[0]
        self.factor = self.add_weight(name="factor", shape=(size, size), initializer="identity")
        self.factor.assign(self.start * self.factor)

    def distribution(self):
        lower = tfp.util.DeferredTensor(
            self.factor._value, lambda factor: tf.linalg.band_part(factor, -1, 0)
        )
        return tfd.MultivariateNormalTriL(scale_tril=lower)


# A base, and how many of its variables training moves.
BASES = {
    "student_t": (lambda: "student_t", 0),
    "learned_student_t": (lambda: "learned_student_t", 3),
    "mixture": (lambda: "mixture", 3),
    "three normals": (lambda: {"name": "mixture", "components": 3}, 3),
    "full_mixture": (lambda: {"name": "full_mixture", "components": 3}, 4),
    "conditional": (lambda: bases.ConditionalNormal(3), 4),
    "fixed by TFP": (lambda: tfd.MultivariateNormalDiag(np.ones(2, "float32")), 0),
    "MultivariateNormalTriL": (correlated, 2),
    "Sample": (sample_of_t, 1),
    "MixtureSameFamily": (two_modes, 2),
    "TransformedDistribution": (shifted, 1),
    "one's own": (lambda: Correlated(2.0), 1),
}


FAST = ("full_mixture", "learned_student_t", "conditional", "Sample", "one's own")
NAMED = [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in BASES]


@pytest.mark.parametrize("name", NAMED)
def test_a_flow_with_any_base_trains_saves_and_loads(name, tmp_path):
    make, count = BASES[name]
    flow = tfi.ResidualFlow([Rescale(2.0)], base=make())
    flow.build((None, 2))
    x = RNG.normal(size=(16, 2)).astype("float32")
    condition = RNG.normal(size=(16, 3)).astype("float32") if flow.condition_size else None
    before = [weight.numpy() for weight in flow.base.trainable_variables]
    if count:
        flow.compile(optimizer=keras.optimizers.Adam(0.1))
        flow.fit(x, condition, epochs=2, verbose=0)
    weights = flow.base.trainable_variables
    assert len(weights) == count == len(flow.trainable_variables)
    assert all(np.any(a != w.numpy()) for a, w in zip(before, weights, strict=True))

    log_prob = flow.log_prob(x, condition)
    distribution = flow.distribution(condition)
    np.testing.assert_allclose(distribution.log_prob(x), log_prob, rtol=1e-5, atol=1e-5)
    assert len(distribution.trainable_variables) == count
    options = {"condition": condition, "seed": 3, "temperature": 0.7}
    samples = flow.sample(16, **options)
    assert np.isfinite(samples).all()

    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    assert loaded.base.describe() == flow.base.describe()
    np.testing.assert_allclose(loaded.log_prob(x, condition), log_prob, rtol=1e-6)
    np.testing.assert_allclose(loaded.sample(16, **options), samples, rtol=1e-4, atol=1e-5)
    copy = tfi.ResidualFlow.from_config(flow.get_config())
    copy.build((None, 2))
    for weight in copy.base.weights:
        weight.assign(0.9 * weight + 0.01)
    saved = tf.train.Checkpoint(base=flow.base).write(str(tmp_path / "base"))
    tf.train.Checkpoint(base=copy.base).read(saved).assert_existing_objects_matched()
    np.testing.assert_allclose(copy.log_prob(x, condition), log_prob, rtol=1e-6)


def test_the_condition_is_shared_by_layers_and_base():
    flow = tfi.mlp_flow(2, 1, (4,), condition_size=3, base=bases.ConditionalNormal(3), seed=0)
    x, condition = RNG.normal(size=(5, 2)).astype("float32"), CONDITION[:5].astype("float32")
    expected = flow.distribution(condition).log_prob(x)
    np.testing.assert_allclose(flow.log_prob(x, condition), expected, rtol=1e-5)
    z, log_det = flow.layer.forward_with_log_det(x, condition)
    expected = log_det + flow.base.log_prob(z, tf.constant(condition))
    np.testing.assert_allclose(flow.log_prob(x, condition), expected, rtol=1e-5)
    only = tfi.ResidualFlow([Rescale(2.0)], base=bases.ConditionalNormal(3))
    only.build((None, 2))
    assert only.condition_size == 3
    assert only.sample(4, condition[0]).shape == (4, 2)
    np.testing.assert_allclose(only.decode(only.encode(x, condition), condition), x, atol=1e-4)
    with pytest.raises(ValueError, match=r"\[5, 3\].*None"):
        only.log_prob(x)
    with pytest.raises(ValueError, match=r"\[5, 3\].*shape=\(5, 2\)"):
        only.log_prob(x, x)


def test_a_flow_with_student_t_compiles(run_in_mode):
    flow = tfi.ResidualFlow([Rescale(2.0)], base="learned_student_t")
    flow.compile(optimizer="adam", jit_compile=True)
    x = RNG.normal(size=(16, 2)).astype("float32")
    assert np.isfinite(flow.fit(x, verbose=0).history["loss"]).all()
    samples = run_in_mode(lambda: flow.sample(5, seed=1), "xla")()
    np.testing.assert_allclose(samples, flow.sample(5, seed=1), rtol=1e-4)


def test_a_function_in_a_distribution_is_refused_when_it_is_saved(tmp_path):
    bijector = tfb.Inline(tf.identity, tf.identity, lambda x: 0.0, forward_min_event_ndims=0)
    base = tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), 2), bijector)
    flow = tfi.ResidualFlow([Rescale(2.0)], base=base)
    flow.build((None, 2))
    with pytest.raises(ValueError, match=r"can be saved.*bijector.forward_fn=.*Write a subclass"):
        flow.save(tmp_path / "flow.keras")


class NoDistribution(bases.Base):
    pass


class WrongShape(bases.Base):
    def distribution(self):
        return tfd.Normal(tf.zeros(2), 1.0)


class NoShape(bases.Base):
    def build(self, input_shape):
        pass

    def distribution(self):
        return tfd.Normal(tf.zeros(2), 1.0)


@pytest.mark.parametrize(
    "base,message",
    [
        (lambda: "cauchy", "base to be one of.*'cauchy'"),
        (lambda: keras.layers.Dense(2), "tf_iresnet.bases.Base or a tfd.Distribution.*Dense"),
        (lambda: {"name": "student_t", "dof": 2.0}, "arguments of StudentT: df, learned.*dof"),
        (lambda: bases.StudentT(0.5), r"0.5 < df.*df=0.5"),
        (lambda: bases.NormalMixture(0), "components=0"),
        (lambda: bases.FullMixture(0), "components=0"),
        (lambda: bases.Uniform(1.0, 1.0), "low < high"),
        (lambda: bases.ConditionalNormal(0), "condition_size=0"),
        (lambda: bases.StudentT(dtype="float64"), "dtype, float32.*float64"),
        (lambda: built(bases.StudentT()), None),
        (lambda: NoDistribution(), r"defines distribution\(\)"),
        (lambda: WrongShape(), r"log_prob\(\) of shape \(3, 2\).*tfd.Independent"),
        (lambda: NoShape(), r"super\(\).build"),
        (lambda: tfd.Normal(0.0, 1.0), r"event_shape=\(2,\).*tfd.Sample\(distribution, \(2,\)\)"),
        (lambda: tfd.Normal([0.0, 1.0], 1.0), r"batch_shape=\(2,\).*tfd.Independent\(.*, 1\)"),
        (lambda: tfd.MultivariateNormalDiag(np.ones(2)), "dtype, float32.*float64"),
        (
            lambda: tfd.MultivariateNormalDiag(keras.Variable([0.0, 1.0])),
            r"keras.Variable.*for distribution.loc.*\.value",
        ),
        (
            lambda: tfd.JointDistributionSequential([tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 1.0)]),
            "one tensor",
        ),
    ],
)
def test_what_is_no_base_is_refused_with_the_reason(base, message):
    def make():
        tfi.ResidualFlow([Rescale(2.0)], base=base()).build((None, 2))

    if message is None:
        return make()
    with pytest.raises(ValueError, match=message):
        make()


def test_a_base_of_another_shape_or_condition_is_refused():
    with pytest.raises(ValueError, match=r"latents of shape \(3,\).*for shape \(2,\)"):
        tfi.mlp_flow(3, 1, (4,), base=built(bases.StudentT()))
    with pytest.raises(ValueError, match=r"same condition_size.*3 in the base, 2 in the network"):
        tfi.mlp_flow(2, 1, (4,), condition_size=2, base=bases.ConditionalNormal(3))
