import { WhetstoneError, type ModelOutline, type Strategy, type WeightRole } from '../contract/index.js';
import type { ResolvedConfig } from '../config/types.js';
import { memoryLimits, memoryOptions, optionsHint, swapBytes, type MemoryLimit } from '../memory/index.js';
import { formatBytes, sizeOfShape } from '../util/index.js';

/** The least bytes per number of a format. A weight that a strategy quantises takes at least 4 bits per number. */
const leastBytes = { float32: 4, bfloat16: 2, packed: 0.5 } as const;

/** Returns the least bytes that the weights of a model can take on the device. */
function leastWeightBytes(
  { parameters, linearSites, embeddingSite }: Pick<ModelOutline, 'parameters' | 'linearSites' | 'embeddingSite'>,
  dtype: ResolvedConfig['model']['dtype'],
  storage: Strategy['storage'],
): number {
  let bytes = 0;
  for (const [name, { shape }] of parameters) {
    const site = linearSites.get(name.replace(/\.weight$/, ''));
    const kind: WeightRole['kind'] =
      site === undefined
        ? name.startsWith(embeddingSite.name)
          ? 'embedding'
          : 'other'
        : site.isOutput
          ? 'head'
          : 'linear';
    const chosen = storage?.({ name, kind, fanInFanOut: site?.fanInFanOut ?? false, shape }) ?? null;
    const format =
      typeof chosen === 'function' ? 'packed' : chosen === null && dtype === 'float32' ? 'float32' : 'bfloat16';
    bytes += sizeOfShape(shape) * leastBytes[format];
  }
  return bytes;
}

/**
 * Refuses a model whose weights alone exceed a limit of memory, before they are read.
 *
 * @param deviceBytes the memory of an accelerator: null if it is unknown; undefined if a processor computes
 * @throws `OUT_OF_MEMORY`
 */
export function checkWeightsFit(
  config: ResolvedConfig,
  outline: ModelOutline | null,
  storage: Strategy['storage'],
  deviceBytes: number | null | undefined,
): void {
  if (outline === null) return;
  const bytes = leastWeightBytes(outline, config.model.dtype, storage);
  const [limit] = limitsOf(deviceBytes).toSorted((one, other) => one.limitBytes - other.limitBytes);
  if (limit === undefined || bytes <= limit.limitBytes) return;
  throw new WhetstoneError(
    'OUT_OF_MEMORY',
    `The weights of the model alone need ${formatBytes(bytes)}, which exceeds the limit ${limit.origin}.`,
    {
      place: { path: 'model' },
      expected: `at most ${formatBytes(limit.limitBytes)}`,
      found: formatBytes(bytes),
      hint: optionsHint(memoryOptions(config, null, config.data.maxLength)),
      details: { bytes, limitBytes: limit.limitBytes },
    },
  );
}

function limitsOf(deviceBytes: number | null | undefined): readonly Pick<MemoryLimit, 'origin' | 'limitBytes'>[] {
  if (deviceBytes === null) return [];
  if (deviceBytes !== undefined) return [{ origin: 'of the accelerator', limitBytes: deviceBytes }];
  const swap = swapBytes();
  return memoryLimits().map(({ origin, limitBytes }) => ({ origin, limitBytes: limitBytes + swap }));
}
