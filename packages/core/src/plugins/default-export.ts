/** Returns the default export of a module, or `module.exports` of a CommonJS module. */
export function defaultExport(module: unknown): unknown {
  const namespace = module as { readonly default?: unknown } | null;
  const exported = namespace?.default ?? module;
  // In a CommonJS module compiled from ES syntax, the default export is one level deeper.
  const inner = exported as { readonly __esModule?: unknown; readonly default?: unknown } | null;
  return inner?.__esModule === true && inner.default !== undefined ? inner.default : exported;
}
