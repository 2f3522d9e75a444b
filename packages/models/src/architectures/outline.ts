import type { ModelOutline } from '@whetstone/core/contract';
import { embeddingName, layerNames, linearShapes, parameterShapes } from './parameters.js';
import type { DecoderShape } from './shape.js';

/** Returns the outline of the model that a shape describes: names and sizes, no weights. */
export function outlineOf(shape: DecoderShape): ModelOutline {
  const { architecture, vocabularySize, hiddenSize, keyValueHeads, headDim } = shape;
  return {
    architecture,
    vocabularySize,
    hiddenSize,
    layers: shape.layers.length,
    maxLength: shape.maxLength,
    parameters: new Map(parameterShapes(shape).map(({ name, shape: sizes }) => [name, { shape: sizes }])),
    linearSites: new Map(
      linearShapes(shape).map(({ name, inFeatures, outFeatures, isOutput }) => [
        name,
        { name, inFeatures, outFeatures, isOutput, fanInFanOut: shape.fanInFanOut && !isOutput },
      ]),
    ),
    attentionSites: shape.layers.map((_, layer) => ({
      name: layerNames(shape, layer).attention,
      layer,
      keyValueHeads,
      headDim,
    })),
    embeddingSite: { name: embeddingName(shape) },
  };
}
