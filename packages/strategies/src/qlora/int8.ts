import { WhetstoneError, type PackedInt8 } from '@whetstone/core/contract';
import { narrow, widen } from '@whetstone/core/safetensors';

/** 1 ⁄ 127 as float32, by which bitsandbytes multiplies. */
const step = Math.fround(1 / 127);

/** Nearest whole number, ties to even. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Quantises the rows of a matrix to int8 by their largest magnitudes: the storage of LLM.int8 (Dettmers et al. 2022), values and scales equal to
 * bitsandbytes' `int8_vectorwise_quant` of the weight, which is rounded to float16 first as there.
 *
 * @param shape of the matrix that is computed with; `transposed` where `values` are the transposed one, whose rows are quantised.
 */
export function quantiseInt8(values: Float32Array, shape: readonly number[], options: { readonly transposed?: boolean } = {}): PackedInt8 {
  const transposed = options.transposed ?? false;
  const [rows = 0, columns = 0] = transposed ? [...shape].reverse() : shape;
  if (rows * columns !== values.length) throw new WhetstoneError('INTERNAL', 'Values and shape differ in size.', { expected: `[${shape.join(', ')}]`, found: `${values.length} values` });
  const halves = widen(narrow(values, 'F16'), 'F16');
  const scales = new Float32Array(rows);
  const quantised = new Int8Array(values.length);
  for (let row = 0; row < rows; row += 1) {
    let largest = 0;
    for (let index = row * columns; index < (row + 1) * columns; index += 1) largest = Math.max(largest, Math.abs(halves[index] ?? 0));
    // A row of zeros stays one.
    if (largest === 0) continue;
    const factor = Math.fround(127 / largest);
    for (let index = row * columns; index < (row + 1) * columns; index += 1) quantised[index] = roundHalfEven(Math.fround((halves[index] ?? 0) * factor));
    scales[row] = Math.fround(largest * step);
  }
  return { format: 'int8', shape, transposed, values: quantised, scales };
}
