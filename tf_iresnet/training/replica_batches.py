"""Batches in parts, one for each replica of a strategy, in the order of rows."""

from collections.abc import Iterable

import tensorflow as tf

from tf_iresnet import data
from tf_iresnet.training import build
from tf_iresnet.training.options import TrainingOptions


def distribute_batches(
    strategy: tf.distribute.Strategy,
    dataset: data.Dataset,
    options: TrainingOptions,
    first_step: int,
    labelled: bool = False,
) -> Iterable:
    """Returns `build.make_batches` in equal parts. Each worker makes those of its own replicas."""

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        pipeline = (context.input_pipeline_id, context.num_input_pipelines)
        batches = build.make_batches(dataset, options, first_step, labelled, pipeline)
        replicas = context.num_replicas_in_sync
        if replicas == context.num_input_pipelines:
            return batches
        return batches.rebatch(options.batch_size // replicas, drop_remainder=True)

    return strategy.distribute_datasets_from_function(make)


def validation_steps(dataset: data.Dataset, options: TrainingOptions) -> int:
    """Returns how many batches `distribute_validation` gives."""
    return -(-len(dataset.validation) // options.evaluation_batch_size)


def distribute_validation(
    strategy: tf.distribute.Strategy,
    dataset: data.Dataset,
    options: TrainingOptions,
    labelled: bool = False,
) -> Iterable:
    """Returns `build.make_validation_batches` in parts; in the last one some may have no rows."""

    def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
        batches = build.make_validation_batches(dataset, options, labelled)
        replicas = context.num_replicas_in_sync
        if replicas == 1:
            return batches
        rows, own = -(-options.evaluation_batch_size // replicas), replicas
        own //= context.num_input_pipelines
        first = own * context.input_pipeline_id
        parts = tf.data.Dataset.range(first, first + own)

        def divide(*batch: tf.Tensor) -> tf.data.Dataset:
            batch = batch if labelled else batch[0]
            return parts.map(
                lambda part: tf.nest.map_structure(lambda x: x[part * rows :][:rows], batch)
            )

        return batches.flat_map(divide)

    return strategy.distribute_datasets_from_function(make)
