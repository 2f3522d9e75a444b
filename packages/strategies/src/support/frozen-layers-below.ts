import type { ModelOutline } from '@whetstone/core/contract';
import { layerIndexOf } from './layer-index.js';

/**
 * Layers below everything that is trained: how many of the first layers, and the embeddings before them, never change.
 * Null where the embeddings themselves are trained, a tied head included. `names` are parameters or modules of the
 * model.
 */
export function frozenLayersBelow(
  model: Pick<ModelOutline, 'layers' | 'parameters' | 'linearSites' | 'embeddingSite'>,
  names: Iterable<string>,
): number | null {
  let lowest = model.layers;
  for (const name of names) {
    const layer = layerIndexOf(`${name}.`);
    if (layer !== null) lowest = Math.min(lowest, layer);
    else if (!isAfterLayers(model, name)) return null;
  }
  return lowest;
}

/**
 * Whether a parameter outside of the layers belongs to what follows them: the last norm, or a head with a weight of its
 * own.
 */
function isAfterLayers(
  { parameters, linearSites }: Pick<ModelOutline, 'parameters' | 'linearSites'>,
  name: string,
): boolean {
  const isHead = [...linearSites.values()].some(
    (site) => site.isOutput && (name === site.name || name.startsWith(`${site.name}.`)),
  );
  return isHead || parameters.get(name)?.shape.length === 1;
}
