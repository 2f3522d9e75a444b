import { WhetstoneError, type PackedInt8 } from '@whetstone/core/contract';
import { narrow, widen } from '@whetstone/core/safetensors';

/** 1 ÷ 127 in float32, the factor that bitsandbytes uses. */
const step = Math.fround(1 / 127);

/** Adding and subtracting this number in float32 rounds numbers below 2²² to integers, ties to even. */
const integerRounding = 1.5 * 2 ** 23;
const roundHalfEven = (value: number): number => Math.fround(Math.fround(value + integerRounding) - integerRounding);

/** The smallest normal float16 number. */
const smallestNormal = 2 ** -14;
/** Adding and subtracting this number in float32 rounds smaller numbers to multiples of 2⁻²⁴. */
const subnormalRounding = 0.75;

/**
 * Rounds numbers to float16, ties to even. If any is out of range, the general conversion is used, which makes it
 * infinite.
 */
function asFloat16(values: Float32Array): Float32Array {
  const rounded = values.slice();
  const bits = new Uint32Array(rounded.buffer);
  for (let index = 0; index < rounded.length; index++) {
    const magnitude = Math.abs(rounded[index] as number);
    if (!(magnitude < 65504)) return widen(narrow(values, 'F16'), 'F16');
    if (magnitude < smallestNormal)
      rounded[index] = Math.fround(Math.fround((rounded[index] as number) + subnormalRounding) - subnormalRounding);
    else {
      const word = bits[index] as number;
      bits[index] = (word + 0xfff + ((word >>> 13) & 1)) & ~0x1fff;
    }
  }
  return rounded;
}

/**
 * Quantises the rows of a matrix to int8, scaled by their largest magnitudes: the storage of LLM.int8 (Dettmers et al.
 * 2022). Values and scales equal those of bitsandbytes' `int8_vectorwise_quant`; as there, the weight is first rounded
 * to float16.
 *
 * @param shape Shape of the matrix in computation.
 * @param options.transposed Whether `values` is the transpose of that matrix; then the rows of the transpose are
 *   quantised.
 * @throws `INTERNAL` if the sizes of values and shape differ
 */
export function quantiseInt8(
  values: Float32Array,
  shape: readonly number[],
  options: { readonly transposed?: boolean } = {},
): PackedInt8 {
  const transposed = options.transposed ?? false;
  const [rows = 0, columns = 0] = transposed ? [...shape].reverse() : shape;
  if (rows * columns !== values.length)
    throw new WhetstoneError('INTERNAL', 'The sizes of values and shape differ.', {
      expected: `[${shape.join(', ')}]`,
      found: `${values.length} values`,
    });
  const halves = asFloat16(values);
  const scales = new Float32Array(rows);
  const quantised = new Int8Array(values.length);
  for (let row = 0; row < rows; row++) {
    let largest = 0;
    for (let index = row * columns; index < (row + 1) * columns; index++)
      largest = Math.max(largest, Math.abs(halves[index] as number));
    // A row of zeros has no scale.
    if (largest === 0) continue;
    const factor = Math.fround(127 / largest);
    for (let index = row * columns; index < (row + 1) * columns; index++)
      quantised[index] = roundHalfEven(Math.fround((halves[index] as number) * factor));
    scales[row] = Math.fround(largest * step);
  }
  return { format: 'int8', shape, transposed, values: quantised, scales };
}
