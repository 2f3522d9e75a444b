/** How deep JSON from outside may be nested: far more than real files, and less than recursive functions bear. */
export const MAX_JSON_DEPTH = 200;

/** Returns whether lists and objects are nested more than `most` deep in each other. Does not call itself. */
export function isNestedDeeper(value: unknown, most = MAX_JSON_DEPTH): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    const containers = level.filter((item): item is object => typeof item === 'object' && item !== null);
    if (containers.length > 0 && depth >= most) return true;
    level = [];
    for (const container of containers)
      for (const item of Array.isArray(container) ? (container as unknown[]) : Object.values(container))
        if (typeof item === 'object' && item !== null) level.push(item);
  }
  return false;
}
