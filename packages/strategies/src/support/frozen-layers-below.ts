import type { ModelOutline } from '@whetstone/core/contract';
import { layerIndexOf } from '@whetstone/core/util';

/**
 * Returns the number of layers below the lowest trained layer; together with the embeddings they never change. Null if
 * the embeddings are trained, directly or as a tied head.
 *
 * @param names Names of the trained parameters or modules.
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
 * Returns whether a parameter outside of the layers is used after them: it belongs to the final norm or to an untied
 * head.
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
