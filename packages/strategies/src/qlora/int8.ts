import { WhetstoneError, type PackedInt8 } from '@whetstone/core/contract';
import { narrow, widen } from '@whetstone/core/safetensors';

/** 1 ⁄ 127 as float32, by which bitsandbytes multiplies. */
const step = Math.fround(1 / 127);

/** Added and taken off again in float32, it leaves the nearest whole number of anything below 2²², ties to even. */
const wholeNumbers = 1.5 * 2 ** 23;
const roundHalfEven = (value: number): number => Math.fround(Math.fround(value + wholeNumbers) - wholeNumbers);

/**
 * The least normal float16 number, and what rounds to multiples of 2⁻²⁴ below it as {@link wholeNumbers} does to whole
 * ones.
 */
const leastNormal = 2 ** -14;
const smallSteps = 0.75;

/**
 * Numbers rounded to float16, ties to even. Those beyond its range are left to the general way, which makes them
 * infinite.
 */
function asFloat16(values: Float32Array): Float32Array {
  const rounded = values.slice();
  const bits = new Uint32Array(rounded.buffer);
  for (let index = 0; index < rounded.length; index += 1) {
    const magnitude = Math.abs(rounded[index] as number);
    if (!(magnitude < 65504)) return widen(narrow(values, 'F16'), 'F16');
    if (magnitude < leastNormal)
      rounded[index] = Math.fround(Math.fround((rounded[index] as number) + smallSteps) - smallSteps);
    else {
      const word = bits[index] as number;
      bits[index] = (word + 0xfff + ((word >>> 13) & 1)) & ~0x1fff;
    }
  }
  return rounded;
}

/**
 * Quantises the rows of a matrix to int8 by their largest magnitudes: the storage of LLM.int8 (Dettmers et al. 2022),
 * values and scales equal to bitsandbytes' `int8_vectorwise_quant` of the weight, which is rounded to float16 first as
 * there.
 *
 * @param shape of the matrix that is computed with; `transposed` where `values` are the transposed one, whose rows are
 *   quantised.
 */
export function quantiseInt8(
  values: Float32Array,
  shape: readonly number[],
  options: { readonly transposed?: boolean } = {},
): PackedInt8 {
  const transposed = options.transposed ?? false;
  const [rows = 0, columns = 0] = transposed ? [...shape].reverse() : shape;
  if (rows * columns !== values.length)
    throw new WhetstoneError('INTERNAL', 'Values and shape differ in size.', {
      expected: `[${shape.join(', ')}]`,
      found: `${values.length} values`,
    });
  const halves = asFloat16(values);
  const scales = new Float32Array(rows);
  const quantised = new Int8Array(values.length);
  for (let row = 0; row < rows; row += 1) {
    let largest = 0;
    for (let index = row * columns; index < (row + 1) * columns; index += 1)
      largest = Math.max(largest, Math.abs(halves[index] as number));
    // A row of zeros stays one.
    if (largest === 0) continue;
    const factor = Math.fround(127 / largest);
    for (let index = row * columns; index < (row + 1) * columns; index += 1)
      quantised[index] = roundHalfEven(Math.fround((halves[index] as number) * factor));
    scales[row] = Math.fround(largest * step);
  }
  return { format: 'int8', shape, transposed, values: quantised, scales };
}
