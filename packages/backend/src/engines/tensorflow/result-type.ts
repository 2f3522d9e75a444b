import type { StorageDtype } from '../../recorder/types.js';
import type { Attributes } from '../../kernels/emitter.js';

/** Returns the dtype of an op's results: of a dtype attribute, `bool` for a predicate, or that of the first input. */
export function resultType<T extends { readonly type: StorageDtype }>(
  name: string,
  inputs: readonly (T | readonly T[])[],
  attributes: Attributes,
): StorageDtype {
  for (const key of ['DstT', 'output_type', 'out_type', 'dtype', 'output_dtype']) {
    const attribute = attributes[key];
    if (attribute?.kind === 'type') return attribute.value;
  }
  if (truthOps.has(name)) return 'bool';
  const source =
    inputs[
      name === 'Select' || name === 'SelectV2'
        ? 1
        : name === 'Fill'
          ? 1
          : name === 'OneHot'
            ? 2
            : name === 'ScatterNd'
              ? 1
              : 0
    ];
  const first = Array.isArray(source) ? (source as readonly T[])[0] : (source as T | undefined);
  return first?.type ?? 'float32';
}

const truthOps = new Set([
  'Equal',
  'NotEqual',
  'Less',
  'LessEqual',
  'Greater',
  'GreaterEqual',
  'LogicalAnd',
  'LogicalOr',
  'LogicalNot',
  'IsNan',
  'IsInf',
  'IsFinite',
  'All',
  'Any',
]);
