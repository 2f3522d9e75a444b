import { variable, type Variable } from '@tensorflow/tfjs-core';
import type { Json, LanguageModel } from '@whetstone/core/contract';
import { storePacked } from '@whetstone/core/ops';
import { createLanguageModel, parameterShapes, readShape } from './architectures/index.js';
import { createParameter } from './load-language-model.js';
import { narrow } from '@whetstone/core/safetensors';
import { createRandom } from '@whetstone/core/random';
import { sizeOfShape } from '@whetstone/core/util';

/**
 * Creates a model from a config.json with random weights and without files, for tests, benchmarks and training from
 * scratch. Matrices are uniform with standard deviation `initializer_range`, norms are identities, biases are 0. The
 * same seed gives the same weights.
 *
 * @param matrices Data type of the matrices; with bfloat16 they are rounded.
 */
export function createRandomModel(
  config: Readonly<Record<string, Json>>,
  seed: number,
  matrices: 'float32' | 'bfloat16' = 'float32',
): LanguageModel {
  const shape = readShape(config);
  const random = createRandom(seed);
  // A uniform distribution of width w has standard deviation w ÷ √12.
  const width = shape.initializerRange * Math.sqrt(12);
  const parameters = new Map(
    parameterShapes(shape).map((parameter) => {
      const values = new Float32Array(sizeOfShape(parameter.shape));
      if (parameter.fresh === 'ones') values.fill(1);
      else if (parameter.fresh === 'random')
        for (let i = 0; i < values.length; i++) values[i] = (random.uniform() - 0.5) * width;
      return [
        parameter.name,
        matrices === 'bfloat16' && parameter.shape.length > 1
          ? createNarrowParameter(values, parameter.shape)
          : createParameter(values, parameter.shape),
      ] as const;
    }),
  );
  return createLanguageModel({ shape, config, parameters, folder: null });
}

function createNarrowParameter(values: Float32Array, shape: readonly number[]): Variable {
  const bytes = narrow(values, 'BF16');
  const initial = storePacked({
    format: 'bfloat16',
    shape,
    bits: new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2),
  });
  const parameter = variable(initial, false);
  initial.dispose();
  return parameter;
}
