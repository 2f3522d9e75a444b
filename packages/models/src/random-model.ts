import type { Json, LanguageModel } from '@whetstone/core/contract';
import { createLanguageModel, parameterShapes, readShape } from './architectures/index.js';
import { createParameter } from './load-language-model.js';
import { createRandom } from '@whetstone/core/random';

/**
 * A model of the given config.json with fresh weights and no files: for tests, benchmarks, and training from nothing. Matrices are uniform with the
 * standard deviation `initializer_range`, norms start as identities, biases at 0. The same seed gives the same weights.
 */
export function createRandomModel(config: Readonly<Record<string, Json>>, seed: number): LanguageModel {
  const shape = readShape(config);
  const random = createRandom(seed);
  const width = shape.initializerRange * Math.sqrt(12); // a uniform number of width w deviates by w / √12
  const parameters = new Map(parameterShapes(shape).map((parameter) => {
    const values = new Float32Array(parameter.shape.reduce((product, size) => product * size, 1));
    if (parameter.fresh === 'ones') values.fill(1);
    else if (parameter.fresh === 'random') for (let i = 0; i < values.length; i++) values[i] = (random.uniform() - 0.5) * width;
    return [parameter.name, createParameter(values, parameter.shape)] as const;
  }));
  return createLanguageModel({ shape, config, parameters, folder: null });
}
